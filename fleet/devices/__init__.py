# SPDX-License-Identifier: Apache-2.0
"""The registry of PBXs, and the factory list that fills it."""
