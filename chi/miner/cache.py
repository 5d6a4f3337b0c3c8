"""The cache of --max-age: replies, limited by age, number and bytes.

Comes in: replies, and when they were asked for. Goes out: one that is young enough for a client, or None.
"""

from __future__ import annotations

from dataclasses import replace

from chi.bounds import MAX_HELD
from chi.miner.questions import Key, Share
from chi.miner.replies import Reply


class ReplyCache:
    """One miner's. Times are those of Clock.now()."""

    def __init__(self, max_age: float, share: Share) -> None:
        self._max_age = max_age
        self._share = share
        self._replies: dict[Key, tuple[float, Reply]] = {}  # when each was asked for, the oldest first
        self._size = 0

    def __len__(self) -> int:
        return len(self._replies)

    def recall(self, key: Key, arrived: float, since: float) -> Reply | None:
        """Return the reply to `key`, asked for after `since`, that a client who arrived then may have."""
        asked, reply = self._replies.get(key, (float("-inf"), None))
        return reply if asked >= arrived - self._max_age and asked > since else None

    def hold(self, key: Key, asked: float, reply: Reply, since: float) -> None:
        """Keep a reply, if it was asked for after `since`, when the miner was last changed."""
        if not self._max_age or asked <= since:
            return
        self._drop(key)
        self._replies[key] = (asked, replace(reply, value=None))
        self._size += len(reply.body)
        while len(self._replies) > MAX_HELD or self._size > self._share.held:
            self._drop(next(iter(self._replies)))

    def clear(self) -> None:
        """Forget them all."""
        self._replies.clear()
        self._size = 0

    def _drop(self, key: Key) -> None:
        _, reply = self._replies.pop(key, (0.0, None))
        self._size -= len(reply.body) if reply else 0
