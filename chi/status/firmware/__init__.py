"""The firmwares: which one a miner has, what it is asked, and one Status from its replies.

Replies, by command, come in as parsed JSON; requests and a `Status` go out. What is known of a firmware's
fields is in tables; a field of no table is left out, never guessed. Nothing here raises because of what a
miner sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chi.status.firmware.avalon import avalon_chains, avalon_fans, module_power, read_modules
from chi.status.firmware.bitmain import bitmain_chains, bitmain_fans
from chi.status.firmware.braiins import listed_fans, temps_chains
from chi.status.firmware.cgminer import (
    gpu_fans,
    last_shares,
    read_devices,
    read_pools,
    read_rig,
    read_stats,
    share_interval,
)
from chi.status.firmware.whatsminer import whatsminer_chains, whatsminer_fans
from chi.status.model import Chain, Fan, Status
from chi.status.values import (
    COUNT,
    RPM,
    WATTS,
    Clock,
    Entry,
    Replies,
    envelope,
    highest,
    only,
    read,
    section,
    succeeded,
    text,
    unique,
)

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


def recognise(replies: Replies, remembered: str = UNKNOWN) -> str:
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
    known = recognise(replies, remembered)
    wanted = tuple(name for name in COMMANDS.get(known, COMMANDS[UNKNOWN]) if name not in unwanted)
    failed = [name for name in wanted if name in replies and not succeeded(replies[name])]
    wanted += tuple(INSTEAD[name] for name in failed if name in INSTEAD)
    missing = [command for command in wanted if command not in replies]
    # Who refuses to join one request joins no other.
    if known in JOINS and not refused:
        return "+".join(missing) or None
    return next(iter(missing), None)


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


def command_success(replies: Replies, known: str) -> dict[str, bool]:
    """Return which commands of one scrape succeeded, of those that the firmware `known` is asked for."""
    names = COMMANDS.get(known, COMMANDS[UNKNOWN])
    wanted = {*names, *(INSTEAD[name] for name in names if name in INSTEAD)}
    return {command: succeeded(reply) for command, reply in replies.items() if command in wanted}


# --- Normalising ----------------------------------------------------------------------------------


def normalise(replies: Replies, now: float | None = None) -> Status:
    """Return the status that parsed replies of any firmware tell, by command; never an exception.

    A command that failed is absent or None. `now`, in epoch seconds, stands in for the clock of a miner that
    has none (Whatsminer tells no time, Avalon's starts at 0 with each boot).
    """
    known = recognise(replies)
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
            power=read_power(replies, only(replies.get("summary"), "SUMMARY")),
            last_share=highest([*(pool.last_share for pool in pools), *last_shares(entries, clock)]),
            share_interval=share_interval(rig, pools),
            temperature=highest(heats),
        ),
        pools=pools,
        devices=devices,
        chains=chains,
        fans=read_fans(replies, entries),
    )


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


def read_chains(replies: Replies, devices: Sequence[Entry]) -> tuple[Chain, ...]:
    """Return the hash boards, from the one place that the firmware tells them in."""
    stats = read_stats(replies)
    chains = temps_chains(replies, devices) or bitmain_chains(replies, stats) or avalon_chains(replies)
    return tuple(chains or whatsminer_chains(devices))


def read_fans(replies: Replies, devices: Sequence[Entry]) -> tuple[Fan, ...]:
    """Return the fans, from the one place that the firmware tells them in."""
    speeds = listed_fans(replies) or bitmain_fans(read_stats(replies)) or avalon_fans(replies)
    speeds = speeds or whatsminer_fans(replies, devices) or gpu_fans(devices)
    fans = [Fan(name, RPM(value)) for name, value in speeds]
    return tuple(unique((fan for fan in fans if fan.speed is not None), lambda fan: fan.fan))
