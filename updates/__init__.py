# SPDX-License-Identifier: Apache-2.0
"""Firmware: which release is right for a PBX."""
