"""What every CGMiner API reports: summary, version, pools, devices, and fans of graphics cards.

The other families tell the same, and more; their readers add to this one's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from chi.status.firmware.family import Family, Part, Told
from chi.status.firmware.shares import COUNTED, agreed
from chi.status.firmware.units import Units
from chi.status.model import Device, Fan, Pool
from chi.status.values import (
    ALIVE,
    COUNT,
    RPM,
    YES_NO,
    Clock,
    Entry,
    Replies,
    celsius,
    envelope,
    first,
    flag,
    named,
    number,
    only,
    read,
    section,
    text,
    whole,
    within,
)

RIG_FIELDS: dict[str, tuple[str, ...]] = {
    "hardware_errors": ("Hardware Errors",),
    "blocks_found": ("Found Blocks",),
    "best_share": ("Best Share",),
    "uptime": ("Elapsed",),
}
POOL_COUNTS = {"shares_accepted": "Accepted", "shares_rejected": "Rejected", "shares_stale": "Stale"}


def read_counts(told: Told, pools: Sequence[Pool]) -> dict[str, float | None]:
    """Return the counts of Rig, and the seconds in which they were counted."""
    summary = told.summary
    values = {name: read(summary, COUNT, *names) for name, names in RIG_FIELDS.items()}
    if values["uptime"] is None:
        values["uptime"] = first(COUNT(entry.get("Elapsed")) for entry in told.stats)
    counted = {name: COUNT(summary.get(POOL_COUNTS[name])) for name in COUNTED}
    return {**values, **agreed(counted, pools, not told.counts_in_pools)}


def read_rates(told: Told, uptime: float | None) -> dict[str, float | None]:
    """Return the rates of Rig, from summary or else from stats, and its hashes in `uptime` seconds."""
    stats = next((entry for entry in told.stats if told.units.recent(entry) is not None), {})
    values = {"hashes": told.units.hashes(told.summary, uptime), **told.units.windows(told.summary)}
    for name, reader in (("hashrate", told.units.recent), ("hashrate_average", told.units.average)):
        found = reader(told.summary)
        values[name] = reader(stats) if found is None else found
    return values


def read_times(told: Told, uptime: float | None) -> dict[str, float | None]:
    """Return the times of Rig."""
    present = told.clock.present
    return {
        "time": present,
        "start_time": present - uptime if present is not None and uptime is not None else None,
        "last_work": told.clock.time(told.summary.get("Last getwork")),
    }


# A field of `version` with a version in it, and whose.
SOFTWARE = (
    ("LUXminer", "LUXminer"),
    ("BOSminer+", "BOSminer+"),
    ("BOSminer", "BOSminer"),
    ("BOSer", "BOSer"),
    ("BDMiner", "BDMiner"),
    ("GCMiner", "GCMiner"),
    ("BMMiner", "BMMiner"),
    ("CGMiner", "cgminer"),
    ("fw_ver", "btminer"),  # Whatsminer's get_version
)
# In Miner, sgminer and BFGMiner have their own name and version, Bitmain the hardware's version.
NAMED_MINER = re.compile(r"(sgminer|bfgminer) +(\S+)")


def read_identity(
    replies: Replies, summary: Entry, entry: Entry, stats: Sequence[Entry]
) -> dict[str, str | None]:
    """Return software, version, api and model."""
    software, version = read_software(replies, entry, summary)
    details = section(replies.get("devdetails"), "DEVDETAILS")
    model = [entry.get("Type"), entry.get("PROD"), *(found.get("Type") for found in stats),
             *(found.get("Model") for found in details), summary.get("Miner Type")]  # fmt: skip
    return {
        "software": software,
        "version": version,
        "api": text(entry.get("API")) or text(entry.get("api_ver")),
        "model": next(filter(None, map(text, model)), None),
    }


def read_version(replies: Replies) -> Entry:
    """Return the object of version, or of Whatsminer's get_version."""
    return only(replies.get("version"), "VERSION") or only(replies.get("get_version"), "VERSION")


def read_software(replies: Replies, entry: Entry, summary: Entry) -> tuple[str | None, str | None]:
    """Return the name of the miner's software and its version."""
    match = NAMED_MINER.fullmatch(text(entry.get("Miner")) or "")
    if match:
        return match[1], match[2]
    for name, software in SOFTWARE:
        if text(entry.get(name)):
            return software, text(entry[name])
    in_order = (replies.get("version"), replies.get("summary"), *replies.values())
    descriptions = (text(envelope(reply).get("Description")) for reply in in_order)
    software, _, version = next(filter(None, descriptions), "").partition(" ")
    # Whatsminer: "whatsminer v1.1" is the API's version; the firmware's is in summary, in quotes of its own.
    told = (text(summary.get("Firmware Version")) or "").strip("'")
    return software or None, told or version or None


# --- Pools ----------------------------------------------------------------------------------------

# Bitmain has only the last; 0 is a pool that is not connected.
SHARE_DIFFICULTY = ("Stratum Difficulty", "Work Difficulty", "Last Share Difficulty")
CREDENTIALS = re.compile(r"(?<=://)[^/]*@|\A[^/]*@")


def configured(entries: Sequence[Entry]) -> list[Entry]:
    """Return the configured pools: an empty slot has no URL and no user, and is not alive."""

    def empty(entry: Entry) -> bool:
        nameless = "URL" in entry and not text(entry["URL"]) and not text(entry.get("User"))
        return nameless and "Status" in entry and not flag(entry["Status"], ALIVE)

    return [entry for entry in entries if not empty(entry)]


def read_pools(entries: Sequence[Entry], clock: Clock) -> tuple[Pool, ...]:
    """Return the pools, in the miner's order."""
    vendors = [is_vendors(entry) for entry in entries]
    return tuple(
        read_pool(name, entry, clock, vendor if any(vendors) else None)
        for name, entry, vendor in zip(named(entries, ("POOL",)), entries, vendors)
    )


def is_vendors(entry: Entry) -> bool:
    """Whether it is a pool at which the firmware's maker earns: Vnish says so in place of URL and user."""
    return "devfee" in ((text(entry.get("URL")) or "").lower(), (text(entry.get("User")) or "").lower()) or (
        number(entry.get("Type")) == 1
    )


def read_pool(name: str, entry: Entry, clock: Clock, vendor: bool | None) -> Pool:
    """Return one pool."""
    counts: dict[str, Any] = {name: COUNT(entry.get(told)) for name, told in POOL_COUNTS.items()}
    url = text(entry.get("URL"))
    return Pool(
        pool=name,
        url=CREDENTIALS.sub("", url) if url else None,
        user=text(entry.get("User")),
        alive=flag(entry.get("Status"), ALIVE),
        active=flag(entry.get("Stratum Active"), YES_NO),
        vendor=vendor,
        priority=COUNT(entry.get("Priority")),
        last_share=read_last_share(entry, clock),
        share_difficulty=read(entry, within(1e-12), *SHARE_DIFFICULTY),
        **counts,
    )


def read_last_share(entry: Entry, clock: Clock) -> float | None:
    """Return when a pool last got a share; LuxOS tells the start of the miner where it never did."""
    value = entry.get("Last Share Time")
    return clock.time(value) or (clock.ago(value) if COUNT(entry.get("Accepted")) else None)


def last_shares(devices: Sequence[Entry], clock: Clock) -> list[float | None]:
    """Return when each device last found a share: some firmwares tell it there alone."""
    return [clock.time(entry.get("Last Share Time")) for entry in devices if COUNT(entry.get("Accepted"))]


# --- Devices --------------------------------------------------------------------------------------

DEVICE_KINDS = ("ASC", "PGA", "GPU", "CPU", "DEV")


def read_devices(entries: Sequence[Entry], units: Units, uptime: float | None) -> tuple[Device, ...]:
    """Return the devices: ASC0, PGA1, GPU0, in the miner's order."""
    numbered = [[kind + whole(entry[kind]) for kind in DEVICE_KINDS if kind in entry] for entry in entries]
    names = [next(iter(found), "") for found in numbered]
    if len({name for name in names if name[-1:].isdigit()}) != len(names):
        names = [f"DEV{place}" for place in range(len(entries))]
    return tuple(
        Device(
            device=name,
            name=text(entry.get("Name")),
            alive=flag(entry.get("Status"), ALIVE),
            enabled=flag(entry.get("Enabled"), YES_NO),
            hashes=units.hashes(entry, COUNT(entry.get("Device Elapsed")) or uptime),
            hashrate=units.recent(entry),
            temperature=read(entry, celsius, "Temperature", "temperature"),
            hardware_errors=COUNT(entry.get("Hardware Errors")),
        )
        for name, entry in zip(names, entries)
    )


# --- Fans -----------------------------------------------------------------------------------------

SUMMARY_FAN = re.compile(r"Fan ?([0-9]{1,2})")


def read_fans(told: Told) -> Part:
    """Return the fans of graphics cards, and those that StrongU's miners tell in summary."""
    matches = filter(None, map(SUMMARY_FAN.fullmatch, told.summary))
    places = [(match[1], told.summary[match[0]]) for match in matches]
    cards = [
        (f"GPU{whole(entry.get('GPU'))}", entry.get("Fan Speed"))
        for entry in told.devices
        # all zeros where the driver tells nothing
        if whole(entry.get("GPU")) and celsius(entry.get("Temperature")) is not None
    ]
    return Part(fans=[Fan(name, RPM(value)) for name, value in places or cards])


FAMILY = Family("cgminer", ("version", "summary", "pools", "devs", "stats"), read_fans)
