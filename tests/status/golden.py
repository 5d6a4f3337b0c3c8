"""The golden replies of each firmware, and what the tests of a status have in common."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from chi.miner.replies import parse_json, read_reply
from chi.status.firmware import normalise
from chi.status.history import SAMPLED, History
from chi.status.model import Status
from chi.status.prometheus import Own
from chi.status.values import one_object

GOLDEN = Path(__file__).parent.parent / "data" / "metrics"
FIRMWARES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
RECORDED = GOLDEN.parent / "vendors"
VENDORS = sorted(path.name for path in RECORDED.iterdir() if path.is_dir())
NOW = 1_800_000_000.0  # the caller's clock in the golden files

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')


def replies_of(firmware: str) -> dict[str, Any]:
    """The golden replies of a firmware, parsed, by command."""
    files = sorted((GOLDEN / firmware).glob("*.reply"))
    return {path.stem: json.loads(path.read_bytes().rstrip(b"\0")) for path in files}


def vendor_replies(model: str) -> dict[str, Any]:
    """The recorded replies of a model, repaired where they are not JSON, parsed as a scrape parses them."""
    files = sorted((RECORDED / model).glob("*.json"))
    return {path.stem: parse_json(read_reply(path.read_bytes()).body, made=one_object) for path in files}


def own(**values: Any) -> Own:
    """What chi tells of itself, every family of it."""
    given: dict[str, Any] = {
        "version": "0.0.0", "http_requests": {"200": 7, "502": 1}, "miner_requests": 5,
        "miner_errors": {"timeout": 1}, "denied_requests": {"host": 2}, "json_repairs": {"stray-comma": 3},
        "coalesced_requests": 4, "cpu_seconds": 1.5, "resident_bytes": 2e7, "open_descriptors": 9,
        "max_descriptors": 1024, "start_time": 1.7e9, "scrape_duration": 0.004,
    }  # fmt: skip
    return Own(**{**given, **values})


def parse(exposition: bytes) -> dict[tuple[str, str], float]:
    """Name and labels to value; AssertionError where the text is not the format, or a series comes twice."""
    found: dict[tuple[str, str], float] = {}
    described: set[str] = set()
    for line in exposition.decode("utf-8").split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in described
            described.add(name)
        elif not line.startswith("# TYPE "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in described
            assert (match[1], match[2] or "") not in found
            found[match[1], match[2] or ""] = float(match[3])
            assert math.isfinite(float(match[3]))
    return found


def status(model: str) -> Status:
    """The status that golden replies tell, of a firmware or of a vendor's model."""
    return normalise(vendor_replies(model) if model in VENDORS else replies_of(model), NOW)


def one(**replies: Any) -> Status:
    """The status that single objects of sections tell: summary={...}, pools=[...]."""
    sections = {"summary": "SUMMARY", "pools": "POOLS", "devs": "DEVS", "stats": "STATS", "estats": "STATS",
                "edevs": "DEVS", "version": "VERSION", "temps": "TEMPS", "fans": "FANS"}  # fmt: skip
    envelope = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000}]}
    return normalise({name: {**envelope, sections[name]: found} for name, found in replies.items()})


def columns(history: History, now: float = 0.0, epoch: float = 0.0) -> dict[str, Any]:
    """What the history has, as the JSON says it."""
    samples: dict[str, Any] = json.loads(json.dumps(history.to_json(now, epoch), allow_nan=False))["samples"]
    assert list(samples) == ["time", *SAMPLED]
    assert len({len(values) for values in samples.values()}) == 1
    return samples
