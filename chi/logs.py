"""The log: writes to standard error without blocking, and limits the rate of repeated messages.

Comes in: what is logged, and events that a client can cause again and again. Goes out: lines; those that find
no room are counted and left out, and of the events there is a line now and then that says how many they were.
"""

from __future__ import annotations

import logging
import os
import select

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


class StandardError(logging.Handler):
    """Writes lines to standard error; what its reader has no room for is left out, and counted."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and before it how many were left out."""
        lines = [f"WARNING {self._lost} lines of the log were lost: nobody read them\n"] if self._lost else []
        lines.append(self.format(record) + "\n")
        for text in lines:
            if not self._write(text.encode("utf-8", "backslashreplace")):
                self._lost += 1
                return
            self._lost = 0

    def _write(self, data: bytes) -> bool:
        """Write the line, unless the pipe is full: one that is ready has room for a piece."""
        for start in range(0, len(data), select.PIPE_BUF):
            ready = select.poll()
            ready.register(self._descriptor, select.POLLOUT)
            try:
                if not any(flags & select.POLLOUT for _, flags in ready.poll(0)):
                    return False
                os.write(self._descriptor, data[start : start + select.PIPE_BUF])
            except OSError:
                return False
        return True
