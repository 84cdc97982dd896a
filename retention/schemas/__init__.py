# SPDX-License-Identifier: Apache-2.0
"""What retention's routes take and give."""
