"""MicroBT's Whatsminers (btminer).

Recognised by their Description, which they also put into an error; they take one command a request and know
no version. Boards are in edevs, on newer ones in devs; fans and power in summary. With btminer switched off
they answer `status` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chi.status.firmware.family import Family, Part, Told
from chi.status.model import Chain, Fan, RigError
from chi.status.values import (
    COUNT,
    MEGAHERTZ,
    RPM,
    WATTS,
    YES_NO,
    Entry,
    Replies,
    celsius,
    flag,
    named,
    only,
    read,
    succeeded,
    text,
)

# What makes an entry of devs a board
BOARD_FIELDS = frozenset({"Effective Chips", "Chip Frequency", "Chip Temp Max"})
FANS = (("in", "Fan Speed In"), ("out", "Fan Speed Out"), ("psu", "Power Fanspeed"))


def read_all(told: Told) -> Part:
    """Return what summary, status and the boards tell."""
    summary, entries = told.summary, [entry for entry in told.devices if not BOARD_FIELDS.isdisjoint(entry)]
    status = read_status(told.replies)
    rig: dict[str, Any] = {
        "power": read(summary, WATTS, "Power_RT", "Power"),
        "power_limit": read(summary, WATTS, "Power Limit") or None,
        "hashrate_expected": told.units.rate("G", summary.get("Factory GHS")) or None,
        "environment_temperature": celsius(summary.get("Env Temp")),
        "state": "sleeping" if is_off(told.replies) else None,
        "firmware": read_firmware(told, status),
        "errors": read_errors(summary),
    }
    names = named(entries, ("Slot", "ASC"))
    chains = [board(told, name, entry) for name, entry in zip(names, entries)]
    return Part(rig, chains, read_fans(summary, told.devices))


def read_status(replies: Replies) -> Entry:
    """Return what `status` says; it says it in place of a message."""
    reply = replies.get("status")
    said = reply.get("Msg") if isinstance(reply, dict) else None
    return said if isinstance(said, dict) else {}


def is_off(replies: Replies) -> bool:
    """Whether btminer is switched off; `status` is all that there is then."""
    return any(flag(read_status(replies).get(name), YES_NO) for name in ("btmineroff", "mineroff"))


def board(told: Told, name: str, entry: Entry) -> Chain:
    """Return one board."""
    return Chain(
        chain=name,
        hashrate=told.units.recent(entry),
        hashrate_expected=told.units.rate("G", entry.get("Factory GHS")) or None,
        board_temperature=celsius(entry.get("Temperature")),
        chip_temperature=celsius(entry.get("Chip Temp Max")),
        frequency=MEGAHERTZ(entry.get("Chip Frequency")),
        chips=COUNT(entry.get("Effective Chips")),
        hardware_errors=COUNT(entry.get("Hardware Errors")),
    )


def read_firmware(told: Told, status: Entry) -> str | None:
    """Return the firmware's version, which some tell in quotes of its own."""
    said = (text(told.version.get("fw_ver")), text(told.summary.get("Firmware Version")),
            text(status.get("Firmware Version")))  # fmt: skip
    return (next(filter(None, said), None) or "").strip("'") or None


def read_fans(summary: Entry, devices: Sequence[Entry]) -> list[Fan]:
    """Return the fans; every board of devs tells the same two again."""
    for entry in (summary, next(iter(devices), {})):
        found = [Fan(name, RPM(entry[told])) for name, told in FANS if told in entry]
        if found:
            return found
    return []


def read_errors(summary: Entry) -> tuple[RigError, ...]:
    """Return the errors in summary: "Error Code 0": 2010 and so on."""
    codes = (text(value) for name, value in summary.items() if name.startswith("Error Code ")
             and name != "Error Code Count")  # fmt: skip
    return tuple(RigError(code) for code in dict.fromkeys(codes) if code and code != "0")


# --- What it is asked besides ---------------------------------------------------------------------


def lacks_edevs(replies: Replies) -> bool:
    """Whether it has no edevs: newer ones have devs only."""
    return "edevs" in replies and not succeeded(replies["edevs"])


def does_not_hash(replies: Replies) -> bool:
    """Whether summary is missing, or tells no hashrate: btminer may be switched off."""
    if "summary" not in replies:
        return False
    entry = only(replies["summary"], "SUMMARY")
    rates = [COUNT(entry.get(name)) for name in ("MHS 5s", "HS RT", "MHS 1m", "MHS av")]
    return not succeeded(replies["summary"]) or not any(rates)


FAMILY = Family(
    "whatsminer",
    ("get_version", "summary", "pools", "edevs", "devdetails"),
    read_all,
    marks=(("fw_ver", ""),),
    described=("whatsminer", "btminer"),
    joins=False,
    further={"devs": lacks_edevs, "status": does_not_hash},
    algorithm="sha256d",
)
