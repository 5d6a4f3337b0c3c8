"""Asks one miner once and exits: --check.

Comes in: Settings and a Policy. Goes out: words on standard output and an exit status.
"""

from __future__ import annotations

import collections
import sys
from typing import Any, Protocol

from waitress import wasyncore

from chi.access import Policy
from chi.clock import CLOCK
from chi.errors import ChiError
from chi.miner.asking import TICK, Miner
from chi.miner.questions import Client, Parked, Submit
from chi.miner.wire import encode_request
from chi.monitor import ACCESS, may_write, section, warn_of
from chi.settings import Settings
from chi.status import firmware

# How those write their names that the API writes otherwise.
NAMES = {"cgminer": "CGMiner", "bfgminer": "BFGMiner"}
WIDEST = 60  # characters of what a miner says of itself


class Threads(Protocol):
    """Threads for looking names up, as chi.server.threads has them."""

    @property
    def submit(self) -> Submit:
        """Have a thread call the first argument, then deliver() the second with the result."""

    def deliver(self) -> None:
        """Call what waits for results."""


class Asked(Protocol):
    """A miner that can be asked."""

    def ask(self, command: str) -> Any:
        """Return the miner's reply to the report `command`, parsed."""


class Once:
    """The miner, asked by a caller that waits for each reply."""

    def __init__(self, settings: Settings, threads: Threads) -> None:
        self._timeout = settings.timeout
        self._threads = threads
        self._sockets: dict[int, Any] = {}
        self._miner = Miner(settings, self._sockets, threads.submit, collections.Counter())
        self.name = self._miner.name

    @property
    def speaks_text(self) -> bool:
        """Whether it speaks the text protocol."""
        return self._miner.speaks_text

    @property
    def manner(self) -> str:
        """How it answers, in words."""
        return self._miner.manner

    def ask(self, command: str) -> Any:
        """Return the miner's reply to the report `command`, parsed; ChiError if there is none."""
        client = Client(CLOCK.now(), self._timeout, b"", lambda: None)
        client.made = dict
        while True:
            try:
                return self._miner.ask(client, encode_request({"command": command})).parsed(dict)
            except Parked:
                wasyncore.loop(timeout=TICK, use_poll=True, map=self._sockets, count=1)
                self._threads.deliver()
                self._miner.turn(CLOCK.now())


def say(line: str) -> None:
    """Print a line, with ? for what is not printable: a miner may have sent it for a terminal to obey."""
    printable = "".join(character if character.isprintable() else "?" for character in line)
    encoding = sys.stdout.encoding or "ascii"
    print(printable.encode(encoding, "replace").decode(encoding))


def check(settings: Settings, policy: Policy, threads: Threads) -> int:
    """Print what is there, in words; return the exit status."""
    miner = Once(settings, threads)
    try:
        version = miner.ask("version")
        say(f"Miner:  {miner.name} {miner.manner}: {describe_software(miner, version)}")
    except ChiError as error:
        say(f"Miner:  {error}")
        return 1
    say(f"Pools:  {describe_pools(miner)}")
    try:
        writes = may_write(miner.ask("privileged"))
    except ChiError:
        writes = None
    say(f"Access: {ACCESS[writes]}")
    say(f"chi:    would serve on {settings.serving_on}: {policy.exposure}")
    if settings.allow:
        say(f"        to {policy.audience}")
    if policy.is_open:
        say(f"        {warn_of(writes)}")
    return 0


def describe_software(miner: Asked, version: Any) -> str:
    """What the miner runs and is, in words, by its reply to version."""
    replies: dict[str, Any] = {"version": {"VERSION": section(version, "VERSION")}}
    if any("NAME" in entry for entry in section(version, "VERSION")):  # a text miner's, with a description
        replies = {"version": version}
    if firmware.recognise({"version": version}) == "whatsminer":  # which knows no version
        replies = {"get_version": miner.ask("get_version")}
    rig = firmware.normalise(replies).rig
    software = NAMES.get(rig.software or "", rig.software) or "unknown software"
    told = f"{software} {rig.version or ''}".strip().removesuffix("-unknown")  # of what commit BFGMiner is
    model = f" on {rig.model[:WIDEST]}" if rig.model else ""
    return f"{told[:WIDEST]}{model}, API {(rig.api or 'unknown')[:WIDEST]}"


def describe_pools(miner: Once) -> str:
    """How many pools are alive, in words."""
    try:
        pools = section(miner.ask("pools"), "POOLS")
    except ChiError as error:
        return str(error)
    alive = sum(pool.get("Status") == "Alive" for pool in pools)
    if miner.speaks_text:  # of the pool in use alone it is told whether it is alive
        return f"{len(pools)} told" + (", that in use is alive" if alive else "")
    return f"{alive} of {len(pools)} alive"
