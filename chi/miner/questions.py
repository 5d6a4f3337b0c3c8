"""Which clients wait for which reply: Client, Question, and what the miners of one chi share.

Comes in: what a client asks and until when it waits. Goes out: whom an answer is for, and whether more is to
be asked. Nothing is sent here, and no clock is looked at.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from chi.bounds import MAX_CHANGED, MAX_HELD_SIZE, MAX_JUDGED, MAX_MINER_CONNECTIONS
from chi.errors import ChiError
from chi.miner.conversation import Conversation
from chi.miner.replies import Made, Reply
from chi.miner.wire import Addresses
from chi.recent import Recent

Key = tuple[bytes, bool]  # the encoded request, and whether the reply is wanted indented
Outcome = Reply | ChiError
# Since the start: what is counted (an attribute of prometheus.Own), and of which kind.
Counters = collections.Counter[tuple[str, str]]
Submit = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Parked(BaseException):
    """Leaves a handler whose client waits for the miner; it is run again when the answer is there.

    No Exception, so that nothing on the way out of the handler takes it for a fault.
    """


class Client:
    """One HTTP request that may wait for the miner, or what chi asks of its `own` accord.

    Times are those of Clock.now().
    """

    __slots__ = (
        "answers",
        "arrived",
        "deadline",
        "forwarded",
        "known",
        "made",
        "own",
        "raw",
        "resume",
        "scrape",
        "site",
    )

    def __init__(
        self, arrived: float, timeout: float, raw: bytes, resume: Callable[[], None], *, own: bool = False
    ) -> None:
        self.arrived = arrived
        self.deadline = arrived + timeout
        self.raw = raw  # the request as it came: equal bytes get equal answers; empty if not known whole
        self.resume = resume  # has the handler run again
        self.answers: dict[Key, Outcome] = {}
        self.forwarded: Key | None = None  # set once it is judged: only the answer to this is missing
        self.made: Made | None = None  # how to make values of replies, for whom wants them
        self.known: tuple[str, frozenset[str]] | None = None  # of the firmware, when its scrape began
        self.own = own
        self.scrape: Any = None  # the monitor's, of what it wants to know
        self.site: Any = None  # whose miner it asks, once known: a name may go to another meanwhile

    def leave(self) -> None:
        """The client went: nothing is left to be done for it, and nothing of it is kept."""
        self.raw = b""
        self.resume = _nothing

    def end(self) -> None:
        """It has what it asked for: replies are large, and would stay until Python looks for such rings."""
        self.resume = _nothing
        self.answers.clear()


def _nothing() -> None:
    """What is done for a client that went."""


class Question:
    """What clients wait to be asked; `shared` if one reply may serve them all, `knock` to begin in text."""

    __slots__ = ("deadline", "exchanges", "key", "knock", "shared", "waiting")

    def __init__(self, key: Key, shared: bool) -> None:
        self.key = key
        self.shared = shared
        self.knock = False
        self.waiting: list[Client] = []
        self.exchanges: list[Conversation] = []  # more than one only while the miner is silent
        self.deadline = float("inf")

    @property
    def further(self) -> str:
        """What is said beside an error, once it was sent."""
        return "" if self.shared else " The command may have been carried out."

    def add(self, client: Client) -> None:
        self.waiting.append(client)
        self.deadline = min(self.deadline, client.deadline)

    @property
    def probes(self) -> bool:
        """Whether nothing in reply is cause to try text: scrapes ask on, one by one, by themselves."""
        joined = b"+" in self.key[0]
        return self.shared and not (joined and all(client.known for client in self.waiting))

    def wanted_until(self, exchange: Conversation) -> float:
        """The latest deadline of the clients that wait for this exchange."""
        asked = float("inf") if exchange.asked is None else exchange.asked
        return max((client.deadline for client in self.waiting if client.arrived <= asked), default=0.0)

    @property
    def made(self) -> Made | None:
        """How to make a value of the reply; None if no client wants it."""
        return next((client.made for client in self.waiting if client.made), None)

    def wants_asking(self, now: float, patience: float) -> bool:
        """Whether a client waits that no request under way serves, or only one silent for `patience`."""
        if not self.waiting or not self.exchanges:
            return bool(self.waiting)
        newest = self.exchanges[-1]
        silent = now - newest.heard >= patience
        return silent and newest.asked is not None and self.waiting[-1].arrived > newest.asked


class Share:
    """What the miners of one chi have together, and what each may take of it."""

    def __init__(self, connections: int = MAX_MINER_CONNECTIONS) -> None:
        self.free = self._all = connections
        self._changed: Recent[Any, float] = Recent(MAX_CHANGED)
        self.divide(1)

    def divide(self, miners: int) -> None:
        """Let each of so many have its part: of connections, and of what is remembered and held."""
        self.connections = max(1, self._all * 3 // 4 // miners)
        self.judged = max(4, MAX_JUDGED // miners)
        self.held = MAX_HELD_SIZE // miners

    def note_change(self, addresses: Addresses, now: float) -> None:
        """Note that a privileged command went to the miner at these addresses, or was answered."""
        for _, address in addresses:
            self._changed.pop(address, None)
            self._changed.keep(address, now)

    def changed(self, addresses: Addresses) -> float:
        """Return when that was last; 0 if never. A miner may have several names."""
        return max((self._changed.get(address, 0.0) for _, address in addresses), default=0.0)

    def has_room(self, answers: bool | None) -> bool:
        """Whether a miner may have one more; a quarter is for those that answer, however many hang."""
        return self.free > (0 if answers else self._all // 4)
