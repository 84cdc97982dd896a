# SPDX-License-Identifier: Apache-2.0
"""The jobs of the ground itself: what it forgets, and when."""

from datetime import timedelta

from fleet.feature import Job
from fleet.staff import idempotency
from fleet.web import throttle

GROUND_JOBS = (
    Job("forget-guesses", timedelta(minutes=10), throttle.forget),
    Job("forget-idempotent-answers", timedelta(hours=1), idempotency.forget),
)
