"""Readers: from any JSON value to a number in base units, a text or a flag; from a reply to its objects.

A reader takes whatever stands in a reply and returns what it says, or None where it says nothing. Nothing
here raises because of what a miner sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# --- Values ---------------------------------------------------------------------------------------

Entry = Mapping[str, Any]  # an object of a reply's section
Replies = Mapping[str, Any]  # a command's own parsed reply, by command
Reader = Callable[[Any], float | None]

NUMBER = re.compile(r"\s*[-+]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,3})?\s*")
# About 2**64, an unsigned -1: what counters say when nothing was counted (Best Share on Antminers).
NOTHING = 1.8e19
MAX_TEXT = 200  # characters of a label
MAX_ITEMS = 1000  # of a kind; a farm of USB sticks has hundreds


def number(value: Any) -> float | None:
    """Return a finite number, given as one or as text with spaces around it; None for anything else."""
    if isinstance(value, str):
        value = float(value) if len(value) < 100 and NUMBER.fullmatch(value) else None
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Comparing before float(), which refuses large integers; nan is neither above nor below.
    return float(value) if -NOTHING < value < NOTHING else None


def within(low: float, high: float = math.inf, factor: float = 1.0) -> Reader:
    """Return a reader of numbers from `low` to `high`, times `factor`."""

    def read(value: Any) -> float | None:
        found = number(value)
        if found is None or not low <= found <= high:
            return None
        # 15 digits are what a float has for sure: 33569.3 GH/s are 33569300000000 and no fraction.
        return found if factor == 1 else float(f"{found * factor:.15g}")

    return read


COUNT = within(0)
RATES = {"M": within(0, factor=1e6), "G": within(0, factor=1e9), "T": within(0, factor=1e12),
         "P": within(0, factor=1e15), "K": within(0, factor=1e3)}  # fmt: skip
MEGAHERTZ = within(1, 1e5, 1e6)
HERTZ = within(1e6, 1e11)
RPM = within(0, 100_000)
WATTS = within(0, 1e6)
KELVIN_LIKE = within(-55, 250)  # what sensors can measure; Avalon says -273 for none


def celsius(value: Any) -> float | None:
    """Read a temperature. 0 is what most firmwares put where there is no sensor, or no reading yet."""
    return KELVIN_LIKE(value) or None


def hottest(value: Any) -> float | None:
    """Read a temperature, or the highest of Bitmain's "45-47-60-62"."""
    if not isinstance(value, str):
        return celsius(value)
    found = [celsius(part) for part in value[:MAX_TEXT].split("-")]
    return highest(found)


def text(value: Any) -> str | None:
    """Return a label's text: printable, one line, of bounded length; None where there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = number(value)
        return None if found is None else f"{found:g}"
    if not isinstance(value, str):
        return None
    # Lone surrogates are in no UTF-8 text, but JSON can escape them.
    clean = value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else " " for char in clean).strip() or None


def flag(value: Any, words: Mapping[str, bool]) -> bool | None:
    """Return what a word of `words` says, in any case; booleans and 0 and 1 say what they are."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value == 1 if value in (0, 1) else None
    return words.get(value.strip().lower()) if isinstance(value, str) else None


YES_NO = dict.fromkeys(("y", "yes", "true", "1"), True) | dict.fromkeys(("n", "no", "false", "0"), False)
# Of a pool that is disabled, nobody knows; a device's own field says whether it is.
ALIVE = {"alive": True} | dict.fromkeys(("dead", "rejecting", "sick", "nostart"), False)
EXACT = 2**53  # up to here, a float holds every integer


def exact(value: float) -> float:
    """Return a whole number as an integer, anything else as it is."""
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def read(entry: Entry, reader: Reader, *names: str) -> float | None:
    """Return the first of the fields that says something."""
    return first(reader(entry.get(name)) for name in names)


def first(values: Iterable[float | None]) -> float | None:
    """Return the first that is there."""
    return next((value for value in values if value is not None), None)


def highest(values: Iterable[float | None]) -> float | None:
    """Return the highest of those that are there."""
    return max((value for value in values if value is not None), default=None)


RECENT_RATE = re.compile(r"([KMGTP])HS ([0-9]{1,4})s")


def hashrate(entry: Entry) -> float | None:
    """Return hashes/s over 5 s, else over the shortest time told.

    The C miners name the field after their --log-interval: `MHS 5s`, `MHS 1s`, `MHS 20s`.
    """
    matches = filter(None, map(RECENT_RATE.fullmatch, entry))
    found = {(int(match[2]), match[1]): RATES[match[1]](entry[match[0]]) for match in matches}
    # MHS before KHS: sgminer tells both, and rounds the latter.
    order = sorted(found, key=lambda key: (key[0] != 5, key[0], list(RATES).index(key[1])))
    return first(found[key] for key in order)


def average_hashrate(entry: Entry) -> float | None:
    """Return hashes/s since the start: `MHS av` and its like."""
    return first(RATES[unit](entry.get(f"{unit}HS av")) for unit in RATES)


def hashes(entry: Entry) -> float | None:
    """Return hashes since the start: `Total MH` and its like."""
    return first(RATES[unit](entry.get(f"Total {unit}H")) for unit in RATES)


def whole(value: Any) -> str:
    """Return a device's number as text, empty where it is none."""
    found = within(0, 1e6)(value)
    return "" if found is None else str(int(found))


def unique(things: Iterable[Any], name: Callable[[Any], str]) -> list[Any]:
    """Return the first thing of each name."""
    return list({name(thing): thing for thing in reversed(list(things))}.values())[::-1]


# --- Replies --------------------------------------------------------------------------------------

# An error that is none: a miner without devices answers `devs` so.
NO_DEVICES = 10
# Sections that Whatsminer's second API has in place of a text: "Msg":{"MHS av":…}
IN_MESSAGE = frozenset({"SUMMARY", "VERSION"})


def section(reply: Any, name: str) -> list[Entry]:
    """Return the objects of a reply's section, at most MAX_ITEMS; empty where there are none."""
    if not isinstance(reply, Mapping):
        return []
    found, message = reply.get(name), reply.get("Msg")
    if found is None and isinstance(message, Mapping):
        found = message.get(name, message if name in IN_MESSAGE else None)
    entries = found if isinstance(found, list) else [found]
    return [entry for entry in entries if isinstance(entry, Mapping)][:MAX_ITEMS]


def only(reply: Any, name: str) -> Entry:
    """Return the first object of a section, or an empty one."""
    return next(iter(section(reply, name)), {})


def envelope(reply: Any) -> Entry:
    """Return what STATUS says (STATUS, When, Code, Msg, Description), in any of the shapes it has.

    An array of one object in the C miners; an object, or its members beside a string, in Whatsminer.
    """
    if not isinstance(reply, Mapping):
        return {}
    return next(iter(section(reply, "STATUS")), reply)


def succeeded(reply: Any) -> bool:
    """Whether a command's own reply is the one asked for, and no error."""
    said = envelope(reply)
    return bool(said) and (said.get("STATUS") not in ("E", "F") or said.get("Code") == NO_DEVICES)


def named(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Return a distinct name for each entry: the number in one of its fields, else its place in the list.

    A label that two entries share would make Prometheus refuse the whole scrape.
    """
    found = [read(entry, within(0, 1e6), *names) for entry in entries]
    told = [str(int(value)) for value in found if value is not None]
    return told if len(set(told)) == len(entries) else [str(place) for place in range(len(entries))]


# --- Time -----------------------------------------------------------------------------------------

BEGINNING = 1_231_006_505  # the first Bitcoin block: a clock that says an earlier time was never set


class Clock(NamedTuple):
    """The miner's clock (STATUS.When) and the caller's, in epoch seconds; None where not known."""

    when: float | None
    now: float | None

    @property
    def present(self) -> float | None:
        """The time of the reply: by the miner's clock, if it was ever set, else by the caller's."""
        return self.when if self.when is not None and self.when >= BEGINNING else self.now

    def time(self, value: Any) -> float | None:
        """Read a time: epoch seconds, or seconds since boot where the clock was never set (Avalon)."""
        found = COUNT(value)
        if not found or found >= BEGINNING:
            return found or None
        if self.when is None or self.now is None or not found <= self.when < BEGINNING:
            return None
        return self.now - (self.when - found)

    def ago(self, value: Any) -> float | None:
        """Read the time of an event so long ago, "0:00:05": Last Share Time of Bitmain and LuxOS."""
        match = AGO.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or self.present is None:
            return None
        hours, minutes, seconds = map(int, match.groups())
        return self.present - (hours * 3600 + minutes * 60 + seconds)


AGO = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2})")
