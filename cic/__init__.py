# SPDX-License-Identifier: Apache-2.0
"""The licence check: whether a PBX may run, and for how long."""
