# SPDX-License-Identifier: Apache-2.0
"""What the staff ask of retention."""
