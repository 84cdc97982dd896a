# SPDX-License-Identifier: Apache-2.0
"""Certificates of PBXs: who a request comes from, the device CA, EST."""
