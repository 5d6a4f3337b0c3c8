"""Firmwares based on ccminer that have Bitmain's fields: Blackminer, Hammer, VolcMiner.

Recognised by their Description. In their summary Accepted and Rejected are both what was rejected: only the
pools count shares. Boards and fans are read as Bitmain's.
"""

from __future__ import annotations

from chi.status.firmware.family import Family

FAMILY = Family(
    "ccminer",
    ("version", "summary", "pools", "devs", "stats"),
    described=("ccminer",),
    counts_in_pools=True,
)
