"""The clock that is passed to every part that needs the time; tests pass their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """`now` is for durations, in seconds, and never set back; `epoch` is seconds since 1970, and may jump."""

    now: Callable[[], float] = time.monotonic
    epoch: Callable[[], float] = time.time


CLOCK = Clock()
