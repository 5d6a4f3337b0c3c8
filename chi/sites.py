"""The miners that this chi serves: today one; each is a Site, its Miner and its Monitor.

Comes in: turns of the event loop, and clients whose request has been judged before. Goes out: what is due to
the miners, and for systemd a line that sums up how they are.
"""

from __future__ import annotations

import collections
from typing import Any, NamedTuple, Protocol

from chi.access import Policy
from chi.clock import CLOCK, Clock
from chi.guard import guarded
from chi.miner.asking import Client, Counters, Miner, Submit
from chi.monitor import Monitor
from chi.settings import Settings


class Notifier(Protocol):
    """Whom news of the miners are for: systemd, if it listens."""

    @property
    def listens(self) -> bool:
        """Whether there is anybody to notify."""

    def send(self, message: str) -> None:
        """Send lines of NAME=value."""


class Site(NamedTuple):
    """One miner, and what is known of it over time."""

    miner: Miner
    monitor: Monitor


class Sites:
    """The miners of one chi, as the event loop sees them."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        sockets: dict[int, Any],
        submit: Submit,
        notifier: Notifier,
        clock: Clock = CLOCK,
    ) -> None:
        self.clock = clock
        self.counters: Counters = collections.Counter()
        self._notifier = notifier
        self._state = ""  # what systemd was told last
        miner = Miner(settings, sockets, submit, self.counters, clock)
        monitor = Monitor(
            settings, miner, warns=policy.is_open, looks=notifier.listens, tell=self._tell, clock=clock
        )
        self.site = Site(miner, monitor)

    def ask_again(self, client: Client) -> bool:
        """Ask for a client whose request has been judged before; whether it waits now."""
        return self.site.miner.ask_again(client)

    def turn(self, now: float) -> float:
        """Do what is due; return for how many seconds nothing is."""
        guarded("asking the miner for what is due", self.site.monitor.turn, now)
        return self.site.miner.turn(now)

    def give_up(self) -> None:
        """Answer everybody who waits with `stopping`."""
        self.site.miner.give_up()

    def _tell(self) -> None:
        state = f"miner {self.site.miner.name} {self.site.monitor.condition}"
        if state != self._state:
            self._state = state
            self._notifier.send(f"STATUS={state}")
