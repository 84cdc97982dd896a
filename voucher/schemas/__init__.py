# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire, by who speaks: PBXs, trade, and the support desk."""
