"""Output buffers: a reply that many clients wait for is held in memory once.

Comes in: responses, in pieces. Goes out: the bytes that a connection sends next, as waitress asks its output
buffers for them. Nothing is copied.
"""

from __future__ import annotations

import collections


class Pile:
    """The pieces that all connections together have to send; `total` bytes, each piece counted once."""

    def __init__(self) -> None:
        self.total = 0
        self._held: dict[int, list[object]] = {}  # by id: the piece, once for each connection that has it

    def take(self, piece: bytes) -> None:
        """Count a piece for one more connection."""
        holders = self._held.setdefault(id(piece), [])
        if not holders:
            self.total += len(piece)
        holders.append(piece)

    def leave(self, piece: bytes) -> None:
        """Count it for one connection less."""
        holders = self._held[id(piece)]
        holders.pop()
        if not holders:
            del self._held[id(piece)]
            self.total -= len(piece)


class Outgoing:
    """What one connection has to send, with the methods of waitress's OverflowableBuffer that are used."""

    def __init__(self, pile: Pile) -> None:
        self._pile = pile
        self._pieces: collections.deque[bytes] = collections.deque()
        self._sent = 0  # bytes of the first piece
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, piece: bytes, sent: int = 0) -> None:
        """Take a piece, of which so many bytes were `sent` already if it is the first; it is not copied."""
        self._pile.take(piece)
        self._pieces.append(piece)
        self._sent += sent
        self._length += len(piece) - sent

    def get(self, size: int) -> memoryview:
        """Return at most so many of the next bytes."""
        return memoryview(self._pieces[0])[self._sent : self._sent + size]

    def skip(self, size: int, _: bool = False) -> None:
        """Drop so many bytes, of those that get() returned."""
        self._sent += size
        self._length -= size
        if self._sent == len(self._pieces[0]):
            self._pile.leave(self._pieces.popleft())
            self._sent = 0

    def close(self) -> None:
        """Drop everything."""
        while self._pieces:
            self._pile.leave(self._pieces.popleft())
        self._sent = self._length = 0
