"""Miners that speak only text: cpuminer, ccminer and their forks.

Recognised by `version`: NAME. Their replies come in CGMiner's shape: their own fields stand beside CGMiner's
names, which cgminer.py reads. What those have no name for is read here.
"""

from __future__ import annotations

from chi.status.firmware.family import Family, Part, Told
from chi.status.firmware.models import ALGORITHMS
from chi.status.firmware.shares import sum_of
from chi.status.model import Fan
from chi.status.values import COUNT, RPM, Entry, celsius, first, highest, text, whole, within

MILLIWATTS = within(1, 1e9, 1e-3)
MILLIWATTS_LIMIT = within(1000, 1e9, 1e-3)  # below, it is a share of the card's own limit in percent
DUTY = within(1, 100, 0.01)  # 0 where the driver tells nothing
SECONDS = within(1, 1e6, 1e-3)  # PING, in milliseconds


def read_native(told: Told) -> Part:
    """Return what the miner's own fields tell; nothing of a miner that has none."""
    if "NAME" not in told.version and "NAME" not in told.summary:
        return Part()
    cards = told.devices
    algorithm = (text(told.summary.get("ALGO")) or "").lower()
    return Part(
        rig={
            "algorithm": ALGORITHMS.get(algorithm, algorithm) or None,
            "power": sum_of([MILLIWATTS(card.get("POWER")) for card in cards]),
            "power_limit": sum_of([MILLIWATTS_LIMIT(card.get("PLIM")) for card in cards]),
            "hardware_errors": sum_of([COUNT(card.get("HWF")) for card in cards]),
            "best_share": highest(COUNT(pool.get("BEST")) for pool in told.pools) or None,
            "temperature": celsius(told.summary.get("TEMP")),
        },
        fans=[fan(card) for card in cards if DUTY(card.get("FAN")) is not None],
        response_time=first(SECONDS(pool.get("PING")) for pool in told.pools if pool.get("Stratum Active")),
    )


def fan(card: Entry) -> Fan:
    """Return a card's fan."""
    return Fan(f"GPU{whole(card.get('GPU'))}", RPM(card.get("RPM")) or None, DUTY(card.get("FAN")))


FAMILY = Family("cpuminer", ("version", "summary", "pools", "devs"), read_native, marks=(("NAME", ""),))
