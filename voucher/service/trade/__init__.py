# SPDX-License-Identifier: Apache-2.0
"""The trade: what is sold, made, printed and counted."""
