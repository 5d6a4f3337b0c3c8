"""A dictionary of bounded size, for what would otherwise be worked out again and again.

Comes in: keys and what belongs to them. Goes out: the same, as long as not too many others came after. It
knows nothing of what it holds.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(dict[K, V], Generic[K, V]):
    """The newest `limit` entries; the oldest makes room for one more."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: K, value: V) -> None:
        """Add an entry, unless it is there."""
        if key not in self:
            while len(self) >= self.limit:
                del self[next(iter(self))]
            self[key] = value
