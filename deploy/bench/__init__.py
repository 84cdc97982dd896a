# SPDX-License-Identifier: Apache-2.0
"""How fast the licence check is, as ratios: ``python -m deploy.bench``."""
