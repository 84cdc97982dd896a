# SPDX-License-Identifier: Apache-2.0
"""Retention: what is kept, and for how long."""
