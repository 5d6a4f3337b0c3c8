"""One miner over time: scrapes, samples of its history, its newest status, and whether it may be changed.

Comes in: a Client that waits for a scrape, and the time. Goes out: a Status of chi.status, or ChiError; and
the verdict, after each look at the miner.
It asks the miner reports only, and once whether this host may write.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from chi.clock import CLOCK, Clock
from chi.errors import MINER_DOWN, ChiError, quote
from chi.miner.asking import Client, Miner, Parked
from chi.miner.wire import encode_request
from chi.settings import Settings

log = logging.getLogger("chi")

FIRST_SAMPLE = 15.0  # seconds from the start to the first sample of the history
SAMPLE_EVERY = 15.0  # seconds between two samples
FULL_EVERY = 60.0  # seconds between two that have all that the verdict is judged by: pools, fans, power
LOOK = 10.0  # how often systemd's status line is made sure of, also while nobody asks
# Errors of a scrape that tell nothing of the miner: it was not asked
NOT_ASKED = frozenset({"busy", "not-sent", "stopping", "miner-gone"})
PROBE_AFTER = 3.0  # from the miner's first answer to the question whether it may be changed


class Monitor:
    """What monitors and the page read: the miner's state, alike for every firmware, and its last minutes.

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
        self._newest: tuple[float, Any] = (float("-inf"), None)  # when it was asked for, and the Status
        self._called = f"{name}: " if name else ""
        if first is None:
            first = FIRST_SAMPLE if settings.history else float("inf")
        self.sample_at = clock.now() + first
        self.interval, self.full_at = SAMPLE_EVERY, float("-inf")
        self.verdict: Any = None  # the newest Verdict, and when that was asked for on which it is based
        self._judged = float("-inf")

    @functools.cached_property
    def history(self) -> Any:
        """The History."""
        from chi.status.history import History  # here, as most who start chi never ask for them

        return History(self._settings.history)

    @property
    def newest(self) -> tuple[float, Any]:
        """When the newest Status was asked for, and it; None if there is none."""
        return self._newest

    @property
    def condition(self) -> str:
        """How the miner is, in words."""
        trouble = self._miner.trouble
        return f"{trouble} since {self._since}" if trouble else self._healthy

    def turn(self, now: float) -> float:
        """Ask the miner for what is due; return when something will be."""
        if now >= self._probe_at:
            self._probe()
        if now >= self._look_at:
            self._look(now)
        if now >= self.sample_at:
            self.sample(now)
        return min(self._probe_at, self._look_at, self.sample_at)

    def status(self, client: Client, max_age: float) -> tuple[Any, float]:
        """Return the Status and its age in seconds, up to `max_age`; ChiError if there is none."""
        asked, status = self._newest
        if status is None or asked < client.arrived - max_age or asked <= self._miner.changed:
            return self.scrape(client)[0], 0.0
        self._miner.counters["coalesced_requests", ""] += 1
        return status, max(client.arrived - asked, 0.0)

    def scrape(self, client: Client, sample: bool = False) -> tuple[Any, dict[str, bool]]:
        """Return the Status, and which commands for it succeeded; ChiError if there is none.

        With `sample` it has only what a sample of the history needs. Run again after each Parked, it asks the
        same again and finds the answers there: so what is remembered changes only at the end.
        """
        try:
            status, commands = self._scrape(client, sample)
        except ChiError as error:
            if error.name not in NOT_ASKED:
                self._judge(client.arrived, None)
            raise
        if not sample:
            self._newest = (client.arrived, status)
            self._judge(client.arrived, status)
            self.full_at = client.arrived + FULL_EVERY
            # What was asked for somebody else need not be asked again, if it is nearly time.
            if client.arrived >= self.sample_at - self.interval / 10:
                self._add(client.arrived, status)
        return status, commands

    def _scrape(self, client: Client, sample: bool) -> tuple[Any, dict[str, bool]]:
        from chi.status import firmware, history, values

        replies: dict[str, Any] = {}
        client.made = values.one_object
        client.known = client.known or (self._firmware or firmware.UNKNOWN, self._refused)
        known, refused = client.known[0], set(client.known[1])
        unwanted = history.NOT_SAMPLED if sample else ()
        while (request := firmware.next_request(replies, refused, known, unwanted)) is not None:
            found = firmware.members(request, self._ask_parsed(client, request))
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
        timeout, light = min(self._settings.timeout, self.interval), now < self.full_at
        client = Client(now, timeout, b"", lambda: self._sample(client, light), own=True)
        self._sample(client, light)

    def _sample(self, client: Client, light: bool) -> None:
        status: Any = None
        try:
            status, _ = self.scrape(client, light)
        except Parked:
            return
        except ChiError:  # which Miner has counted
            pass
        except Exception:  # one fault must not end the service of all
            log.exception("fault while taking a sample")
        self._add(client.arrived, status)

    def _add(self, asked: float, status: Any) -> None:
        self.history.add(asked, status)
        self.sample_at = asked + self.interval

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
            self._miner.ask(client, encode_request({"command": "privileged"}), shared=False)

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
    """What it means that chi is open, in words."""
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
