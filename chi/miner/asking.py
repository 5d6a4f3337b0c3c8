"""Miner.ask: which clients share a request to the miner, how fresh a reply must be, and deadlines.

Comes in: a Client and an encoded request. Goes out: a Reply, or ChiError, or Parked until there is either.

Identical reports share a request to the miner, and no client gets a reply that was asked for before the
client's own request had arrived, parsed to its last byte. So a Question has one request under way at the
most; the reply goes to whoever had arrived when it was sent, and who came later waits for the next.
Nothing is asked twice for the same client.

All of this runs in the event loop's thread: there are no locks.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chi.bounds import MAX_JUDGED_SIZE, MAX_WAITING, NAME_AGE, PROBES
from chi.clock import CLOCK, Clock
from chi.errors import MINER_DOWN, TIMEOUTS, ChiError
from chi.faults import guarded
from chi.miner.cache import ReplyCache
from chi.miner.conversation import Conversation, check_text
from chi.miner.dialect import Dialect
from chi.miner.questions import Client, Counters, Key, Outcome, Parked, Question, Share, Submit
from chi.miner.replies import Reply, indented, read_reply
from chi.miner.wire import QUIET, Addresses, encode_request, host_and_port, look_up
from chi.recent import Recent
from chi.settings import Settings

LONG_ENOUGH = 0.9  # of --timeout: an attempt that ends in vain before tells nothing of the miner
SILENCE = 0.5  # a miner this long without a sign of life may be asked once more, a second such: it hangs
TICK = 0.05  # seconds between two turns of the event loop while a client waits
IDLE = 1.0  # and while a miner may have to be asked whether it is there


class Miner:
    """The miner's API as handlers see it: `ask`, and a Reply or a ChiError.

    `sockets` is the event loop's map; the loop calls `ask_again` before a handler and `turn` after each turn.
    `submit` has a thread call its first argument, then the loop its second, with the result or the Exception.
    """

    def __init__(
        self,
        settings: Settings,
        sockets: dict[int, Any],
        submit: Submit,
        counters: Counters,
        clock: Clock = CLOCK,
        share: Share | None = None,
    ) -> None:
        self.name = host_and_port(settings.api_host, settings.api_port)
        self.counters = counters
        self._clock = clock
        # Called when the miner comes or goes: whether it answers, and a sentence that says so.
        self.on_change: Callable[[bool, str], None] = lambda answers, sentence: None
        # Called when there is something to do before the next turn that is due.
        self.on_work: Callable[[], None] = lambda: None
        self._share = share or Share()
        self._settings = settings
        self._sockets = sockets
        self._submit = submit
        self._dialect = Dialect(settings.protocol)
        self.one_at_a_time = False  # whether the miner hangs up on a second connection
        self.trouble = ""  # while it does not answer, the name of the error
        self._answers: bool | None = None  # None: not asked yet
        self._open: dict[Question, None] = {}  # in order of arrival
        self._shared: dict[Key, Question] = {}
        # Requests of clients, as they came, and the report that they ask for
        self._judged: Recent[bytes, Key] = Recent(self._share.judged)
        self._exchanges: list[Conversation] = []
        self._spent: list[Conversation] = []  # to be closed, which takes as long as a tenth of an exchange
        self._heard = 0.0  # when the miner last answered
        self._sent = 0.0  # when it was last asked
        self._cache = ReplyCache(settings.max_age, self._share)
        self._changed = 0.0  # when a privileged command through this name last began or ended
        self._gone = False
        self._resolving: list[Conversation] = []
        self._addresses: Addresses = []
        self._look_up_at = 0.0  # when to look the name up again
        try:
            self._addresses = look_up(settings.api_host, settings.api_port, socket.AI_NUMERICHOST)
            self._literal = True
        except socket.gaierror:
            self._literal = False

    # For handlers and the event loop.

    def ask(self, client: Client, request: bytes, pretty: bool = False, shared: bool = True) -> Reply:
        """Return the miner's reply to `request`, or raise its ChiError, or Parked until it is there.

        A `shared` request, a report, may be answered together with others; any other goes once, alone.
        """
        key = (request, pretty)
        if shared and client.forwarded == key and client.raw:
            self._remember(client.raw, key)
        answer = client.answers.get(key) or (self._recall(key, client) if shared else None)
        if answer is None:
            self._check_manners(client, request)
            self._park(client, key, shared)
            raise Parked
        if isinstance(answer, ChiError):
            raise answer.with_traceback(None)
        return answer

    def ask_again(self, client: Client) -> bool:
        """Ask for a client whose request has been judged before; whether it waits now.

        The verdict on a request depends on its bytes and the settings alone, so pollers, who send the same
        again and again, are judged once. What is remembered are reports; anything else is always judged.
        """
        key = self._judged.get(client.raw) if not client.answers else None
        if key is None:
            return False
        client.forwarded = key
        try:
            client.answers[key] = self.ask(client, *key)
        except ChiError as error:
            client.answers[key] = error
        except Parked:
            return True
        return False

    def turn(self, now: float) -> float:
        """Send what can be sent, end what has waited too long; return for how many seconds nothing is due."""
        if self._dialect.is_silent and self._dialect.may_try(now) and not self._gone:
            self._knock(now)
        for question in list(self._open):
            for exchange in question.exchanges[:]:
                self._watch(question, exchange, now)
        for question in [question for question in self._open if question.deadline <= now]:
            self._expire(question, now)
        for question in [question for question in self._open if question.wants_asking(now, SILENCE)]:
            if not self._has_room(now):
                break
            guarded("asking the miner", self._send, question, now)
        while self._spent:
            self._spent.pop().close()
        if self._open:
            return TICK
        return IDLE if self._dialect.is_silent else math.inf  # a knock may be due

    def _watch(self, question: Question, exchange: Conversation, now: float) -> None:
        """End an exchange that has taken too long, or is complete without saying so."""
        late = now >= exchange.started + self._settings.timeout
        if late and (self._is_silent(exchange, now) or now >= question.wanted_until(exchange)):
            exchange.finish(self._overdue(question, exchange))
        elif now >= exchange.heard + QUIET and not guarded("reading a reply", exchange.settle):
            exchange.finish(ChiError("internal"))

    def _is_silent(self, exchange: Conversation, now: float) -> bool:
        """Whether the miner has given no sign of life for as long as a client waits."""
        return now - max(self._heard, exchange.started, exchange.heard) >= self._settings.timeout

    @property
    def answers(self) -> bool | None:
        """Whether it answered when it was last asked; None: not asked yet."""
        return self._answers

    @property
    def idle(self) -> bool:
        """Whether no client waits and no request is under way."""
        return not self._open and not self._exchanges and not self._spent

    def give_up(self, error: str) -> None:
        """Answer everybody who waits with the error of that name."""
        for question in list(self._open):
            sent = any(exchange.asked is not None for exchange in question.exchanges)
            self._answer(question, None, ChiError(error, further=question.further if sent else ""))

    def leave(self) -> None:
        """Answer all clients with `miner-gone` from now on: the miner was removed."""
        self._gone = True
        self.give_up("miner-gone")

    @property
    def speaks_text(self) -> bool:
        """Whether it is known to speak only text: its joined replies are chi's own."""
        return self._dialect.is_text

    @property
    def manner(self) -> str:
        """How the miner answers, in words."""
        return "answers, and speaks the text protocol" if self._dialect.is_text else "answers"

    # Who waits.

    def _remember(self, raw: bytes, key: Key) -> None:
        if len(raw) <= MAX_JUDGED_SIZE:
            self._judged.limit = self._share.judged
            self._judged.keep(raw, key)

    def _park(self, client: Client, key: Key, shared: bool) -> None:
        question = self._shared.get(key) if shared else None
        if question is None:
            self._check_room(client.arrived)
            question = Question(key, shared)
            self._open[question] = None
            if shared:
                self._shared[key] = question
        question.add(client)
        self.on_work()

    def _check_manners(self, client: Client, request: bytes) -> None:
        """Refuse what the miner had better not be asked."""
        if self._gone:
            raise ChiError("miner-gone")
        if self._dialect.is_text:
            check_text(request)
        if client.own and self._dialect.is_silent:
            raise ChiError("closed", miner=self.name)

    def _knock(self, now: float) -> None:
        """Ask a miner that closes without a byte whether it still does."""
        key = (encode_request({"command": "version"}), False)
        if key not in self._shared and len(self._open) < MAX_WAITING:
            self._park(Client(now, self._settings.timeout, b"", lambda: None), key, shared=True)
            self._shared[key].knock = self._dialect.next_knock_is_text()

    def _check_room(self, now: float) -> None:
        """Refuse what cannot be answered in time."""
        oldest = min((exchange.started for exchange in self._exchanges), default=now)
        silence = now - max(oldest, self._heard)
        unsent = len(self._open) - len(self._exchanges)
        if silence > 2 * SILENCE and unsent >= self._settings.threads:
            raise ChiError("hung", seconds=silence)
        if len(self._open) >= MAX_WAITING:
            raise ChiError("busy")

    def _expire(self, question: Question, now: float) -> None:
        """Give up the clients whose deadline has passed."""
        error = self._overdue(question, *question.exchanges)
        waiting, question.waiting, question.deadline = question.waiting, [], float("inf")
        for client in waiting:
            if client.deadline > now:
                question.add(client)
            else:
                client.answers[question.key] = error
                _resume(client)
        if not question.waiting:  # a command must not be sent after its client was told that it was not
            for exchange in [each for each in question.exchanges if each.asked is None]:
                exchange.finish(error)
        self._close_if_done(question)

    def overdue(self, client: Client) -> ChiError:
        """Say what has happened to what a client waits for, and has not in time."""
        waits = next((question for question in self._open if client in question.waiting), None)
        return self._overdue(waits, *waits.exchanges) if waits else ChiError("busy")

    def _overdue(self, question: Question, *exchanges: Conversation) -> ChiError:
        """Say what has happened to a question that has no answer in time."""
        if not exchanges:
            name = "not-sent"
        elif any(exchange.asked is not None for exchange in exchanges):
            name = "timeout"
        elif all(exchange in self._resolving for exchange in exchanges):
            name = "name-timeout"
        else:
            name = "connect-timeout"
        return ChiError(name, seconds=self._settings.timeout, miner=self.name, further=question.further)

    def _close_if_done(self, question: Question) -> None:
        if question.waiting or question.exchanges:
            return
        self._open.pop(question, None)
        if question.shared:
            self._shared.pop(question.key, None)

    # What is under way.

    def _has_room(self, now: float) -> bool:
        """Whether the miner may be sent one more: a few at once, and while it is silent one now and then."""
        busy = len(self._exchanges)
        if not self._share.has_room(self._answers):
            return False
        if not busy or self.one_at_a_time:
            return not busy
        sign_of_life = max(self._sent, self._heard, *(exchange.heard for exchange in self._exchanges))
        if now - sign_of_life >= SILENCE:
            return busy < min(self._settings.threads + PROBES, self._share.connections)
        return busy < self._settings.threads

    def _send(self, question: Question, now: float) -> None:
        def landed(exchange: Conversation, outcome: bytes | ChiError) -> None:
            if not guarded("reading a reply", self._landed, question, exchange, outcome):
                self._answer(question, exchange, ChiError("internal"))

        def sent() -> None:
            self.counters["miner_requests", ""] += 1

        self._sent = now
        if not question.shared:
            self._forget()
        exchange = Conversation(
            self.name,
            question.key[0],
            self._sockets,
            landed,
            dialect=self._dialect,
            report=question.shared,
            probe=question.probes,
            knock=question.knock,
            sent=sent,
            clock=self._clock,
            made=question.made,
        )
        question.exchanges.append(exchange)
        self._exchanges.append(exchange)
        self._share.free -= 1
        if self._addresses:
            if not self._literal and now >= self._look_up_at:  # beside it: no request waits for that
                self._look_up(self._looked_up_again)
            exchange.connect(self._addresses)
            return
        self._resolving.append(exchange)
        if len(self._resolving) == 1:
            self._look_up(self._looked_up)

    def _look_up(self, done: Callable[[Any], None]) -> None:
        self._look_up_at = self._clock.now() + NAME_AGE
        host, port = self._settings.api_host, self._settings.api_port
        self._submit(lambda: look_up(host, port), done)

    def _looked_up_again(self, result: Addresses | Exception) -> None:
        if not isinstance(result, Exception):  # else those known are used on
            self._addresses = result

    def _looked_up(self, result: Addresses | Exception) -> None:
        waiting, self._resolving = self._resolving, []
        for exchange in waiting:
            if exchange not in self._exchanges:  # it has waited too long for the name
                continue
            if isinstance(result, Exception):
                why = getattr(result, "strerror", None) or result
                exchange.finish(ChiError("unknown-host", miner=self.name, why=why))
            else:
                self._addresses = result
                exchange.connect(result)

    def _landed(self, question: Question, exchange: Conversation, outcome: bytes | ChiError) -> None:
        """Take what an exchange ended with."""
        self._exchanges.remove(exchange)
        self._share.free += 1
        self.on_work()
        self._spent.append(exchange)
        alone = exchange.started < self._heard  # others were answered meanwhile
        brief = self._clock.now() < exchange.started + LONG_ENOUGH * self._settings.timeout
        if not ((alone or brief) and isinstance(outcome, ChiError) and outcome.name in TIMEOUTS):
            self._note(outcome)
        if isinstance(outcome, bytes):
            self._heard = exchange.heard
        self._answer(question, exchange, self._read(question, exchange, outcome))

    def _read(self, question: Question, exchange: Conversation, outcome: bytes | ChiError) -> Outcome:
        """Return the reply in the form that the clients want, or the error."""
        if isinstance(outcome, ChiError):
            return outcome
        try:
            reply = exchange.reply or read_reply(outcome, made=question.made)
            reply = replace(reply, translated=True) if exchange.translated else reply
            return indented(reply) if question.key[1] else reply
        except ChiError as error:
            return error

    def _answer(self, question: Question, exchange: Conversation | None, outcome: Outcome) -> None:
        """Give `outcome` to the clients that had arrived when it was requested; the others ask again."""
        asked = exchange.asked if exchange else None
        question.exchanges = [other for other in question.exchanges if other is not exchange]
        if isinstance(outcome, Reply):
            self.counters.update(("json_repairs", name) for name in outcome.repairs)
            if question.shared and asked is not None:
                self._cache.hold(question.key, asked, outcome, since=self.changed)
        elif exchange:
            self.counters["miner_errors", outcome.name] += 1
        if not question.shared:
            self._forget()
        waiting, question.waiting, question.deadline = question.waiting, [], float("inf")
        self._close_if_done(question)
        served = [client for client in waiting if asked is None or client.arrived <= asked]
        self.counters["coalesced_requests", ""] += max(0, len(served) - 1)
        for client in served:
            client.answers[question.key] = outcome
        for client in waiting:
            _resume(client)

    def _note(self, outcome: bytes | ChiError) -> None:
        """Say once that the miner does not answer, and once that it does again."""
        answers = not (isinstance(outcome, ChiError) and outcome.name in MINER_DOWN)
        if not answers and not self._literal:
            self._addresses = []  # the name may have moved
        self.trouble = outcome.name if isinstance(outcome, ChiError) and not answers else ""
        if answers is self._answers:
            return
        self._answers = answers
        sentence = f"miner {self.name} {self.manner}" if answers else str(outcome)
        guarded("telling of the miner", self.on_change, answers, sentence)

    def _recall(self, key: Key, client: Client) -> Reply | None:
        reply = self._cache.recall(key, client.arrived, since=self.changed) if self._cache else None
        self.counters["coalesced_requests", ""] += reply is not None
        return reply

    @property
    def changed(self) -> float:
        """When a privileged command last began or ended, by whichever name: what was asked before is old."""
        return max(self._changed, self._share.changed(self._addresses))

    def _forget(self) -> None:
        self._cache.clear()
        self._changed = self._clock.now()
        self._share.note_change(self._addresses, self._changed)


def _resume(client: Client) -> None:
    guarded("answering a client", client.resume)
