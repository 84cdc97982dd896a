# SPDX-License-Identifier: Apache-2.0
"""What can be done in the licence check; each function is one transaction."""
