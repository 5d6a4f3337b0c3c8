"""Asks many miners once and exits: --scan of networks, and --check of a fleet.

Comes in: Settings, and addresses of private networks or the miners of a fleet. Goes out: lines on standard
output, sorted; a progress bar on standard error, if that is a terminal; an exit status.
Each is asked for its version alone, so many at a time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import ipaddress
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from waitress import wasyncore

from chi.bounds import MAX_SCANNED, SCANNED_AT_ONCE
from chi.clock import CLOCK
from chi.converters import Address, Network, network
from chi.errors import ChiError
from chi.miner.asking import TICK, Miner
from chi.miner.questions import Client, Parked
from chi.miner.wire import encode_request
from chi.oneshot import Threads, describe_software, say
from chi.places import Place
from chi.settings import Settings

PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128")
)
USUAL_PORT = 4028
BAR = 40  # characters

Told = str | ChiError


def networks(text: str) -> tuple[Network, ...]:
    """Convert for argparse networks with commas between them: private ones, with MAX_SCANNED addresses."""
    found = tuple(network(part.strip()) for part in text.split(","))
    for each in found:
        if not any(is_within(each, ours) for ours in PRIVATE):
            raise argparse.ArgumentTypeError(f"{each} is not a private network: nobody else's is scanned")
    count = sum(each.num_addresses for each in found)
    if count > MAX_SCANNED:
        raise argparse.ArgumentTypeError(f"{text!r} has {count} addresses, of {MAX_SCANNED} that are scanned")
    return found


def is_within(inner: Network, outer: Network) -> bool:
    """Whether each address of the one is of the other."""
    return inner.version == outer.version and inner[0] in outer and inner[-1] in outer


class Visit:
    """A miner that is asked once; what describe_software() needs of it, where each ask may be Parked."""

    def __init__(self, place: Place, settings: Settings, sockets: dict[int, Any], threads: Threads) -> None:
        settings = dataclasses.replace(settings, api_host=place.host, api_port=place.port)
        self.place = place
        self.miner = Miner(settings, sockets, threads.submit, collections.Counter())
        self.name = self.miner.name
        self.ready = True
        self._client = Client(CLOCK.now(), settings.timeout, b"", self._resume)
        self._client.made = dict

    def _resume(self) -> None:
        self.ready = True

    def ask(self, command: str) -> Any:
        """Return the miner's reply to the report `command`, parsed; ChiError, or Parked until it is there."""
        return self.miner.ask(self._client, encode_request({"command": command})).parsed(dict)

    def told(self) -> Told | None:
        """What it is, in words, or why that is not known; None until it has answered."""
        self.ready = False
        try:
            return describe_software(self, self.ask("version"))
        except Parked:
            return None
        except ChiError as error:
            return error


def visit(
    places: Iterable[Place], settings: Settings, threads: Threads, ended: Callable[[Place, Told], None]
) -> None:
    """Ask all, SCANNED_AT_ONCE at a time; `ended` is called with what each told."""
    sockets: dict[int, Any] = {}
    waiting = iter(places)
    going: list[Visit] = []
    while True:
        while len(going) < SCANNED_AT_ONCE and (place := next(waiting, None)):
            going.append(Visit(place, settings, sockets, threads))
        if not going:
            return
        for each in going[:]:
            told = each.told() if each.ready else None
            if told is not None:
                going.remove(each)
                each.miner.turn(CLOCK.now())  # which closes its connection
                ended(each.place, told)
        wasyncore.loop(timeout=TICK if going else 0, use_poll=True, map=sockets, count=1)
        threads.deliver()
        for each in going:
            each.miner.turn(CLOCK.now())


class Progress:
    """A bar on standard error, if that is a terminal."""

    def __init__(self, whole: int) -> None:
        self._whole, self._done = whole, 0
        self._shown = sys.stderr.isatty()
        self._last = (-1, -1)  # what is shown

    def step(self, found: int) -> None:
        """Another one has been asked."""
        self._done += 1
        filled = BAR * self._done // self._whole
        if self._shown and (filled, found) != self._last:
            self._last = (filled, found)
            bar = "#" * filled + "-" * (BAR - filled)
            line = f"\r[{bar}] {self._done} of {self._whole}, {found} found"
            print(line, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the bar away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def hosts(found: Iterable[Network]) -> list[Address]:
    """Return the addresses of hosts in networks, each once, in order."""
    every = {address for each in found for address in each.hosts()}
    return sorted(every, key=lambda address: (address.version, int(address)))


def scan(settings: Settings, found: tuple[Network, ...], threads: Threads) -> int:
    """Print a line for --miners of each miner in the networks; return the exit status, 1 if there is none."""
    every = hosts(found)
    progress = Progress(len(every))
    miners: dict[str, str] = {}

    def ended(place: Place, told: Told) -> None:
        if isinstance(told, str):
            miners[place.host] = told
        progress.step(len(miners))

    status = 0
    try:
        visit((Place("", str(address), settings.api_port) for address in every), settings, threads, ended)
    except KeyboardInterrupt:
        status = 130  # as a shell tells it
    progress.end()
    for line in lines(every, miners, settings.api_port):
        say(line)
    return status or int(not miners)


def lines(every: Iterable[Address], miners: dict[str, str], port: int) -> Iterator[str]:
    """Return the lines of a --miners file, in the order of the addresses."""
    for address in every:
        host = str(address)
        if host in miners:
            name = host if address.version == 4 else address.exploded.replace(":", "-")
            where = f"[{host}]" if address.version == 6 else host
            yield f"{name} = {where}{'' if port == USUAL_PORT else f':{port}'}  # {miners[host]}"


def check_all(settings: Settings, places: Iterable[Place], threads: Threads) -> int:
    """Print a line for each miner of a fleet, in their order; return 0 if all answer."""
    places = tuple(places)
    told: dict[Place, Told] = {}
    progress = Progress(len(places))

    def ended(place: Place, words: Told) -> None:
        told[place] = words
        progress.step(sum(isinstance(each, str) for each in told.values()))

    with contextlib.suppress(KeyboardInterrupt):
        visit(places, settings, threads, ended)
    progress.end()
    for place in places:
        say(f"{place.name or 'the miner at the root'}: {told.get(place, 'not asked')}")
    return int(not all(isinstance(told.get(place), str) for place in places))
