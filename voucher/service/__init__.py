# SPDX-License-Identifier: Apache-2.0
"""What the Voucher Center does, one module for each use case.

What a PBX and a customer ask for stands here, the work of the vendor in ``trade``
and that of support in ``desk``.
"""
