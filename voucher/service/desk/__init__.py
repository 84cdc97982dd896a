# SPDX-License-Identifier: Apache-2.0
"""The support desk: what staff look up, and what they put right."""
