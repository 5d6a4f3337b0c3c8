"""What every miner with CGMiner's API tells: summary, version, pools, devices, fans of graphics cards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from chi.status.model import Device, Pool, Rig
from chi.status.values import (
    ALIVE,
    COUNT,
    YES_NO,
    Clock,
    Entry,
    Replies,
    average_hashrate,
    celsius,
    envelope,
    first,
    flag,
    hashes,
    hashrate,
    named,
    only,
    read,
    section,
    text,
    whole,
    within,
)

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
    """Return what summary and version tell."""
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
    return Rig(**values)


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


POOL_COUNTS = {"shares_accepted": "Accepted", "shares_rejected": "Rejected", "shares_stale": "Stale"}
# Bitmain has only the last; 0 is a pool that is not connected.
SHARE_DIFFICULTY = ("Stratum Difficulty", "Work Difficulty", "Last Share Difficulty")
CREDENTIALS = re.compile(r"(?<=://)[^/]*@|\A[^/]*@")


def read_pools(entries: Sequence[Entry], clock: Clock) -> tuple[Pool, ...]:
    """Return the pools, in the miner's order."""
    found = []
    for name, entry in zip(named(entries, ("POOL",)), entries):
        counts: dict[str, Any] = {name: COUNT(entry.get(told)) for name, told in POOL_COUNTS.items()}
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


def gpu_fans(devices: Sequence[Entry]) -> list[tuple[str, Any]]:
    """Return the fans of graphics cards (sgminer, old cgminer); all zeros where the driver tells nothing."""
    return [
        (f"GPU{whole(entry.get('GPU'))}", entry.get("Fan Speed"))
        for entry in devices
        if whole(entry.get("GPU")) and celsius(entry.get("Temperature")) is not None
    ]
