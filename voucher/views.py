# SPDX-License-Identifier: Apache-2.0
"""How things are shown: what the services return, in the schemas' words."""
