# SPDX-License-Identifier: Apache-2.0
"""Backups: a PBX's configuration, kept safe."""
