# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the Voucher Center for staff, by what it is about."""
