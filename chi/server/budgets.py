"""Limits what all clients together may hold, and chooses which connection to close when it is exceeded.

Comes in: connections, as Holders, and what they hold. Goes out: those that are too many are closed, with a
word in the log. Three things are bounded: connections, bytes received and not yet answered, bytes to be sent.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection
from typing import Protocol

from chi.bounds import MAX_RECEIVED, MAX_TO_SEND, SHARE
from chi.clock import Clock
from chi.logs import RareWarning
from chi.server.outgoing import Pile


class Holder(Protocol):
    """A connection, as far as the budgets are concerned."""

    @property
    def source(self) -> str:
        """The client's address."""

    @property
    def held(self) -> int:
        """Bytes received and not yet answered."""

    @property
    def total_outbufs_len(self) -> int:
        """Bytes to be sent."""

    @property
    def progress(self) -> float:
        """When it last made progress: a request began or ended, a response was made or went on its way."""

    @property
    def waits(self) -> bool:
        """Whether its client has asked and waits for us."""

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent what is not read yet."""

    def drop(self) -> None:
        """Close it at once."""


class Budgets:
    """The three budgets. `received` is kept by the connections, as is the Pile of what is to be sent."""

    def __init__(self, clock: Clock) -> None:
        self.received = 0
        self.pile = Pile()
        self._warn = RareWarning("closed a connection of %s: no room for %s", clock)

    @property
    def is_short(self) -> bool:
        """Whether there are more bytes than there may be."""
        return self.received > MAX_RECEIVED or self.pile.total > MAX_TO_SEND

    def keep_bytes(self, holders: Callable[[], Collection[Holder]]) -> None:
        """Close connections until both budgets of bytes are kept."""
        # The connection that holds the most: one with less than an equal share is never closed.
        for one in sorted(holders(), key=lambda one: (-one.held, one.progress)):
            if self.received <= MAX_RECEIVED:
                break
            self._drop(one, "what it sends")
        for one in sorted(holders(), key=lambda one: one.progress):
            if self.pile.total <= MAX_TO_SEND:
                break
            if one.total_outbufs_len:
                self._drop(one, "what it does not read")

    def make_place(self, holders: Collection[Holder]) -> None:
        """Close a connection, unless only those are left that must be kept.

        Of the address with the most, if it has more than its SHARE, the one without progress for longest;
        else of all that do not wait for an answer the one without progress for longest.
        """
        victim = _least(holders)
        if victim and (victim.total_outbufs_len or victim.held):
            self._drop(victim, "more connections")
        elif victim:  # an idle one, not worth a log line
            victim.drop()

    def _drop(self, victim: Holder, what: str) -> None:
        self._warn(victim.source, what)
        victim.drop()


def _least(holders: Collection[Holder]) -> Holder | None:
    """The connection to close; None if all must be kept."""
    by_source = collections.Counter(one.source for one in holders)
    source, most = max(by_source.items(), key=lambda item: item[1], default=("", 0))
    places = [one for one in holders if one.source == source or most <= SHARE]
    for one in sorted(places, key=lambda one: (one.waits, one.progress)):
        if one.waits and most <= SHARE:
            return None
        idle = not one.held and not one.total_outbufs_len
        if not (idle and one.has_unread):  # its request is here already
            return one
    return None
