"""One miner over time: scrapes, history samples, its newest status, and whether chi may change it.

Comes in: a Client that waits for a scrape, and the time. Goes out: a Status of chi.status, or ChiError; and
the verdict, after each look at the miner.
It asks the miner reports only, and once whether this host may write.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chi.bounds import SCRAPE_TIME, STATUS_AGE
from chi.clock import CLOCK, Clock
from chi.errors import MINER_DOWN, ChiError, quote
from chi.miner.asking import Miner
from chi.miner.questions import Client, Parked
from chi.miner.replies import Reply
from chi.miner.wire import encode_request
from chi.settings import Settings

log = logging.getLogger("chi")

FIRST_SAMPLE = 15.0  # seconds from the start to the first sample of the history
SAMPLE_EVERY = 15.0  # seconds between two samples
FULL_EVERY = 60.0  # seconds between two that have all that the verdict is judged by: pools, fans, power
LOOK = 10.0  # seconds between two checks for systemd's status line, also without clients
# Errors of a scrape that tell nothing of the miner: it was not asked
NOT_ASKED = frozenset({"busy", "not-sent", "stopping", "miner-gone"})
PROBE_AFTER = 3.0  # from the miner's first answer to the question whether it may be changed


class Found(NamedTuple):
    """What a scrape found: when it was asked for, the Status, and which commands for it succeeded."""

    asked: float
    status: Any
    commands: dict[str, bool]


class Scrape:
    """A scrape for a client that `waits`; it may continue after the client has its answer.

    It asks as a `client` of its own, and ends with an `outcome`.
    """

    def __init__(
        self, waits: Client, timeout: float, max_age: float | None, advance: Callable[[Scrape], None]
    ) -> None:
        self.waits = waits
        self._max_age = max_age
        self.client = Client(waits.arrived, max(SCRAPE_TIME, timeout), b"", lambda: advance(self))
        self.outcome: Found | ChiError | None = None

    def takes(self, found: Found) -> bool:
        """Whether what was found for another is young enough."""
        return self._max_age is not None and found.asked >= self.waits.arrived - self._max_age

    @property
    def is_heard(self) -> bool:
        """Whether the miner has answered some of it."""
        return any(isinstance(answer, Reply) for answer in self.client.answers.values())


class Monitor:
    """The miner's state in the same form for every firmware, and its history.

    `warns`: whether to log what it means that chi is open. `looks`: whether to ask for the version every LOOK
    seconds, for `condition`. `tell` is called when `condition` may have changed, `turn` by the event loop.
    `first` (s) is when the first sample is due of a miner of a fleet, which sets them apart; samples are
    taken without a history as well then. `name`, of a fleet's miner, is what lines of the log begin with.
    """

    def __init__(
        self,
        settings: Settings,
        miner: Miner,
        *,
        warns: bool,
        looks: bool,
        tell: Callable[[], None],
        clock: Clock = CLOCK,
        first: float | None = None,
        name: str = "",
    ) -> None:
        self._settings = settings
        self._miner = miner
        self._clock = clock
        self._warns = warns
        self._tell = tell
        self._look_at = clock.now() if looks else float("inf")
        self._healthy = "answers"  # how a miner is described that does
        self._since = ""  # since when the miner is down
        self._probed, self._probe_at = False, float("inf")
        miner.on_change = self._miner_changed
        # What earlier scrapes found: the firmware, and which joined requests it does not take.
        self._firmware = ""
        self._refused: frozenset[str] = frozenset()
        self._doubts: frozenset[str] = frozenset()  # the Status' doubts that are in the log
        self._newest = Found(float("-inf"), None, {})
        self._took = 0.0  # how many seconds that took
        self._waiting: dict[Client, None] = {}  # for the end of their scrapes
        self._going_on: Scrape | None = None  # one that its client has not waited for
        self._called = f"{name}: " if name else ""
        if first is None:
            first = FIRST_SAMPLE if settings.history else float("inf")
        self.sample_at = clock.now() + first
        self.interval, self.full_at = SAMPLE_EVERY, float("-inf")
        self.verdict: Any = None  # the newest Verdict, and when that was asked for on which it is based
        self._judged = float("-inf")
        self._last_hour: dict[str, Any] | None = None  # until the next sample

    @functools.cached_property
    def history(self) -> Any:
        """The History."""
        from chi.status.history import History  # here, as most who start chi never ask for them

        return History(self._settings.history)

    @property
    def last_hour(self) -> dict[str, Any]:
        """What /fleet.json tells of the last hour, as it was at the newest sample."""
        if self._last_hour is None:
            from chi.status.fleet import last_hour

            self._last_hour = last_hour(self.history, self._clock.now())
        return self._last_hour

    @property
    def newest(self) -> Found:
        """The newest Status; None if there is none yet."""
        return self._newest

    @property
    def condition(self) -> str:
        """How the miner is, in words."""
        trouble = self._miner.trouble
        return f"{trouble} since {self._since}" if trouble else self._healthy

    @property
    def due(self) -> float:
        """When something will be to do."""
        waiting = min((client.deadline for client in self._waiting), default=float("inf"))
        return min(self._probe_at, self._look_at, self.sample_at, waiting)

    def turn(self, now: float) -> None:
        """Ask the miner for what is due, and answer clients whose deadline has come."""
        for client in [client for client in self._waiting if client.deadline <= now]:
            del self._waiting[client]
            client.resume()
        if now >= self._probe_at:
            self._probe()
        if now >= self._look_at:
            self._look(now)
        if now >= self.sample_at:
            self.sample(now)

    def status(self, client: Client, max_age: float | None = None) -> Found:
        """Return the newest status; one of up to `max_age` seconds will do, and an older one of a slow miner.

        ChiError if there is none. The client waits until its deadline; what is asked for it may come later.
        """
        found = self._newest
        scrape: Scrape | None = client.scrape
        if scrape is None:
            scrape = client.scrape = Scrape(client, self._settings.timeout, max_age, self._advance)
            if self._serves(found, scrape):
                return found
            self._advance(scrape)
        if scrape.outcome is None and self._clock.now() >= client.deadline:
            return self._late(client, scrape)
        if scrape.outcome is None:
            self._waiting[client] = None
            self._miner.on_work()  # its deadline may be the next that is due
            raise Parked
        if isinstance(scrape.outcome, ChiError):
            raise scrape.outcome.with_traceback(None)
        return scrape.outcome

    def _serves(self, found: Found, scrape: Scrape) -> bool:
        """Whether what was found for another will do; if so, it is counted."""
        will_do = scrape.takes(found) and found.asked > self._miner.changed
        self._miner.counters["coalesced_requests", ""] += will_do
        return will_do

    def _end(self, scrape: Scrape, outcome: Found | ChiError) -> None:
        scrape.outcome = outcome
        scrape.client.end()
        if scrape.waits in self._waiting:
            del self._waiting[scrape.waits]
            scrape.waits.resume()

    def _late(self, client: Client, scrape: Scrape) -> Found:
        """Return the last status if a slow miner's next is being read, and it is at most STATUS_AGE old."""
        now, found = self._clock.now(), self._newest
        if not (scrape.is_heard or self._took > client.deadline - client.arrived):
            error = self._miner.overdue(scrape.client)
            self._failed(client.arrived, error)
            raise error
        if self._going_on is None or self._going_on.outcome is not None:
            self._going_on = scrape
        else:  # only one scrape continues
            scrape.outcome = ChiError("busy")
        if now - found.asked <= STATUS_AGE and found.asked > self._miner.changed:
            return found
        raise ChiError("on-its-way", seconds=now - client.arrived)

    def _advance(self, scrape: Scrape) -> None:
        """Ask for what is missing of a scrape, or end it."""
        if scrape.outcome is not None:
            return
        try:
            self._end(scrape, self.scrape(scrape.client))
        except Parked:
            return
        except ChiError as error:
            self._end(scrape, error)
        except Exception:  # one fault must not end the service of all
            log.exception("fault while reading the miner's status")
            self._end(scrape, ChiError("internal"))

    def scrape(self, client: Client, sample: bool = False) -> Found:
        """Return the Status, and which commands for it succeeded; ChiError if there is none.

        With `sample` it has only what a sample of the history needs. Run again after each Parked, it asks the
        same again and finds the answers there: so what is remembered changes only at the end.
        """
        try:
            found = Found(client.arrived, *self._scrape(client, sample))
        except ChiError as error:
            self._failed(client.arrived, error)
            raise
        if not sample and found.asked > self._newest.asked:
            self._newest, self._took = found, self._clock.now() - client.arrived
            self._judge(client.arrived, found.status)
            self.full_at = client.arrived + FULL_EVERY
            # Use what was asked for another client as a sample, if one is nearly due.
            if client.arrived >= self.sample_at - self.interval / 10:
                self._add(client.arrived, found.status)
            for scrape in [other.scrape for other in self._waiting]:
                if scrape.client is not client and self._serves(found, scrape):
                    self._end(scrape, found)
        return found

    def _failed(self, asked: float, error: ChiError) -> None:
        if error.name not in NOT_ASKED:
            self._judge(asked, None)

    def _scrape(self, client: Client, sample: bool) -> tuple[Any, dict[str, bool]]:
        from chi.status import firmware, history, values

        replies: dict[str, Any] = {}
        client.made = values.one_object
        client.known = client.known or (self._firmware or firmware.UNKNOWN, self._refused)
        known, refused = client.known[0], set(client.known[1])
        unwanted = history.NOT_SAMPLED if sample else ()
        while requests := firmware.next_requests(replies, refused, known, unwanted):
            for request, reply in self._ask_all(client, requests):
                found = firmware.members(request, reply)
                if found is None:
                    refused.add(request)
                else:
                    replies.update(found)
        if not firmware.answered(replies):
            said = values.text(values.envelope(replies.get("summary")).get("Msg"))
            self._miner.counters["miner_errors", "no-summary"] += 1
            raise ChiError("no-summary", why=quote(said) if said else "there is none in its reply")
        # Who tells one by one what it did not tell joined does not join, however it said so.
        self._firmware, self._refused = firmware.recognise(replies, known), frozenset(refused)
        if self._miner.speaks_text:  # joined replies are made here
            self._refused = frozenset()
        self._miner.one_at_a_time = firmware.one_at_a_time(self._firmware)
        status = firmware.normalise(replies, self._clock.epoch())
        for doubt in frozenset(status.doubts) - self._doubts:
            log.warning("%s%s", self._called, doubt)
        self._doubts |= frozenset(status.doubts)
        return status, firmware.command_success(replies, self._firmware)

    def _judge(self, asked: float, status: Any) -> None:
        """Judge what was asked for then; the newest verdict stays, if a later answer came first."""
        from chi.status.verdict import judge

        if asked > self._judged:
            history = self.history if self._settings.history else None
            self.verdict, self._judged = judge(self.verdict, status, history, asked), asked

    def sample(self, now: float) -> None:
        """Ask the miner for a sample of the history; for all that it tells, if that is due."""
        self.sample_at = now + 2 * self.interval  # in case that this one fails
        timeout, light = min(max(SCRAPE_TIME, self._settings.timeout), self.interval), now < self.full_at
        client = Client(now, timeout, b"", lambda: self._sample(client, light), own=True)
        self._sample(client, light)

    def _sample(self, client: Client, light: bool) -> None:
        status: Any = None
        try:
            status = self.scrape(client, light).status
        except Parked:
            return
        except ChiError:  # which Miner has counted
            pass
        except Exception:  # one fault must not end the service of all
            log.exception("fault while taking a sample")
        client.end()
        self._add(client.arrived, status)

    def _add(self, asked: float, status: Any) -> None:
        self.history.add(asked, status)
        self._last_hour = None
        self.sample_at = asked + self.interval

    def _ask_all(self, client: Client, commands: Sequence[str]) -> list[tuple[str, Any]]:
        """Return the parsed reply to each, all asked side by side; Parked while one is missing."""
        parked, told = False, []
        for command in commands:
            try:
                told.append((command, self._ask_parsed(client, command)))
            except Parked:
                parked = True
        if parked:
            raise Parked
        return told

    def _ask_parsed(self, client: Client, command: str) -> Any:
        """Return the parsed reply; None if it is broken, ChiError if it is of no use to ask for others."""
        from chi.status import values

        try:
            return self._miner.ask(client, encode_request({"command": command})).parsed(values.one_object)
        except ChiError as error:
            joining_failed = error.name == "closed" and "+" in command
            if error.status in (503, 504) or (error.name in MINER_DOWN and not joining_failed):
                raise
            return None

    def _miner_changed(self, answers: bool, sentence: str) -> None:
        log.log(logging.INFO if answers else logging.WARNING, "%s%s", self._called, sentence)
        self._since = time.strftime("%H:%M", time.localtime(self._clock.epoch()))
        self._tell()
        if answers and self._warns and not self._probed:
            self._probe_at = self._clock.now() + PROBE_AFTER

    def _probe(self) -> None:
        """Ask the miner, once, whether this host may change it, and log what that means."""
        self._probe_at, self._probed = float("inf"), True
        now, timeout = self._clock.now(), self._settings.timeout
        client = Client(now, timeout, b"", lambda: self._log_access(client), own=True)
        with contextlib.suppress(Parked, ChiError):
            self._miner.ask(client, encode_request({"command": "privileged"}))

    def _look(self, now: float) -> None:
        """Ask the miner for its version, for systemd's status line."""
        self._look_at = now + LOOK
        client = Client(now, self._settings.timeout, b"", lambda: self._see(client), own=True)
        self._see(client)

    def _see(self, client: Client) -> None:
        try:
            reply = self._miner.ask(client, encode_request({"command": "version"}), shared=True)
        except Parked:
            return
        except ChiError:
            pass
        else:
            name = (section(reply.parsed(dict), "STATUS") or [{}])[0].get("Description")
            # Printable, so without the newline that would begin another message to systemd.
            software = "".join(filter(str.isprintable, name))[:60] if isinstance(name, str) else ""
            self._healthy = f"{self._miner.manner} ({software})" if software else self._miner.manner
        self._tell()

    def _log_access(self, client: Client) -> None:
        (outcome,) = client.answers.values()
        if not isinstance(outcome, ChiError):
            log.warning("%s", warn_of(may_write(outcome.parsed(dict))))


def may_write(reply: Any) -> bool | None:
    """Whether this host may change the miner, by the reply to `privileged`; None if it does not say."""
    status = section(reply, "STATUS")
    if status and status[0].get("STATUS") == "S":
        return True
    return False if status and status[0].get("Code") == 45 else None


def warn_of(writes: bool | None) -> str:
    """The consequence of open access, in words."""
    end = "--read-only or --token-file ends that"
    return {
        True: f"the API gives this host write access: whoever reaches chi can change the miner; {end}",
        False: "the API lets this host read only, and so whoever reaches chi",
        None: f"the API does not tell whether this host may write; if so, whoever reaches chi may; {end}",
    }[writes]


def section(reply: Any, name: str) -> list[dict[str, Any]]:
    """Return the entries of a section of a parsed reply; empty where there are none."""
    entries = reply.get(name) if isinstance(reply, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


ACCESS = {
    True: "the API gives this host write access",
    False: "the API lets this host read only",
    None: "the API does not tell whether this host has write access",
}
