"""One status from the replies of any firmware, and what monitors read of it.

Pure data: no sockets, no HTTP, no clock. Its way::

    next_request() --asked by the caller--> members() --> replies by command --> normalise() --> Status
                                                                                                  |
                                                  prometheus(): text format 0.0.4  <--------------+
                                                  to_json(): what /status.json says <-------------+

A `Status` is in base units (hashes, hashes/s, degrees Celsius, Hz, rpm, W, epoch seconds), and what a miner
does not tell is None, never 0. What is known of a firmware's fields is in tables; a field of no table is left
out, never guessed. Nothing here raises because of what a miner sent.
"""

from __future__ import annotations

import bisect
import math
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, NamedTuple, Optional

# --- Status ---------------------------------------------------------------------------------------
#
# Not compared and not printed: methods that nobody calls would only cost time at each start of an appliance,
# and a printed pool would show its user.


@dataclass(frozen=True, eq=False, repr=False)
class Rig:
    """The miner as a whole, counted since its start.

    Times are epoch seconds by the miner's clock, `time` that of its reply; `uptime` seconds, `hashrate` (over
    5 s, or what the miner has nearest) and `hashrate_average` (since the start) hashes/s, `power` W,
    `temperature` that of the hottest sensor but those of the water. `share_interval` is how many seconds a
    share takes on average, by the pool's difficulty and the average hashrate.
    """

    software: str | None = None
    version: str | None = None
    api: str | None = None
    model: str | None = None
    time: float | None = None
    start_time: float | None = None
    uptime: float | None = None
    hashes: float | None = None
    hashrate: float | None = None
    hashrate_average: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None
    difficulty_accepted: float | None = None
    difficulty_rejected: float | None = None
    hardware_errors: float | None = None
    blocks_found: float | None = None
    best_share: float | None = None
    last_share: float | None = None
    share_interval: float | None = None
    last_work: float | None = None
    power: float | None = None
    temperature: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Pool:
    """A configured pool; `user` is usually a wallet or an account, and goes out only if asked for."""

    pool: str
    url: str | None = None
    user: str | None = None
    alive: bool | None = None
    active: bool | None = None
    priority: float | None = None
    last_share: float | None = None
    share_difficulty: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Device:
    """An entry of `devs`: what the software calls a device, which may be a board or a whole machine."""

    device: str
    name: str | None = None
    alive: bool | None = None
    enabled: bool | None = None
    hashes: float | None = None
    hashrate: float | None = None
    temperature: float | None = None
    hardware_errors: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Chain:
    """A hash board; each temperature is that of its hottest sensor of the kind."""

    chain: str
    hashrate: float | None = None
    board_temperature: float | None = None
    chip_temperature: float | None = None
    water_temperature: float | None = None
    frequency: float | None = None
    chips: float | None = None
    hardware_errors: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Fan:
    """A fan, with the firmware's own name or number for it."""

    fan: str
    speed: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Status:
    """All that a miner tells, the same for every firmware."""

    rig: Rig
    pools: tuple[Pool, ...] = ()
    devices: tuple[Device, ...] = ()
    chains: tuple[Chain, ...] = ()
    fans: tuple[Fan, ...] = ()


# --- Values ---------------------------------------------------------------------------------------
#
# A reader takes any JSON value and returns a number in base units, or None where it says nothing.

Entry = Mapping[str, Any]  # an object of a reply's section
Replies = Mapping[str, Any]  # a command's own parsed reply, by command
Reader = Callable[[Any], Optional[float]]

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


def members(request: str, reply: Any) -> dict[str, Any] | None:
    """Return the reply of each command in `request`, by command; None if joining was refused.

    `reply` is the parsed one, or None if there was none. A joined reply has a list of one reply for each
    command; an error in its place says that the firmware does not join.
    """
    commands = request.split("+")
    if len(commands) == 1:
        return {request: reply}
    lists = {command: reply.get(command) for command in commands} if isinstance(reply, Mapping) else {}
    if not any(isinstance(found, list) for found in lists.values()):
        return None
    return {name: found[0] if isinstance(found, list) and found else None for name, found in lists.items()}


# --- Commands -------------------------------------------------------------------------------------
#
# What one scrape asks for. All are reports: they change nothing.

UNKNOWN = "cgminer"
COMMANDS = {
    # BFGMiner, sgminer and whatever else speaks the API too
    "cgminer": ("version", "summary", "pools", "devs", "stats"),
    # bmminer and Bitmain's cgminer; boards and fans are in stats, devs is denied or empty
    "bitmain": ("version", "summary", "pools", "stats"),
    "avalon": ("version", "summary", "pools", "devs", "estats"),
    # BOSminer, BOSer; tunerstatus has the power, devdetails the chips and their frequency
    "bosminer": ("version", "summary", "pools", "devs", "temps", "fans", "devdetails", "tunerstatus"),
    "luxos": ("version", "summary", "pools", "devs", "temps", "fans", "power"),
    # btminer knows no version; devdetails has the model
    "whatsminer": ("get_version", "summary", "pools", "edevs", "devdetails"),
}
JOINS = frozenset(COMMANDS) - {"whatsminer"}
INSTEAD = {"edevs": "devs"}  # newer Whatsminers have only the latter

# A field of `version`, how its value begins, and the firmware. LuxOS has BMMiner's fields as well.
MARKS = (
    ("LUXminer", "", "luxos"),
    ("BOSminer+", "", "bosminer"),
    ("BOSminer", "", "bosminer"),
    ("BOSer", "", "bosminer"),
    ("BMMiner", "", "bitmain"),
    ("Type", "Antminer", "bitmain"),
    ("PROD", "Avalon", "avalon"),
)
# What an error's Description begins with, where version is not known
DESCRIPTIONS = (("whatsminer", "whatsminer"), ("btminer", "whatsminer"))


def firmware(replies: Replies, remembered: str = UNKNOWN) -> str:
    """Return which key of COMMANDS the miner is, by its reply to `version`, else by any other reply's.

    `remembered` is the answer of the scrape before, for where the replies so far do not tell.
    """
    entry = only(replies.get("version"), "VERSION")
    for name, beginning, found in MARKS:
        if name in entry and (text(entry[name]) or "").startswith(beginning):
            return found
    for reply in replies.values():
        said = (text(envelope(reply).get("Description")) or "").lower()
        for beginning, found in DESCRIPTIONS:
            if said.startswith(beginning):
                return found
    # A Whatsminer no longer: it knows get_version, and of what it does not know it says its name.
    gone = "get_version" in replies and not succeeded(replies["get_version"])
    return UNKNOWN if entry or gone else remembered


def next_request(
    replies: Replies,
    refused: Collection[str] = frozenset(),
    remembered: str = UNKNOWN,
    unwanted: Collection[str] = frozenset(),
) -> str | None:
    """Return what to ask next, commands joined by + where the firmware joins; None when all is there.

    `replies` are those of this scrape so far (None for a command that failed), `refused` the joined requests
    that members() found refused, now or before, `remembered` the firmware() of the scrape before, `unwanted`
    the commands to leave out.
    """
    known = firmware(replies, remembered)
    wanted = tuple(name for name in COMMANDS.get(known, COMMANDS[UNKNOWN]) if name not in unwanted)
    failed = [name for name in wanted if name in replies and not succeeded(replies[name])]
    wanted += tuple(INSTEAD[name] for name in failed if name in INSTEAD)
    missing = [command for command in wanted if command not in replies]
    # Who refuses to join one request joins no other.
    if known in JOINS and not refused:
        return "+".join(missing) or None
    return next(iter(missing), None)


def command_success(replies: Replies, known: str) -> dict[str, bool]:
    """Return which commands of one scrape succeeded, of those that the firmware `known` is asked for."""
    names = COMMANDS.get(known, COMMANDS[UNKNOWN])
    wanted = {*names, *(INSTEAD[name] for name in names if name in INSTEAD)}
    return {command: succeeded(reply) for command, reply in replies.items() if command in wanted}


# --- Normalising ----------------------------------------------------------------------------------

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


def normalise(replies: Replies, now: float | None = None) -> Status:
    """Return the status that parsed replies of any firmware tell, by command; never an exception.

    A command that failed is absent or None. `now`, in epoch seconds, stands in for the clock of a miner that
    has none (Whatsminer tells no time, Avalon's starts at 0 with each boot).
    """
    known = firmware(replies)
    when = next(filter(None, (COUNT(envelope(reply).get("When")) for reply in replies.values())), None)
    clock = Clock(when, now)
    entries = section(replies.get("devs"), "DEVS") or section(replies.get("edevs"), "DEVS")
    pools = read_pools(section(replies.get("pools"), "POOLS"), clock)
    devices = read_devices(entries, known)
    chains = read_chains(replies, entries)
    told = (heat for chain in chains for heat in (chain.board_temperature, chain.chip_temperature))
    heats = [*told, *(device.temperature for device in devices)]
    rig = read_rig(replies, clock, known)
    return Status(
        rig=replace(
            rig,
            last_share=highest([*(pool.last_share for pool in pools), *last_shares(entries, clock)]),
            share_interval=share_interval(rig, pools),
            temperature=highest(heats),
        ),
        pools=pools,
        devices=devices,
        chains=chains,
        fans=read_fans(replies, entries),
    )


def named(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Return a distinct name for each entry: the number in one of its fields, else its place in the list.

    A label that two entries share would make Prometheus refuse the whole scrape.
    """
    found = [read(entry, within(0, 1e6), *names) for entry in entries]
    told = [str(int(value)) for value in found if value is not None]
    return told if len(set(told)) == len(entries) else [str(place) for place in range(len(entries))]


# Attributes that a firmware tells wrongly. LuxOS: Total MH does not grow, it is MHS av.
UNTRUSTED = {"luxos": frozenset({"hashes"})}

RIG_FIELDS: dict[str, tuple[str, ...]] = {
    "shares_accepted": ("Accepted",),
    "shares_rejected": ("Rejected",),
    "shares_stale": ("Stale",),
    "difficulty_accepted": ("Difficulty Accepted",),
    "difficulty_rejected": ("Difficulty Rejected",),
    "hardware_errors": ("Hardware Errors",),
    "blocks_found": ("Found Blocks",),
    "best_share": ("Best Share",),
    "uptime": ("Elapsed",),
}


def read_rig(replies: Replies, clock: Clock, known: str) -> Rig:
    """Return what summary, version and the commands about power tell."""
    summary = only(replies.get("summary"), "SUMMARY")
    stats = next((entry for entry in read_stats(replies) if hashrate(entry) is not None), {})
    values: dict[str, Any] = {name: read(summary, COUNT, *names) for name, names in RIG_FIELDS.items()}
    values["hashes"] = None if "hashes" in UNTRUSTED.get(known, ()) else hashes(summary)
    for name, reader in (("hashrate", hashrate), ("hashrate_average", average_hashrate)):
        found = reader(summary)
        values[name] = reader(stats) if found is None else found
    values["last_work"] = clock.time(summary.get("Last getwork"))
    values["time"] = clock.present
    if clock.present is not None and values["uptime"] is not None:
        values["start_time"] = clock.present - values["uptime"]
    values.update(read_identity(replies, summary))
    return Rig(**values, power=read_power(replies, summary))


def read_stats(replies: Replies) -> list[Entry]:
    """Return the objects of estats, which Avalon is asked for, or stats."""
    return section(replies.get("estats"), "STATS") or section(replies.get("stats"), "STATS")


# A field of `version` with a version in it, and whose.
SOFTWARE = (
    ("LUXminer", "LUXminer"),
    ("BOSminer+", "BOSminer+"),
    ("BOSminer", "BOSminer"),
    ("BOSer", "BOSer"),
    ("BMMiner", "BMMiner"),
    ("CGMiner", "cgminer"),
    ("fw_ver", "btminer"),  # Whatsminer's get_version
)
# In Miner, sgminer and BFGMiner have their own name and version, Bitmain the hardware's version.
NAMED_MINER = re.compile(r"(sgminer|bfgminer) +(\S+)")


def read_identity(replies: Replies, summary: Entry) -> dict[str, str | None]:
    """Return software, version, api and model."""
    entry = only(replies.get("version"), "VERSION") or only(replies.get("get_version"), "VERSION")
    software, version = read_software(replies, entry, summary)
    details = section(replies.get("devdetails"), "DEVDETAILS")
    model = [entry.get("Type"), entry.get("PROD"), *(found.get("Type") for found in read_stats(replies)),
             *(found.get("Model") for found in details), summary.get("Miner Type")]  # fmt: skip
    return {
        "software": software,
        "version": version,
        "api": text(entry.get("API")) or text(entry.get("api_ver")),
        "model": next(filter(None, map(text, model)), None),
    }


def read_software(replies: Replies, entry: Entry, summary: Entry) -> tuple[str | None, str | None]:
    """Return the name of the miner's software and its version."""
    match = NAMED_MINER.fullmatch(text(entry.get("Miner")) or "")
    if match:
        return match[1], match[2]
    for name, software in SOFTWARE:
        if text(entry.get(name)):
            return software, text(entry[name])
    descriptions = (text(envelope(reply).get("Description")) for reply in replies.values())
    software, _, version = next(filter(None, descriptions), "").partition(" ")
    # Whatsminer: "whatsminer v1.1" is the API's version; the firmware's is in summary, in quotes of its own.
    told = (text(summary.get("Firmware Version")) or "").strip("'")
    return software or None, told or version or None


def read_power(replies: Replies, summary: Entry) -> float | None:
    """Return W drawn, from where the firmware tells: see POWER."""
    for command, name, names in POWER:
        entry = summary if command == "summary" else only(replies.get(command), name)
        found = read(entry, WATTS, *names)
        if found is not None:
            return found
    told = [watts for _, pairs in read_modules(replies) if (watts := module_power(pairs)) is not None]
    return sum(told) if told else None


POWER = (
    ("power", "POWER", ("Watts",)),  # LuxOS
    ("tunerstatus", "TUNERSTATUS", ("ApproximateMinerPowerConsumption",)),  # BOSminer: its estimate
    ("summary", "SUMMARY", ("Power_RT", "Power")),  # Whatsminer
)

POOL_COUNTS = {"shares_accepted": "Accepted", "shares_rejected": "Rejected", "shares_stale": "Stale"}
# Bitmain has only the last; 0 is a pool that is not connected.
SHARE_DIFFICULTY = ("Stratum Difficulty", "Work Difficulty", "Last Share Difficulty")
CREDENTIALS = re.compile(r"(?<=://)[^/]*@|\A[^/]*@")


def read_pools(entries: Sequence[Entry], clock: Clock) -> tuple[Pool, ...]:
    """Return the pools, in the miner's order."""
    found = []
    for name, entry in zip(named(entries, ("POOL",)), entries):
        counts = {attribute: COUNT(entry.get(told)) for attribute, told in POOL_COUNTS.items()}
        url = text(entry.get("URL"))
        found.append(
            Pool(
                pool=name,
                url=CREDENTIALS.sub("", url) if url else None,
                user=text(entry.get("User")),
                alive=flag(entry.get("Status"), ALIVE),
                active=flag(entry.get("Stratum Active"), YES_NO),
                priority=COUNT(entry.get("Priority")),
                last_share=read_last_share(entry, clock),
                share_difficulty=read(entry, within(1e-12), *SHARE_DIFFICULTY),
                **counts,
            )
        )
    return tuple(found)


def read_last_share(entry: Entry, clock: Clock) -> float | None:
    """Return when a pool last got a share; LuxOS tells the start of the miner where it never did."""
    value = entry.get("Last Share Time")
    return clock.time(value) or (clock.ago(value) if COUNT(entry.get("Accepted")) else None)


def last_shares(devices: Sequence[Entry], clock: Clock) -> list[float | None]:
    """Return when each device last found a share: some firmwares tell it there alone."""
    return [clock.time(entry.get("Last Share Time")) for entry in devices if COUNT(entry.get("Accepted"))]


# Hashes that a share of difficulty 1 takes on average, by algorithm
SHA256D, SCRYPT = 2.0**32, 2.0**16
ENOUGH_SHARES = 20  # to take their own rate, where the difficulty is not told


def share_interval(rig: Rig, pools: Sequence[Pool]) -> float | None:
    """Return how many seconds a share takes on average: hashes for one, over hashes/s.

    The difficulty is that of the pool in use; which algorithm it counts for, the shares so far tell.
    """
    rate, uptime, shares = rig.hashrate_average or rig.hashrate, rig.uptime or 0, rig.shares_accepted or 0
    used = [pool for pool in pools if pool.active] or [pool for pool in pools if pool.alive]
    asked = first(pool.share_difficulty for pool in used)
    if asked is None:
        return uptime / shares if shares >= ENOUGH_SHARES and uptime else None
    if not rate:
        return None
    scrypt = 0 < rate * uptime < (rig.difficulty_accepted or 0) * 2.0**24
    return COUNT(asked * (SCRYPT if scrypt else SHA256D) / rate)


DEVICE_KINDS = ("ASC", "PGA", "GPU", "CPU")


def read_devices(entries: Sequence[Entry], known: str) -> tuple[Device, ...]:
    """Return the devices: ASC0, PGA1, GPU0, in the miner's order."""
    numbered = [[kind + whole(entry[kind]) for kind in DEVICE_KINDS if kind in entry] for entry in entries]
    names = [next(iter(found), "") for found in numbered]
    if len({name for name in names if name[-1:].isdigit()}) != len(names):
        names = [f"DEV{place}" for place in range(len(entries))]
    untrusted = UNTRUSTED.get(known, frozenset())
    return tuple(
        Device(
            device=name,
            name=text(entry.get("Name")),
            alive=flag(entry.get("Status"), ALIVE),
            enabled=flag(entry.get("Enabled"), YES_NO),
            hashes=None if "hashes" in untrusted else hashes(entry),
            hashrate=hashrate(entry),
            temperature=celsius(entry.get("Temperature")),
            hardware_errors=COUNT(entry.get("Hardware Errors")),
        )
        for name, entry in zip(names, entries)
    )


def whole(value: Any) -> str:
    """Return a device's number as text, empty where it is none."""
    found = within(0, 1e6)(value)
    return "" if found is None else str(int(found))


# --- Chains and fans ------------------------------------------------------------------------------


def read_chains(replies: Replies, devices: Sequence[Entry]) -> tuple[Chain, ...]:
    """Return the hash boards, from the one place that the firmware tells them in."""
    stats = read_stats(replies)
    chains = temps_chains(replies, devices) or bitmain_chains(replies, stats) or avalon_chains(replies)
    return tuple(chains or whatsminer_chains(devices))


LUXOS_CORNERS = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")


def temps_chains(replies: Replies, devices: Sequence[Entry]) -> list[Chain]:
    """Return the boards of BOSminer and LuxOS: `temps`, with what devs and devdetails tell of the same ID."""
    entries = section(replies.get("temps"), "TEMPS")
    labels = only(replies.get("temps"), "METADATA")
    details = section(replies.get("devdetails"), "DEVDETAILS")
    rates = dict(zip(named(devices, ("ID", "ASC")), devices))
    chips = dict(zip(named(details, ("ID", "DEVDETAILS")), details))
    chains = []
    for name, entry in zip(named(entries, ("ID", "TEMP")), entries):
        board, water = corner_temperatures(entry, labels)
        told, detail = rates.get(name, {}), chips.get(name, {})
        chains.append(
            Chain(
                chain=name,
                hashrate=hashrate(told),
                board_temperature=celsius(entry.get("Board")) or board,
                chip_temperature=celsius(entry.get("Chip")),
                water_temperature=water,
                frequency=HERTZ(detail.get("Frequency")),
                chips=COUNT(detail.get("Chips")),
                hardware_errors=COUNT(told.get("Hardware Errors")),
            )
        )
    return chains


def corner_temperatures(entry: Entry, labels: Entry) -> tuple[float | None, float | None]:
    """Return the highest temperatures of board and water at LuxOS's four sensors, named in METADATA."""
    board: list[float] = []
    water: list[float] = []
    for corner in LUXOS_CORNERS:
        found = celsius(entry.get(corner))
        label = labels.get(corner)
        said = text(label.get("Label")) if isinstance(label, Mapping) else None
        if found is not None:
            (water if "water" in (said or "").lower() else board).append(found)
    return max(board, default=None), max(water, default=None)


BITMAIN_CHAIN = re.compile(r"chain_(?:acn|rate)([0-9]{1,3})")
BITMAIN_RATES = ("G", "M", "T", "K")  # chain_rate is GH/s, but for some that mine scrypt


def bitmain_chains(replies: Replies, stats: Sequence[Entry]) -> list[Chain]:
    """Return the boards in Bitmain's `stats`; places without chips and hashrate have no board."""
    entry = next((found for found in stats if any(map(BITMAIN_CHAIN.fullmatch, found))), {})
    numbers = sorted({match[1] for match in map(BITMAIN_CHAIN.fullmatch, entry) if match}, key=int)
    there = [n for n in numbers if COUNT(entry.get(f"chain_acn{n}")) or COUNT(entry.get(f"chain_rate{n}"))]
    rig = hashrate(only(replies.get("summary"), "SUMMARY")) or hashrate(entry)
    rate = bitmain_unit([COUNT(entry.get(f"chain_rate{n}")) or 0.0 for n in there], rig)
    return [
        Chain(
            chain=n,
            hashrate=rate(entry.get(f"chain_rate{n}")) if rate else None,
            board_temperature=hottest(entry.get(f"temp_pcb{n}")) or hottest(entry.get(f"temp{n}")),
            chip_temperature=hottest(entry.get(f"temp_chip{n}")) or hottest(entry.get(f"temp2_{n}")),
            frequency=read(entry, MEGAHERTZ, f"freq_avg{n}", f"freq{n}", "frequency"),
            chips=COUNT(entry.get(f"chain_acn{n}")),
            hardware_errors=COUNT(entry.get(f"chain_hw{n}")),
        )
        for n in there
    ]


def bitmain_unit(rates: Sequence[float], rig: float | None) -> Reader | None:
    """Return the reader of chain_rate: GH/s, or the unit in which the boards add up to the rig, if any."""
    total = sum(rates)
    if not rig or not total:
        return RATES["G"]
    for unit in BITMAIN_RATES:
        found = RATES[unit](total)
        if found is not None and rig / 10 < found < rig * 10:
            return RATES[unit]
    return None


def read_modules(replies: Replies) -> list[tuple[str, dict[str, str]]]:
    """Return number and pairs of each Avalon module: `MM ID0`, a text of Key[value] pairs."""
    return [
        (match[1], dict(pair_of(part) for part in value.split("]") if "[" in part))
        for entry in read_stats(replies)
        for key, value in entry.items()
        if isinstance(value, str) and (match := MODULE.fullmatch(key))
    ][:MAX_ITEMS]


MODULE = re.compile(r"MM ID([0-9]{1,4})")


def pair_of(part: str) -> tuple[str, str]:
    """Return key and value of " Key[value"."""
    key, _, value = part.partition("[")
    return key.strip(), value


def module_power(pairs: Mapping[str, str]) -> float | None:
    """Return W at the wall, else the power supply's output, the fifth number of PS."""
    supply = pairs.get("PS", "").split()
    return WATTS(pairs.get("WALLPOWER")) or (WATTS(supply[4]) if len(supply) > 4 else None)


def avalon_chains(replies: Replies) -> list[Chain]:
    """Return the boards of Avalon modules, or the modules where they do not tell of boards (Avalon 9)."""
    modules = read_modules(replies)
    chains = []
    for module, pairs in modules:
        rates, heats = pairs.get("MGHS", "").split(), pairs.get("MTmax", pairs.get("TMax", "")).split()
        boards = max(len(rates), len(heats))
        for place in range(min(boards, MAX_ITEMS)):
            several = str(place) if len(modules) == 1 else f"{module}.{place}"
            chains.append(
                Chain(
                    chain=several if boards > 1 else module,
                    hashrate=RATES["G"](rates[place]) if place < len(rates) else None,
                    chip_temperature=celsius(heats[place]) if place < len(heats) else None,
                )
            )
    return unique(chains, lambda chain: chain.chain)


def unique(things: Iterable[Any], name: Callable[[Any], str]) -> list[Any]:
    """Return the first thing of each name."""
    return list({name(thing): thing for thing in reversed(list(things))}.values())[::-1]


# What makes an entry of devs a board: Whatsminer's fields.
WHATSMINER_FIELDS = frozenset({"Effective Chips", "Chip Frequency", "Chip Temp Max"})


def whatsminer_chains(devices: Sequence[Entry]) -> list[Chain]:
    """Return the boards in Whatsminer's devs or edevs."""
    entries = [entry for entry in devices if not WHATSMINER_FIELDS.isdisjoint(entry)]
    return [
        Chain(
            chain=name,
            hashrate=hashrate(entry),
            board_temperature=celsius(entry.get("Temperature")),
            chip_temperature=celsius(entry.get("Chip Temp Max")),
            frequency=MEGAHERTZ(entry.get("Chip Frequency")),
            chips=COUNT(entry.get("Effective Chips")),
            hardware_errors=COUNT(entry.get("Hardware Errors")),
        )
        for name, entry in zip(named(entries, ("Slot", "ASC")), entries)
    ]


def read_fans(replies: Replies, devices: Sequence[Entry]) -> tuple[Fan, ...]:
    """Return the fans, from the one place that the firmware tells them in."""
    entries = section(replies.get("fans"), "FANS")
    if entries:  # BOSminer, LuxOS
        speeds: list[tuple[str, Any]] = [(name, entry.get("RPM")) for name, entry in
                                         zip(named(entries, ("ID", "FAN")), entries)]  # fmt: skip
    else:
        speeds = bitmain_fans(read_stats(replies)) or avalon_fans(replies)
        speeds = speeds or whatsminer_fans(replies, devices) or gpu_fans(devices)
    fans = [Fan(name, RPM(value)) for name, value in speeds]
    return tuple(unique((fan for fan in fans if fan.speed is not None), lambda fan: fan.fan))


BITMAIN_FAN = re.compile(r"fan([0-9]{1,2})")


def bitmain_fans(stats: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return the fans in Bitmain's `stats`, which may have more places for fans than there are fans.

    Empty places say 0, as does a fan that stands: zeros are told when fewer turn than fan_num says there are.
    """
    entry = next((found for found in stats if "fan_num" in found), {})
    places = [(match[1], entry[match[0]]) for match in map(BITMAIN_FAN.fullmatch, entry) if match]
    places.sort(key=lambda place: int(place[0]))
    turning = [place for place in places if RPM(place[1])]
    return turning if len(turning) >= (COUNT(entry.get("fan_num")) or 0) else places


def avalon_fans(replies: Replies) -> list[tuple[str, Any]]:
    """Return the fans of Avalon modules: Fan1[4275], or Fan[4830] where there is one."""
    modules = read_modules(replies)
    return [
        (match[1] or "1" if len(modules) == 1 else f"{module}.{match[1] or 1}", value)
        for module, pairs in modules
        for key, value in pairs.items()
        if (match := AVALON_FAN.fullmatch(key))
    ]


AVALON_FAN = re.compile(r"Fan([0-9]{0,2})")
WHATSMINER_FANS = (("in", "Fan Speed In"), ("out", "Fan Speed Out"), ("psu", "Power Fanspeed"))


def whatsminer_fans(replies: Replies, devices: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return Whatsminer's fans; every board of its devs tells the same two again."""
    for entry in (only(replies.get("summary"), "SUMMARY"), next(iter(devices), {})):
        found = [(name, entry[told]) for name, told in WHATSMINER_FANS if told in entry]
        if found:
            return found
    return []


def gpu_fans(devices: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return the fans of graphics cards (sgminer, old cgminer); all zeros where the driver tells nothing."""
    return [
        (f"GPU{whole(entry.get('GPU'))}", entry.get("Fan Speed"))
        for entry in devices
        if whole(entry.get("GPU")) and celsius(entry.get("Temperature")) is not None
    ]


# --- History --------------------------------------------------------------------------------------

# What a sample has: attributes of Rig.
SAMPLED = (
    "hashrate",
    "temperature",
    "shares_accepted",
    "shares_rejected",
    "shares_stale",
)
# Commands of COMMANDS that tell none of them, nor which firmware it is
NOT_SAMPLED = frozenset({"pools", "fans", "devdetails", "tunerstatus", "power"})
SAMPLE_INTERVAL = 15.0  # seconds
MAX_SAMPLES = 960  # longer histories have longer intervals: a plot shows no more


class History:
    """Samples of the last `minutes`, one each `interval` seconds; times are those of time.monotonic().

    Columns of doubles: 48 bytes a sample, 52 KB at the most.
    """

    def __init__(self, minutes: int) -> None:
        self.minutes = minutes
        self.interval = max(SAMPLE_INTERVAL, minutes * 60 / MAX_SAMPLES)
        self._times = array("d")
        self._columns = {name: array("d") for name in SAMPLED}

    def add(self, now: float, status: Status | None) -> None:
        """Append a sample, without a status one that says nothing, and drop those that are too old."""
        self._times.append(now)
        for name, column in self._columns.items():
            value = getattr(status.rig, name) if status else None
            column.append(math.nan if value is None else value)
        old = bisect.bisect_left(self._times, now - self.minutes * 60)
        for column in (self._times, *self._columns.values()):
            del column[:old]

    def to_json(self, now: float, epoch: float) -> dict[str, Any]:
        """Return what /history.json says; `epoch` is what `now` is in seconds since 1970.

        A list for each attribute in SAMPLED and for `time`, all of one length; None where it is not known.
        """
        samples: dict[str, list[float | None]] = {"time": [int(epoch - now + then) for then in self._times]}
        for name, column in self._columns.items():
            samples[name] = [None if math.isnan(value) else exact(value) for value in column]
        return {
            "time": int(epoch),
            "minutes": self.minutes,
            "interval": exact(self.interval),
            "samples": samples,
        }


# --- Families -------------------------------------------------------------------------------------
#
# Everything that /metrics exposes, in its order. The name's ending says the type: _total is a counter.


class Family(NamedTuple):
    """A metric family of the miner's: its samples are an attribute of the records of one kind.

    `values` are pairs of attribute and further labels; with `info`, the value is 1 and the attributes in
    `info` are labels.
    """

    name: str
    kind: str
    values: tuple[tuple[str, str], ...]
    help: str
    info: tuple[str, ...] = ()


def gauge(kind: str, name: str, attribute: str, help: str) -> Family:
    """Return a family with one sample for each record of a kind."""
    return Family(f"cgminer_{name}", kind, ((attribute, ""),), help)


def sensors(name: str, help: str, *names: str) -> Family:
    """Return a family of chains with one sample for each sensor."""
    values = tuple((f"{sensor}_temperature", f',sensor="{sensor}"') for sensor in names)
    return Family(f"cgminer_{name}", "chain", values, help)


MINER_FAMILIES = (
    Family("cgminer_info", "rig", (), "Software (version), hardware (Type, PROD or Model).",
           ("software", "version", "api", "model")),
    gauge("rig", "start_time_seconds", "start_time", "When the miner started (STATUS.When less Elapsed)."),
    gauge("rig", "hashes_total", "hashes", "Hashes since the start (Total MH)."),
    gauge("rig", "hashrate_hashes_per_second", "hashrate",
          "Hashrate over 5 s, or what the miner has nearest (MHS 5s, GHS 5s)."),
    gauge("rig", "hashrate_average_hashes_per_second", "hashrate_average",
          "Hashrate since the start (MHS av, GHS av)."),
    gauge("rig", "shares_accepted_total", "shares_accepted", "Shares that pools accepted (Accepted)."),
    gauge("rig", "shares_rejected_total", "shares_rejected", "Shares that pools rejected (Rejected)."),
    gauge("rig", "shares_stale_total", "shares_stale", "Shares dropped as too late (Stale)."),
    gauge("rig", "share_difficulty_accepted_total", "difficulty_accepted",
          "Difficulty of the accepted shares, summed up (Difficulty Accepted)."),
    gauge("rig", "share_difficulty_rejected_total", "difficulty_rejected",
          "Difficulty of the rejected shares, summed up (Difficulty Rejected)."),
    gauge("rig", "hardware_errors_total", "hardware_errors", "Wrong results of chips (Hardware Errors)."),
    gauge("rig", "blocks_found_total", "blocks_found", "Blocks found (Found Blocks)."),
    gauge("rig", "best_share_difficulty", "best_share", "Highest difficulty of a share (Best Share)."),
    gauge("rig", "last_work_timestamp_seconds", "last_work", "When the miner last got work (Last getwork)."),
    gauge("rig", "power_watts", "power", "Power drawn (Power_RT, Power, Watts, "
          "ApproximateMinerPowerConsumption, WALLPOWER or PS)."),
    Family("cgminer_pool_info", "pool", (), "Configured pools (URL).", ("url",)),
    gauge("pool", "pool_alive", "alive", "Whether the pool answers (Status is Alive)."),
    gauge("pool", "pool_active", "active", "Whether the miner is connected to it (Stratum Active)."),
    gauge("pool", "pool_priority", "priority", "Place in the order of use, 0 first (Priority)."),
    gauge("pool", "pool_last_share_timestamp_seconds", "last_share",
          "When it last got a share (Last Share Time)."),
    gauge("pool", "pool_share_difficulty", "share_difficulty", "Difficulty it asks of a share "
          "(Stratum Difficulty, Work Difficulty or Last Share Difficulty)."),
    gauge("pool", "pool_shares_accepted_total", "shares_accepted", "Shares that it accepted (Accepted)."),
    gauge("pool", "pool_shares_rejected_total", "shares_rejected", "Shares that it rejected (Rejected)."),
    gauge("pool", "pool_shares_stale_total", "shares_stale", "Shares dropped as too late (Stale)."),
    Family("cgminer_device_info", "device", (), "Devices as the software has them (Name).", ("name",)),
    gauge("device", "device_alive", "alive", "Whether it works (Status is Alive)."),
    gauge("device", "device_enabled", "enabled", "Whether it is switched on (Enabled)."),
    gauge("device", "device_hashes_total", "hashes", "Hashes since the start (Total MH)."),
    gauge("device", "device_hashrate_hashes_per_second", "hashrate",
          "Hashrate over 5 s, or what the miner has nearest (MHS 5s)."),
    gauge("device", "device_temperature_celsius", "temperature", "Temperature (Temperature)."),
    gauge("device", "device_hardware_errors_total", "hardware_errors", "Wrong results (Hardware Errors)."),
    gauge("chain", "chain_hashrate_hashes_per_second", "hashrate",
          "Hashrate of a hash board (chain_rate, MHS 5s, MGHS)."),
    sensors("chain_temperature_celsius", "Hottest sensor of a board (temp_pcb, temp, Board, Temperature; "
            "temp_chip, temp2_, Chip, Chip Temp Max, MTmax; TopLeft).", "board", "chip", "water"),
    gauge("chain", "chain_frequency_hertz", "frequency",
          "Clock of its chips (freq_avg, freq, frequency, Chip Frequency, Frequency)."),
    gauge("chain", "chain_chips", "chips", "Chips found on it (chain_acn, Effective Chips, Chips)."),
    gauge("chain", "chain_hardware_errors_total", "hardware_errors",
          "Wrong results of its chips (chain_hw, Hardware Errors)."),
    gauge("fan", "fan_speed_rpm", "speed", "Speed of a fan (fan1, Fan1, RPM, Fan Speed In, Fan Speed)."),
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Own:
    """What chi tells of itself and of the scrape; counts are since its start.

    `http_requests` by status code, `miner_errors`, `denied_requests` by reason, `json_repairs` by repair;
    times in seconds; `commands` says which command of the scrape succeeded. None where it is not known.
    """

    version: str
    http_requests: Mapping[str, float] = field(default_factory=dict)
    miner_requests: float = 0
    miner_errors: Mapping[str, float] = field(default_factory=dict)
    denied_requests: Mapping[str, float] = field(default_factory=dict)
    json_repairs: Mapping[str, float] = field(default_factory=dict)
    coalesced_requests: float = 0
    cpu_seconds: float | None = None
    resident_bytes: float | None = None
    open_descriptors: float | None = None
    max_descriptors: float | None = None
    start_time: float | None = None
    scrape_duration: float | None = None
    commands: Mapping[str, bool] = field(default_factory=dict)


# Name, attribute of Own, label of its keys, help
OWN_FAMILIES = (
    ("cgminer_scrape_duration_seconds", "scrape_duration", "", "Time from the scrape's arrival to its end."),
    ("cgminer_command_success", "commands", "command", "Whether the miner answered a command of the scrape."),
    ("chi_build_info", "version", "version", "Version of chi."),
    ("chi_http_requests_total", "http_requests", "code", "HTTP requests that chi answered."),
    ("chi_miner_requests_total", "miner_requests", "", "Requests that chi sent to the miner."),
    ("chi_miner_errors_total", "miner_errors", "reason", "Requests to the miner that failed."),
    ("chi_denied_requests_total", "denied_requests", "reason", "HTTP requests that chi denied."),
    ("chi_json_repairs_total", "json_repairs", "repair", "Repairs of replies that were not valid JSON."),
    ("chi_coalesced_requests_total", "coalesced_requests", "", "Requests that shared another's reply."),
    ("process_cpu_seconds_total", "cpu_seconds", "", "Processor time used, user and system."),
    ("process_resident_memory_bytes", "resident_bytes", "", "Memory in use."),
    ("process_open_fds", "open_descriptors", "", "File descriptors in use."),
    ("process_max_fds", "max_descriptors", "", "File descriptors allowed."),
    ("process_start_time_seconds", "start_time", "", "When chi started."),
)

# --- Outputs --------------------------------------------------------------------------------------

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def prometheus(status: Status | None, own: Own, pool_user: bool = False) -> bytes:
    """Return the text format 0.0.4, of CONTENT_TYPE, in UTF-8.

    Without a status, the miner is down: cgminer_up is 0, and there is no series of the miner's. The users of
    pools are only in it with `pool_user`.
    """
    up = "Whether the miner answered this scrape."
    lines = list(render("cgminer_up", up, [("", float(status is not None))]))
    for name, attribute, label, help in OWN_FAMILIES:
        lines += render(name, help, own_samples(getattr(own, attribute), label))
    if status is not None:
        records = records_of(status)
        for family in MINER_FAMILIES:
            lines += render(family.name, family.help, samples(family, records[family.kind], pool_user))
    return "".join(lines).encode("utf-8", "replace")


def render(name: str, help: str, found: Sequence[tuple[str, float]]) -> Iterator[str]:
    """Return the lines of a family; none where it has no sample. Samples are pairs of labels and value."""
    if found:
        kind = "counter" if name.endswith("_total") else "gauge"
        yield f"# HELP {name} {help}\n# TYPE {name} {kind}\n"
        for labels, value in found:
            yield f"{name}{{{labels}}} {decimal(value)}\n" if labels else f"{name} {decimal(value)}\n"


def decimal(value: float) -> str:
    """Return a number as text, whole ones without a fraction."""
    return repr(exact(value))


def label(name: str, value: str | None) -> str:
    """Return name="value", escaped; an empty value is to Prometheus as if the label were not there."""
    return f'{name}="{(value or "").translate(ESCAPES)}"'


def own_samples(value: Any, name: str) -> list[tuple[str, float]]:
    """Return the samples of an attribute of Own."""
    if isinstance(value, str):
        return [(label(name, value), 1.0)]
    if isinstance(value, Mapping):
        return [(label(name, str(key)), float(count)) for key, count in sorted(value.items())]
    return [] if value is None else [("", float(value))]


def records_of(status: Status) -> dict[str, list[tuple[str, Any]]]:
    """Return the records of each kind, with the label that tells them apart."""
    records: dict[str, list[tuple[str, Any]]] = {"rig": [("", status.rig)]}
    for kind, found in (("pool", status.pools), ("device", status.devices), ("chain", status.chains),
                        ("fan", status.fans)):  # fmt: skip
        records[kind] = [(label(kind, getattr(record, kind)), record) for record in found]
    return records


def samples(family: Family, records: Sequence[tuple[str, Any]], pool_user: bool) -> list[tuple[str, float]]:
    """Return labels and value of each sample of a family of the miner's."""
    if family.info:
        names = (*family.info, "user") if pool_user and family.kind == "pool" else family.info
        return [
            (",".join(filter(None, (own, *(label(name, getattr(record, name)) for name in names)))), 1.0)
            for own, record in records
        ]
    return [
        (own + further, float(value))
        for own, record in records
        for attribute, further in family.values
        if (value := getattr(record, attribute)) is not None
    ]


def to_json(status: Status, pool_user: bool = False) -> dict[str, Any]:
    """Return what /status.json says: rig, pools, devices, chains, fans, as the classes above have them.

    Units are those of the classes; what the miner does not tell is None. The users of pools are only in it
    with `pool_user`.
    """
    told: dict[str, Any] = {"rig": plain(status.rig)}
    for kind in ("pools", "devices", "chains", "fans"):
        told[kind] = [plain(record) for record in getattr(status, kind)]
    if not pool_user:
        for pool in told["pools"]:
            del pool["user"]
    return told


def plain(record: Any) -> dict[str, Any]:
    """Return the attributes of a record, whole numbers as integers."""
    values = {attribute.name: getattr(record, attribute.name) for attribute in fields(record)}
    return {name: exact(value) if isinstance(value, float) else value for name, value in values.items()}
