"""LuxOS.

Recognised by `version`: LUXminer, beside Bitmain's fields. Boards are in `temps`, with four sensors that
METADATA names; their chips and clocks in Bitmain's stats, one place higher; power in `power`, what it does
in config and events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chi.status.firmware import bitmain
from chi.status.firmware.braiins import nominal, read_chains, read_fans
from chi.status.firmware.family import Family, Part, Told, state_word
from chi.status.model import Chain, RigError
from chi.status.values import WATTS, YES_NO, Entry, celsius, event_time, flag, highest, number, read, text

CORNERS = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")


def read_all(told: Told) -> Part:
    """Return what LuxOS reports in its own commands."""
    corners = any(corner in entry for entry in told.section("temps", "TEMPS") for corner in CORNERS)
    if not corners and not any(name in told.replies for name in ("power", "config", "events")):
        return Part()
    config, stats = told.only("config", "CONFIG"), bitmain.read_stats(told)
    rig: dict[str, Any] = {
        "power": read(told.only("power", "POWER"), WATTS, "Watts"),
        "power_limit": read(config, WATTS, "PowerLimit") or None,
        "hashrate_expected": nominal(told),
        "state": read_state(told, config),
        "firmware": read_firmware(told),
        "host_name": text(config.get("Hostname")),
        "errors": read_errors(told),
    }
    counts = (number(entry.get("fan_num")) for entry in told.stats)
    fans = read_fans(told, next(filter(None, counts), None))
    return Part(rig, boards(told, stats.chains), fans)


def boards(told: Told, in_stats: Any) -> list[Chain]:
    """Return the boards, with the heat at their corners and what stats tells of them."""
    labels = told.only("temps", "METADATA")
    entries = told.by_name("temps", "TEMPS", "ID", "TEMP")
    places = {chain.chain: chain for chain in in_stats}
    found = []
    for chain in read_chains(told):
        board, water = corner_temperatures(entries.get(chain.chain, {}), labels)
        place = places.get(str(int(chain.chain) + 1), chain)
        found.append(
            chain._replace(
                board_temperature=chain.board_temperature or board,
                water_temperature=water,
                chips=place.chips if chain.chips is None else chain.chips,
                frequency=place.frequency if chain.frequency is None else chain.frequency,
                voltage=place.voltage if chain.voltage is None else chain.voltage,
            )
        )
    return found


def corner_temperatures(entry: Entry, labels: Entry) -> tuple[float | None, float | None]:
    """Return the highest temperatures of board and water at the four sensors, named in METADATA."""
    board: list[float] = []
    water: list[float] = []
    for corner in CORNERS:
        found = celsius(entry.get(corner))
        label = labels.get(corner)
        said = text(label.get("Label")) if isinstance(label, Mapping) else None
        if found is not None:
            (water if "water" in (said or "").lower() else board).append(found)
    return highest(board), highest(water)


def read_firmware(told: Told) -> str | None:
    """Return LuxOS and its version."""
    version = text(told.version.get("LUXminer"))
    return f"LuxOS {version.partition('-')[0]}" if version else None


def read_state(told: Told, config: Entry) -> str | None:
    """Return what it does: curtailed, tuning, ramping, else what config says."""
    codes = {text(event.get("Code")) for event in told.section("events", "EVENTS")}
    asleep = {state_word(config.get(name)) for name in ("CurtailMode", "SystemStatus")} & {"sleeping", "idle"}
    if asleep or codes & {"SLEEP", "IDLE"}:
        return "sleeping" if "SLEEP" in codes or "sleeping" in asleep else "idle"
    if flag(config.get("IsTuning"), YES_NO):
        return "tuning"
    if any(flag(entry.get("IsRamping"), YES_NO) for entry in told.devices):
        return "starting"
    return state_word(config.get("SystemStatus"))


NO_ERRORS = frozenset({"SLEEP", "IDLE", "REBOOT_USER", "SHUTDOWN_USER", "REBOOT_SYSINIT"})


def read_errors(told: Told) -> tuple[RigError, ...]:
    """Return the events that are errors; others only report what a user did."""
    found = {}
    for event in told.section("events", "EVENTS"):
        code = text(event.get("Code"))
        if code and code not in NO_ERRORS and code not in found:
            words = text(event.get("Description")) or text(event.get("Msg"))
            found[code] = RigError(code, words, event_time(event.get("CreatedAt")))
    return tuple(found.values())


FAMILY = Family(
    "luxos",
    ("version", "summary", "pools", "devs", "stats", "temps", "fans", "power", "config", "events"),
    read_all,
    marks=(("LUXminer", ""),),
    algorithm="sha256d",
)
