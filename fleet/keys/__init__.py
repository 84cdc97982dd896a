# SPDX-License-Identifier: Apache-2.0
"""Secrets outside the database: signing keys, the key set, keyed digests."""
