"""Metrics of chi itself: its counters, and its process's figures from /proc.

Comes in: the counters. Goes out: values by the names of chi.status.prometheus.Own, those that nothing was
counted for included: Prometheus' increase() does not see a counter begin with its first event.
"""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import time
from collections.abc import Mapping
from typing import Any

from chi.errors import DENIALS, ERRORS, OF_THE_MINER
from chi.miner.replies import REPAIRS

# What is counted, by the names of prometheus.Own, and the kinds that there may be of it.
COUNTED_BY_KIND = {
    # 431 and 501 are waitress's.
    "http_requests": sorted({"200", "431", "501", *(str(status) for status, _ in ERRORS.values())}),
    "miner_errors": sorted(OF_THE_MINER),
    "denied_requests": sorted({*DENIALS, "source"}),
    "json_repairs": sorted(REPAIRS),
}
COUNTED = ("miner_requests", "coalesced_requests")
STARTED = time.time()


def counted(counters: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Return the counts, those of COUNTED_BY_KIND by kind."""
    counts: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for what, kinds in COUNTED_BY_KIND.items():
        counts[what] = dict.fromkeys(kinds, 0)
    for (what, kind), count in counters.items():
        counts[what][kind] = count
    figures: dict[str, Any] = {what: counts[what] for what in COUNTED_BY_KIND}
    figures.update({what: counts[what].get("", 0) for what in COUNTED})
    return figures


def process_figures() -> dict[str, float]:
    """Return what /proc tells of this process, by the names of Own; less where there is no /proc."""
    figures = {
        "cpu_seconds": time.process_time(),
        "max_descriptors": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "start_time": STARTED,
    }
    with contextlib.suppress(OSError):
        figures["open_descriptors"] = float(len(os.listdir("/proc/self/fd")) - 1)  # less listdir()'s own
        with open("/proc/self/statm", "rb") as statm:
            figures["resident_bytes"] = float(int(statm.read().split()[1]) * resource.getpagesize())
    return figures
