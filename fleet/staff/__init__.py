# SPDX-License-Identifier: Apache-2.0
"""People: tokens, roles, repeatable requests, and the audit log."""
