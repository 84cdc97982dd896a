# SPDX-License-Identifier: Apache-2.0
"""How HTTP looks here: schemas, problems, callers, health, metrics, records."""
