"""The miners that this chi serves: one at the root, or a fleet below /@NAME/, or both.

Comes in: turns of the event loop, names and paths of clients' requests, and a list of miners that may change.
Goes out: Sites; what is due to the miners; and for systemd a line that sums up how they are.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any, Protocol

from chi.access import Policy
from chi.clock import CLOCK, Clock
from chi.errors import ChiError, quote
from chi.miner.asking import IDLE, Client, Counters, Miner, Share, Submit
from chi.monitor import Monitor
from chi.places import Place, check_names, read_places
from chi.settings import Settings

log = logging.getLogger("chi")


class Notifier(Protocol):
    """Whom news of the miners are for: systemd, if it listens."""

    @property
    def listens(self) -> bool:
        """Whether there is anybody to notify."""

    def send(self, message: str) -> None:
        """Send lines of NAME=value."""


class Site:
    """One miner with what is known of it over time; the one at the root has no name."""

    def __init__(self, name: str, place: Place, miner: Miner, monitor: Monitor) -> None:
        self.name = name
        self.place = place
        self.miner = miner
        self.monitor = monitor

    @property
    def path(self) -> str:
        """What its URLs begin with."""
        return f"/@{self.name}" if self.name else ""

    def turn(self, now: float) -> float:
        """Do what is due; return when something will be."""
        due = self.monitor.turn(now)
        return min(due, now + self.miner.turn(now))


class Sites:
    """The miners of one chi, as the event loop and the application see them.

    The miner of --api_host is at the root `at_root`, or where no miner has a name.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        sockets: dict[int, Any],
        submit: Submit,
        notifier: Notifier,
        clock: Clock = CLOCK,
        at_root: bool = False,
    ) -> None:
        self.clock = clock
        self._at_root = at_root
        self.counters: Counters = collections.Counter()
        self._settings = settings
        self._policy = policy
        self._sockets = sockets
        self._submit = submit
        self._notifier = notifier
        self._state = ""  # what systemd was told last
        self._share = Share()
        self._due: dict[Site, float] = {}  # when each wants its turn
        self._leaving: list[Site] = []  # off the list, with something under way
        self._by_name: dict[str, Site] = {}
        self.root: Site | None = None
        self._take(places_of(settings))

    def __iter__(self) -> Iterator[Site]:
        """The miners with names, in the order of the list."""
        return iter(self._by_name.values())

    def find(self, name: str) -> Site | None:
        """Return the miner of that name, of none the one at the root; ChiError for a name that none has."""
        if not name:
            return self.root
        site = self._by_name.get(name)
        if site is None:
            raise ChiError("unknown-miner", miner=quote(name))
        return site

    def ask_again(self, client: Client, path: str) -> bool:
        """Ask for a client whose request has been judged before; whether it waits now."""
        name, _ = split_path(path)
        site = self._by_name.get(name) if name else self.root
        return site is not None and site.miner.ask_again(client)

    def turn(self, now: float) -> float:
        """Do what is due; return for how many seconds nothing is."""
        for site in [site for site, due in self._due.items() if due <= now]:
            self._due[site] = float("inf")
            due = site.turn(now)
            self._due[site] = min(due, self._due[site])  # there may be work for the next turn already
        for site in self._leaving[:]:
            self._due[site] = now
            if site.miner.idle:
                self._leaving.remove(site)
                del self._due[site]
        return min(max(min(self._due.values(), default=now + IDLE) - now, 0.0), IDLE)

    def give_up(self) -> None:
        """Answer everybody who waits with `stopping`."""
        for site in self._due:
            site.miner.give_up(ChiError("stopping"))

    def reload(self) -> None:
        """Read the list of miners again: who stays keeps all that is known; a bad list changes nothing."""
        try:
            places = places_of(self._settings)
        except ValueError as error:
            log.error("--miners: %s; the miners stay as they are", error)
            return
        before = set(self._by_name)
        self._take(places)
        if self._settings.miners:
            came, went = set(self._by_name) - before, before - set(self._by_name)
            log.info("%d miners: %d came, %d went", len(self._by_name), len(came), len(went))

    def _take(self, places: tuple[Place, ...]) -> None:
        """Serve these and no others; one that has moved begins anew."""
        root = Place("", self._settings.api_host, self._settings.api_port)
        wanted = (root, *places) if self._at_root or not places else places
        there = {site.place: site for site in (*self, *filter(None, [self.root]))}
        for place in there.keys() - set(wanted):
            self._leaving.append(there[place])
            there[place].miner.give_up(ChiError("miner-gone"))
        self._share.divide(len(wanted))
        sites = {
            place.name: there.get(place) or self._open(place, number / len(wanted) if places else None)
            for number, place in enumerate(wanted)
        }
        self.root = sites.pop("", None)
        self._by_name = sites

    def _open(self, place: Place, phase: float | None) -> Site:
        settings = dataclasses.replace(
            self._settings, api_host=place.host, api_port=place.port or self._settings.api_port
        )
        miner = Miner(settings, self._sockets, self._submit, self.counters, self.clock, self._share)
        monitor = Monitor(
            settings,
            miner,
            warns=self._policy.is_open and not place.name,
            looks=self._notifier.listens and not place.name,
            tell=self._tell,
            clock=self.clock,
            phase=phase,
        )
        site = Site(place.name, place, miner, monitor)
        self._due[site] = 0.0

        def work() -> None:
            self._due[site] = 0.0

        miner.on_work = work
        return site

    def _tell(self) -> None:
        state = self.condition
        if state != self._state:
            self._state = state
            self._notifier.send(f"STATUS={state}")

    @property
    def description(self) -> str:
        """Whom chi serves, in words."""
        root = f"the miner at {self.root.miner.name}" if self.root else ""
        fleet = f"{len(self._by_name)} miners below /@NAME/" if self._by_name else ""
        return " and ".join(filter(None, (root, fleet)))

    @property
    def condition(self) -> str:
        """How the miners are, in words."""
        if self.root is not None and not self._by_name:
            return f"miner {self.root.miner.name} {self.root.monitor.condition}"
        sites = list(self._due)
        answering = sum(site.miner.answers is True for site in sites)
        return f"{answering} of {len(sites)} miners answer"


def places_of(settings: Settings) -> tuple[Place, ...]:
    """Return the miners with names, by the command line and the --miners file; ValueError."""
    places = settings.miner + (read_places(settings.miners) if settings.miners else ())
    check_names(places)
    return places


def split_path(path: str) -> tuple[str, str]:
    """Return the name in a path and the rest of it: /@NAME/rest, or a path without a name."""
    if not path.startswith("/@"):
        return "", path
    name, _, rest = path[2:].partition("/")
    return name, "/" + rest
