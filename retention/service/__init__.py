# SPDX-License-Identifier: Apache-2.0
"""Use cases of retention, each one transaction or several that each stand alone."""
