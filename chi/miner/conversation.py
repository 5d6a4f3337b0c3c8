"""One API request to a miner, in JSON or text: opens as many connections as it needs, one after another.

Comes in: a request in JSON, the addresses to try, and a Dialect. Goes out, as from one Exchange: the reply in
JSON, or ChiError. What may change the miner goes once, and in text only to a miner that is known to speak it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chi.clock import CLOCK, Clock
from chi.errors import MINER_DOWN, ChiError
from chi.miner import cgminer_text
from chi.miner.dialect import Dialect
from chi.miner.replies import Made, Reply, parse_json
from chi.miner.text import translate
from chi.miner.text_requests import SUMMARY, Plan, next_request, read_request
from chi.miner.wire import Addresses, Exchange

NOTHING = frozenset({"closed", "empty"})  # what a text miner answers to JSON


def check_text(request: bytes) -> Plan:
    """Return how a request in JSON is asked in text; ChiError if it must not be sent so."""
    members = parse_json(request, parse_int=int)
    return read_request(members if isinstance(members, dict) else {})


class Conversation:
    """What an Exchange is, for a miner that may speak either protocol.

    `report`: the request changes nothing. `probe`: nothing in reply is cause to try a plain `summary`.
    `knock`: begin with a plain `summary`, to see what is there.
    `sent` is called for each connection. `asked`: when the first was made. `translated`: the reply was text.
    """

    def __init__(
        self,
        miner: str,
        request: bytes,
        sockets: dict[int, Any],
        landed: Callable[[Conversation, bytes | ChiError], None],
        *,
        dialect: Dialect,
        report: bool,
        probe: bool = True,
        knock: bool = False,
        sent: Callable[[], None] = lambda: None,
        clock: Clock = CLOCK,
        made: Made | None = None,
    ) -> None:
        self.request = request
        self.started = clock.now()
        self.translated = False
        self._miner = miner
        self._sockets = sockets
        self._landed = landed
        self._dialect = dialect
        self._report = report
        self._probe = probe
        self._knock = knock
        self._sent = sent
        self._clock = clock
        self._made = made
        self._addresses: Addresses = []
        self._exchange: Exchange | None = None
        self._first_asked: float | None = None
        self._failure: ChiError | None = None  # what the request in JSON ended with
        self._plan: Plan | None = None
        self._replies: dict[bytes, bytes | None] = {}

    @property
    def asked(self) -> float | None:
        """When the first request was sent."""
        return self._first_asked or (self._exchange.asked if self._exchange else None)

    @property
    def heard(self) -> float:
        """The last sign of life."""
        return self._exchange.heard if self._exchange else self.started

    @property
    def reply(self) -> Reply | None:
        """The outcome as read already, if it was."""
        return None if self.translated or self._exchange is None else self._exchange.reply

    # What Miner calls, as it does with an Exchange.

    def connect(self, addresses: Addresses) -> None:
        """Begin, at the first of `addresses` that accepts."""
        self._addresses = addresses
        if self._dialect.is_text:
            self._speak_text()
        elif self._knock:
            self._send(SUMMARY, self._probed)
        else:
            self._send(self.request, self._answered)

    def settle(self) -> None:
        """Take what has come as the reply if it is complete."""
        if self._exchange is not None:
            self._exchange.settle()

    def finish(self, outcome: bytes | ChiError) -> None:
        """End with `outcome`; close() is left to the caller."""
        if isinstance(outcome, ChiError) and outcome.name in MINER_DOWN:
            self._dialect.forget()
        if self._exchange is not None:
            self._exchange.detach()
        self._landed(self, outcome)

    def close(self) -> None:
        """Close the connection."""
        if self._exchange is not None:
            self._exchange.close()

    # One connection after another.

    def _send(self, request: bytes, landed: Callable[[bytes | ChiError], None]) -> None:
        self.close()

        def take(exchange: Exchange, outcome: bytes | ChiError) -> None:
            self._first_asked = self._first_asked or exchange.asked
            landed(outcome)

        self._sent()
        self._exchange = Exchange(self._miner, request, self._sockets, take, self._clock, self._made)
        self._exchange.connect(self._addresses)

    def _answered(self, outcome: bytes | ChiError) -> None:
        """The end of the request in JSON."""
        if not isinstance(outcome, ChiError):
            self._dialect.answered(in_json=True)
        elif self._report and outcome.name in NOTHING:
            self._failure = outcome
            now = self._clock.now()
            probe = self._probe and not self._knock and self._dialect.may_be_text(now)
            if outcome.name == "closed" and b"+" not in self.request:  # some firmware closes at joined ones
                self._dialect.closed(now)
            if probe:
                self._send(SUMMARY, self._probed)
                return
        self.finish(outcome)

    def _probed(self, outcome: bytes | ChiError) -> None:
        """The end of a plain `summary`, which tells what the miner speaks."""
        if isinstance(outcome, ChiError):
            self._dialect.tried_in_vain(self._clock.now())
            self.finish(self._failure or outcome)
        elif self._dialect.summarised(outcome, self._clock.now()):
            self._replies[SUMMARY] = outcome
            self._speak_text()
        elif self._failure is None:
            self._send(self.request, self._answered)
        else:
            self.finish(self._failure)

    def _speak_text(self) -> None:
        """Send the next request in the miner's own form, or end with the translation of its replies."""
        try:
            self._plan = self._plan or check_text(self.request)
            request = next_request(self._plan, self._replies)
            if request is not None:
                self._send(request, lambda outcome: self._told(request, outcome))
                return
            reply = translate(self._plan, self._replies, self._dialect.software, self._clock.epoch())
        except ChiError as error:
            self.finish(error)
        else:
            self.translated = True
            self.finish(reply)

    def _told(self, request: bytes, outcome: bytes | ChiError) -> None:
        """The end of a request in text."""
        if isinstance(outcome, bytes):
            if cgminer_text.looks_like(outcome) or outcome.startswith(b"{"):
                self._told_otherwise(outcome)
                return
            if request == SUMMARY:
                self._dialect.summarised(outcome, self._clock.now())
            self._replies[request] = outcome
        elif outcome.name == "empty" or (outcome.name == "closed" and request != SUMMARY):
            self._replies[request] = None if outcome.name == "closed" else b""
        else:
            if outcome.name == "closed":
                self._dialect.closed(self._clock.now())
            self.finish(outcome)
            return
        self._speak_text()

    def _told_otherwise(self, outcome: bytes) -> None:
        """A miner that was known to speak text is another by now."""
        self._dialect.forget()
        if self._report and not self._dialect.is_text:
            self._send(self.request, self._answered)
        else:
            self.finish(outcome)
