"""What is logged at a bounded rate: whatever a client can cause again and again.

Comes in: an event and its arguments. Goes out: now and then a line that says how many there were.
"""

from __future__ import annotations

import logging

from chi.bounds import LOG_PAUSE
from chi.clock import Clock

log = logging.getLogger("chi")


class RareWarning:
    """A warning that is logged at most once in LOG_PAUSE seconds, with how often it was due since."""

    def __init__(self, message: str, clock: Clock) -> None:
        self._message = message + " (%d since the last such line)"
        self._clock = clock
        self._due, self._next = 0, 0.0

    def __call__(self, *values: object) -> None:
        """Log it with `values` in the message, unless it was logged just before."""
        self._due += 1
        now = self._clock.now()
        if now >= self._next:
            log.warning(self._message, *values, self._due)
            self._due, self._next = 0, now + LOG_PAUSE
