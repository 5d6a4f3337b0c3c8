"""Converts any JSON value to a number in base units, a text or a flag, and finds a reply's objects.

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
# The same in millions: a counter of megahashes that fell below 0.
BELOW_NOTHING = 2**64 / 1e6
MAX_TEXT = 200  # characters of a label
MAX_ITEMS = 1000  # of a kind; a farm of USB sticks has hundreds


def number(value: Any) -> float | None:
    """Return a finite number, given as one or as text with spaces around it; None for anything else."""
    if type(value) is not float:  # as nearly all are
        if isinstance(value, str):
            value = float(value) if len(value) < 100 and NUMBER.fullmatch(value) else None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
    # Comparing before float(), which refuses large integers; nan is neither above nor below.
    if not -NOTHING < value < NOTHING:
        return None
    return None if abs(value - BELOW_NOTHING) < BELOW_NOTHING * 1e-5 else float(value)


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
MEGAHERTZ = within(1, 1e5, 1e6)
HERTZ = within(1e6, 1e11)
RPM = within(0, 100_000)
WATTS = within(0, 1e6)
PERCENT = within(0, 100, 0.01)
KELVIN_LIKE = within(-55, 250)  # what sensors can measure; Avalon says -273 for none

QUANTITY = re.compile(r"\s*([-+]?[0-9]{1,40}(?:\.[0-9]{0,40})?)\s*[A-Za-z%(][A-Za-z%()/ ]{0,20}")


def bare_number(value: Any) -> Any:
    """Return a text without the unit after its number: "1600M", "3250 W", "1089.00 (AB)"."""
    match = QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) < 100 else None
    return match[1] if match else value


def volts(value: Any) -> float | None:
    """Read what a board gets, told in V, 10 mV or mV: of these, the one that a board can bear."""
    found = number(bare_number(value))
    return first(BOARD_VOLTS(found / unit) for unit in (1, 100, 1000)) if found else None


BOARD_VOLTS = within(5, 30)


def celsius(value: Any) -> float | None:
    """Read a temperature. Most firmwares report 0 without a sensor or before its first reading."""
    return KELVIN_LIKE(value) or None


def hottest(value: Any) -> float | None:
    """Read a temperature, or the highest of Bitmain's "45-47-60-62" and of a text like "[65.21, 64.10]"."""
    if not isinstance(value, str):
        return celsius(value)
    several = value[:MAX_TEXT]
    found = several.strip("[] ").split(",") if "," in several else SENSOR.findall(several)
    return highest(celsius(part) for part in found)


# In "2--1-20-22" a dash divides, and one after that is a sign.
SENSOR = re.compile(r"(?:\A|-)\s*(-?[0-9]{1,4}(?:\.[0-9]{0,6})?)(?=\s*(?:-|\Z))")


def text(value: Any) -> str | None:
    """Return a label's text: printable, one line, of bounded length; None where there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = number(value)
        return None if found is None else f"{found:g}"
    if not isinstance(value, str):
        return None
    if value.isprintable():
        return value[:MAX_TEXT].strip() or None
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
    for name in names:
        found = reader(entry[name]) if name in entry else None
        if found is not None:
            return found
    return None


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of the values that are present; None if there are none, or only zeros."""
    return sum(value for value in values if value is not None) or None


def one_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a temperature that it tells several times, the highest.

    For json's object_pairs_hook: Hammer's miners have four sensors of a board under one name.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        heats = [(celsius(value), name) for name, value in pairs if name.startswith("temp")]
        found.update((name, heat) for heat, name in sorted((heat or 0.0, name) for heat, name in heats))
    return found


def first(values: Iterable[float | None]) -> float | None:
    """Return the first that is there."""
    for value in values:
        if value is not None:
            return value
    return None


def highest(values: Iterable[float | None]) -> float | None:
    """Return the highest of those that are there."""
    return max((value for value in values if value is not None), default=None)


def whole(value: Any) -> str:
    """Return a device's number as text, empty if it is not a number."""
    found = within(0, 1e6)(value)
    return "" if found is None else str(int(found))


def unique(things: Iterable[Any], name: Callable[[Any], str]) -> list[Any]:
    """Return the first thing of each name."""
    return list({name(thing): thing for thing in reversed(list(things))}.values())[::-1]


# --- Replies --------------------------------------------------------------------------------------

# Not a failure: a miner without devices answers `devs` with this error.
NO_DEVICES = 10
# Sections that Whatsminer's second API has in place of a text: "Msg":{"MHS av":…}
IN_MESSAGE = frozenset({"SUMMARY", "VERSION"})


def section(reply: Any, name: str) -> list[Entry]:
    """Return the objects of a reply's section, at most MAX_ITEMS; empty where there are none."""
    if not isinstance(reply, dict):
        return []
    found, message = reply.get(name), reply.get("Msg")
    if found is None and isinstance(message, dict):
        found = message.get(name, message if name in IN_MESSAGE else None)
    if found is None:
        return numbered(reply, name)
    entries = found if isinstance(found, list) else [found]
    objects: list[Entry] = [entry for entry in entries if isinstance(entry, dict)]
    return objects[:MAX_ITEMS]


# Sections that old firmware of Innosilicon's tells one by one: "POOL0":[…],"POOL1":[…]
NUMBERED = {"POOLS": "POOL", "STATS": "STATS", "DEVS": "ASC"}


def numbered(reply: Mapping[str, Any], name: str) -> list[Entry]:
    """Return the objects of sections that are numbered, in their order."""
    beginning = NUMBERED.get(name)
    if beginning is None:
        return []
    places = [key for key in reply if key.startswith(beginning) and key[len(beginning) :].isdecimal()]
    places.sort(key=lambda key: int(key[len(beginning) :][:9]))
    found = (reply[key][:1] if isinstance(reply[key], list) else [reply[key]] for key in places[:MAX_ITEMS])
    return [entry for entries in found for entry in entries if isinstance(entry, dict)]


def only(reply: Any, name: str) -> Entry:
    """Return the first object of a section, or an empty one."""
    return next(iter(section(reply, name)), {})


def envelope(reply: Any) -> Entry:
    """Return what STATUS says (STATUS, When, Code, Msg, Description), in any of the shapes it has.

    An array of one object in the C miners; an object, or its members beside a string, in Whatsminer.
    """
    if not isinstance(reply, dict):
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
        """Read the time of an event from its age, "0:00:05": Last Share Time of Bitmain and LuxOS."""
        match = AGO.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or self.present is None:
            return None
        hours, minutes, seconds = map(int, match.groups())
        return self.present - (hours * 3600 + minutes * 60 + seconds)


ISO_8601 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?Z?"
)
DAYS_TO_1970 = 719_468  # from 1 March of the year 0


def event_time(value: Any) -> float | None:
    """Read when something happened: epoch seconds, or what ISO 8601 has for UTC."""
    match = ISO_8601.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return COUNT(value)
    year, month, day, hours, minutes, seconds = map(int, match.groups())
    years, months = (year - 1, month + 9) if month < 3 else (year, month - 3)  # years begin with March
    days = 365 * years + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day - 1
    return float((days - DAYS_TO_1970) * 86_400 + hours * 3600 + minutes * 60 + seconds)


AGO = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2})")
