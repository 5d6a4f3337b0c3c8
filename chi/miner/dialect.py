"""Whether a miner speaks JSON or text, and how often chi may ask one that does not reply.

Comes in: what its connections ended with, and the time. Goes out: how to ask it, and whether chi may do so of
its own accord. Pure: it opens no connection and looks at no clock.

A miner that speaks only text closes the connection at a request in JSON, and so does any miner that does not
allow this host. cpuminer loses a descriptor with each connection that it denies, and dies of it; so while a
miner closes without a byte, chi's own requests are few, whatever they are for.
"""

from __future__ import annotations

import math

from chi.miner.text import is_summary, software

AUTO, JSON, TEXT = "auto", "json", "text"  # what --protocol can be
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds between chi's own requests to a miner that closes


class Dialect:
    """What one miner speaks. Times are seconds of any clock that does not go back."""

    def __init__(self, protocol: str = AUTO) -> None:
        self.is_text = protocol == TEXT
        self.software = ""  # the name and version of a text miner, when it has told them
        self._protocol = protocol
        self._is_json = False  # its last answer to a lone request in JSON was one
        self._probe_at = -math.inf
        self._pause, self._next_at = 0.0, -math.inf
        self._turns = 0

    @property
    def is_silent(self) -> bool:
        """Whether it closes without a byte: only knocks are made of chi's own accord."""
        return self._pause > 0

    def may_try(self, now: float) -> bool:
        """Whether chi may send one request of its own now; if so, it counts as sent."""
        if now < self._next_at:
            return False
        if self._pause:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._next_at = now + self._pause
        return True

    def may_be_text(self, now: float) -> bool:
        """Whether to try a plain `summary`, after a report in JSON was answered with nothing."""
        known = self._protocol != AUTO or self._is_json
        return not known and now >= self._probe_at and self.may_try(now)

    def next_knock_is_text(self) -> bool:
        """Whether to knock in text: in turns, as some miners close at anything but JSON."""
        self._turns += 1
        return self.is_text or (self._protocol == AUTO and self._turns % 2 == 1)

    def closed(self, now: float) -> None:
        """Note that it closed without a byte at what any miner answers: it does not allow this host."""
        self._is_json = False
        if not self._pause:
            self._pause, self._next_at = FIRST_PAUSE, now + FIRST_PAUSE
        self.is_text = self._protocol == TEXT

    def answered(self, in_json: bool) -> None:
        """Note that it answered."""
        self._is_json = in_json
        self._pause, self._next_at, self._turns = 0.0, -math.inf, 0

    def summarised(self, reply: bytes, now: float) -> bool:
        """Note what it answered to a plain `summary`; whether that makes it a text miner."""
        self.answered(in_json=False)
        if self._protocol == JSON or not is_summary(reply):
            self.tried_in_vain(now)
            return False
        self.is_text, self.software = True, software(reply)
        return True

    def tried_in_vain(self, now: float) -> None:
        """Note that a plain `summary` has not made it a text miner."""
        self._probe_at = now + FIRST_PAUSE

    def forget(self) -> None:
        """Note that it failed as a text miner."""
        self.is_text = self._protocol == TEXT
