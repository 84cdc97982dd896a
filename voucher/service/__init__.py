# SPDX-License-Identifier: Apache-2.0
"""What the Voucher Center does, one module for each use case."""
