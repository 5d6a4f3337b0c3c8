"""The miners that chi serves: one at the root, or a fleet below /@NAME/, or both; SIGHUP changes the list.

Comes in: turns of the event loop, names and paths of clients' requests, and a list of miners that may change.
Goes out: Sites; what is due to the miners; and for systemd a line that sums up how they are.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
import os
from collections.abc import Iterator
from typing import Any, Protocol

from chi.access import Policy
from chi.bounds import MAX_MINER_CONNECTIONS
from chi.clock import CLOCK, Clock
from chi.errors import ChiError, quote
from chi.faults import guarded
from chi.miner.asking import IDLE, TICK, Miner
from chi.miner.questions import Client, Counters, Share, Submit
from chi.monitor import SAMPLE_EVERY, Monitor
from chi.places import Place, check_names, read_places
from chi.settings import Settings

log = logging.getLogger("chi")

APART = 0.25  # seconds between the first samples of two miners of a fleet, if that fits


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
        """Do what is due; return when to be called next."""
        guarded("doing what is due", self.monitor.turn, now)
        wait = [IDLE]
        guarded("asking a miner", lambda: wait.append(self.miner.turn(now)))
        return min(self.monitor.due, now + wait[-1])


class Sites:
    """The miners of one chi, as the event loop and the application see them.

    The miner of --api_host is at the root `at_root`, or where no miner has a name. `connections` are the
    descriptors set apart for those to a fleet; to a single miner there are few.
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
        connections: int = 0,
    ) -> None:
        self.clock = clock
        self._at_root = at_root
        self.connections = connections
        self.counters: Counters = collections.Counter()
        self._settings = settings
        self._policy = policy
        self._sockets = sockets
        self._submit = submit
        self._notifier = notifier
        self._state = ""  # what systemd was told last
        self._share = Share(connections or MAX_MINER_CONNECTIONS)
        self._due: dict[Site, float] = {}  # when each wants its turn
        self._leaving: list[Site] = []  # off the list, with something under way
        self._by_name: dict[str, Site] = {}
        self.root: Site | None = None
        self._take(places_at_start(settings))

    def __iter__(self) -> Iterator[Site]:
        """The miners with names, in the order of the list."""
        return iter(self._by_name.values())

    def find(self, name: str | None) -> Site | None:
        """Return the miner of that name, of None the one at the root; ChiError for a name that none has."""
        if name is None:
            return self.root
        site = self._by_name.get(name)
        if site is None:
            raise ChiError("unknown-miner", miner=quote(name))
        return site

    def ask_again(self, client: Client, name: str | None) -> bool:
        """Ask for a client whose request has been judged before; whether it waits now."""
        site = self.root if name is None else self._by_name.get(name)
        return site is not None and site.miner.ask_again(client)

    def turn(self, now: float) -> float:
        """Do what is due; return the seconds until the next call."""
        for site in [site for site, due in self._due.items() if due <= now]:
            self._due[site] = float("inf")
            due = site.turn(now)
            self._due[site] = min(due, self._due[site])  # there may be work for the next turn already
        for site in self._leaving[:]:
            guarded("leaving a miner", site.miner.turn, now)
            if site.miner.idle:
                self._leaving.remove(site)
        if self._leaving:
            return TICK
        return max(min(self._due.values(), default=math.inf) - now, 0.0)

    def give_up(self) -> None:
        """Answer everybody who waits with `stopping`."""
        for site in (*self._due, *self._leaving):
            site.miner.give_up("stopping")

    def reload(self) -> None:
        """Read the list of miners again: who stays keeps all that is known; a bad list changes nothing."""
        try:
            places = places_of(self._settings)
        except ValueError as error:
            log.error("--miners: %s; the miners stay as they are", error)
            return
        before = {site.name: site for site in self}
        self._take(places)
        if self._settings.miners:
            came, went = self._by_name.keys() - before, before.keys() - self._by_name.keys()
            moved = [name for name, site in before.items() if self._by_name.get(name, site) is not site]
            counts = (len(self._by_name), len(came), len(went), len(moved))
            log.info("%d miners: %d came, %d went, %d moved", *counts)
        self._tell()

    def _take(self, places: tuple[Place, ...]) -> None:
        """Serve exactly these miners; one with a new address starts without history."""
        root = Place("", self._settings.api_host, self._settings.api_port)
        wanted = (root, *places) if self._at_root or not places else places
        there = {site.place: site for site in (*self, *filter(None, [self.root]))}
        for place in there.keys() - set(wanted):
            del self._due[there[place]]
            self._leaving.append(there[place])
            there[place].miner.leave()
        self._share.divide(len(wanted))
        apart = min(APART, SAMPLE_EVERY / len(wanted))
        sites = {
            place.name: there.get(place) or self._open(place, number * apart if places else None)
            for number, place in enumerate(wanted)
        }
        self.root = sites.pop("", None)
        self._by_name = sites

    def _open(self, place: Place, first: float | None) -> Site:
        settings = dataclasses.replace(self._settings, api_host=place.host, api_port=place.port)
        miner = Miner(settings, self._sockets, self._submit, self.counters, self.clock, self._share)
        monitor = Monitor(
            settings,
            miner,
            warns=self._policy.is_open and not place.name,
            looks=self._notifier.listens and not place.name,
            tell=self._tell,
            clock=self.clock,
            first=first,
            name=place.name,
        )
        site = Site(place.name, place, miner, monitor)
        self._due[site] = 0.0

        def work() -> None:
            if site in self._due:  # it is not leaving
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
        sites = [*self, *filter(None, [self.root])]
        answering = sum(site.miner.answers is True for site in sites)
        return f"{answering} of {len(sites)} miners answer"


def places_at_start(settings: Settings) -> tuple[Place, ...]:
    """Return the same; a service, which is always given the file, may be without it: then there is none."""
    if settings.service and settings.miners and not os.path.exists(settings.miners):
        settings = dataclasses.replace(settings, miners="")
    return places_of(settings)


def places_of(settings: Settings) -> tuple[Place, ...]:
    """Return the miners with names, by the command line and the --miners file; ValueError."""
    places = settings.miner + (read_places(settings.miners, settings.miner) if settings.miners else ())
    check_names(places)
    return tuple(place._replace(port=place.port or settings.api_port) for place in places)


def split_path(path: str) -> tuple[str | None, str]:
    """Return the name in a path and the rest of it: /@NAME/rest, or None and a path without a name.

    What begins with /@ is never a miner's command, below a name neither: it is a name then that no miner has.
    """
    if not path.startswith("/@"):
        return None, path
    name, _, rest = path[2:].partition("/")
    rest = "/" + rest.lstrip("/")  # as at the root, where what differs in slashes alone is the same
    return (path[2:] if rest.startswith("/@") else name), rest
