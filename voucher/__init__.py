# SPDX-License-Identifier: Apache-2.0
"""Vouchers: which functions a PBX has."""
