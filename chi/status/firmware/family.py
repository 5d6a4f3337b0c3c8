"""The definition of a firmware family, and the input and output of its reader.

Each file beside this one describes one: how it is recognised, what it is asked, and where it tells what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from chi.status.firmware.units import Units
from chi.status.model import Chain, Fan
from chi.status.values import Clock, Entry, Replies, named, section, text


class Told(NamedTuple):
    """The replies of one scrape, and what every reader needs of them."""

    replies: Replies
    clock: Clock
    units: Units
    summary: Entry
    version: Entry
    stats: Sequence[Entry]  # of estats, which Avalon is asked for, or of stats
    devices: Sequence[Entry]
    pools: Sequence[Entry]  # without the empty ones
    rate: float | None  # the rig's, to compare with
    counts_in_pools: bool

    def section(self, command: str, name: str) -> list[Entry]:
        """Return the objects of a section of the reply to `command`."""
        return section(self.replies.get(command), name)

    def only(self, command: str, name: str) -> Entry:
        """Return the first object of a section, or an empty one."""
        return next(iter(self.section(command, name)), {})

    def by_name(self, command: str, name: str, *numbers: str) -> dict[str, Entry]:
        """Return a section's objects by the number in one of their fields, else by their place."""
        entries = self.section(command, name)
        return dict(zip(named(entries, numbers), entries))


class Part(NamedTuple):
    """What a reader found; empty where the replies are not of its kind.

    `rig` has attributes of Rig, `response_time` is that of the pools in use.
    """

    rig: Mapping[str, Any] = MappingProxyType({})
    chains: Sequence[Chain] = ()
    fans: Sequence[Fan] = ()
    response_time: float | None = None


def nothing(told: Told) -> Part:
    """Read nothing of a family's own: for those whose replies others read."""
    return Part()


class Family(NamedTuple):
    """A family of firmwares.

    `marks` are pairs of a field of `version` and how its value begins, `described` beginnings of the
    Description of any reply, in small letters. `further` are commands that it is asked as well where the
    replies so far call for it. A family that `joins` takes several commands in one request. With
    `counts_in_pools` its summary is no place to count shares in. `algorithm` is what all of it compute.
    One that is asked `one_at_a_time` hangs up on a second connection while it has one.
    """

    name: str
    commands: tuple[str, ...]
    read: Callable[[Told], Part] = nothing
    marks: tuple[tuple[str, str], ...] = ()
    described: tuple[str, ...] = ()
    joins: bool = True
    further: Mapping[str, Callable[[Replies], bool]] = {}
    counts_in_pools: bool = False
    algorithm: str | None = None
    one_at_a_time: bool = False


# Words for what a miner does, in small letters
STATE_WORDS = {
    "mining": ("mining", "in work", "running", "normal", "working", "hashing"),
    "starting": ("starting", "initializing", "in init", "booting", "restarting", "warming up", "ramping"),
    "tuning": ("tuning", "auto-tuning", "coarse tuning", "fine tuning"),
    "idle": ("idle", "in idle"),
    "sleeping": ("sleeping", "sleep", "asleep", "suspended", "standby", "paused", "curtailed"),
    "stopped": ("stopped", "stopping", "off", "shutting-down", "shutdown"),
    "fault": ("fault", "in fault", "failure", "failed", "error"),
    "dead": ("disconnected", "dead"),
}
STATE_OF_WORD = {word: state for state, words in STATE_WORDS.items() for word in words}


def state_word(value: Any) -> str | None:
    """Return the state that a word says."""
    return STATE_OF_WORD.get((text(value) or "").lower())
