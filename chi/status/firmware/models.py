"""The table of models: algorithm, and the unit of rates whose names do not say it.

Data and its look-up. A model of no row computes what its firmware's family does, in the units of the names.
Sources: the makers' data sheets (algorithm, and the most that any of the kind makes) and recorded replies of
the models that docs/firmware.md lists (units).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from chi.status.firmware.units import PREFIXES, Units

# Hashes that a share of difficulty 1 takes on average. Of other algorithms each pool has its own idea.
SHARE_HASHES = {"sha256d": 2.0**32, "scrypt": 2.0**16}
# Words for algorithms in replies: sgminer's Algorithm, StrongU's Miner type
ALGORITHMS = {"sha256": "sha256d", "sha256d": "sha256d", "btc": "sha256d", "scrypt": "scrypt",
              "ltc": "scrypt", "x11": "x11", "dash": "x11", "darkcoin": "x11", "darkcoin-mod": "x11",
              "sc": "blake2b", "blake2b": "blake2b", "ethash": "ethash", "equihash": "equihash"}  # fmt: skip


class Model(NamedTuple):
    """A kind of machine: what it computes (None where that varies), and what one GHS or MHS may stand for.

    `units` are pairs of the letter and of what it may stand for, in hashes/s. Where there are several, the
    shares tell which, or `most`, the highest rate that any machine of the kind has.
    """

    name: str
    algorithm: str | None
    units: tuple[tuple[str, tuple[float, ...]], ...] = ()
    most: float = float("inf")

    def candidates(self) -> list[Units]:
        """Return the units that its rates may be in, the likeliest first."""
        found: list[dict[str, float]] = [dict(PREFIXES)]
        for letter, factors in self.units:
            found = [{**units, letter: factor} for factor in factors for units in found]
        return [Units(units) for units in found]


ANY = (1e9, 1e6, 1e3, 1.0)
UNKNOWN_MODEL = Model("", None)
MODELS = (
    Model(r"Antminer L3", "scrypt", (("G", (1e6,)),)),
    Model(r"Antminer L(?:7|9|1\d)", "scrypt", (("G", (1e9, 1e6)),), 1e11),
    Model(r"Antminer D3", "x11", (("G", (1e6,)),)),
    Model(r"Antminer D(?:5|7|9)", "x11", (("G", (1e9, 1e6)),), 1e13),
    Model(r"Antminer E3", "ethash", (("G", (1e6,)),)),
    Model(r"Antminer E\d", "ethash", (("G", (1e9, 1e6)),), 1e11),
    Model(r"Antminer Z\d", "equihash", (("G", (1e3,)),)),
    Model(r"Antminer B3", "tensority", (("G", ANY),), 1e4),
    Model(r"Antminer B7", "tensority", (("G", ANY),), 1e6),
    Model(r"Antminer X3", "cryptonight", (("G", ANY),), 2e6),
    Model(r"Antminer X\d", "randomx", (("G", ANY),), 1e7),
    Model(r"Antminer A3", "blake2b", (("G", (1e9, 1e6)),), 1e14),
    Model(r"Antminer HS\d", "handshake", (("G", (1e9, 1e6)),), 1e14),
    Model(r"Antminer KA\d", "blake2s", (("G", (1e9, 1e6)),), 1e16),
    Model(r"Antminer KS\d", "kheavyhash", (("G", (1e9, 1e6)),), 1e15),
    Model(r"Antminer K\d", "eaglesong", (("G", (1e9, 1e6)),), 1e15),
    Model(r"Antminer DR\d", "blake256r14", (("G", (1e9, 1e6)),), 1e15),
    Model(r"Antminer AL\d", "blake3", (("G", (1e9, 1e6)),), 1e15),
    Model(r"(?:Antminer )?[ST]\d|Antminer [RV]\d", "sha256d"),
    Model(r"Hammer D\d|VolcMiner D\d", "scrypt"),
    Model(r"Blackminer", None),  # whatever its FPGAs are loaded with
    Model(r"innominer a4", "scrypt"),
    Model(r"innominer a5", "x11"),
    Model(r"innominer a8", "cryptonight"),
    Model(r"innominer a9", "equihash", (("M", (1.0,)),)),
    Model(r"innominer a1\d", "ethash"),
    Model(r"innominer s11", "blake2b"),
    Model(r"innominer d9", "blake256r14"),
    Model(r"innominer t\d", "sha256d"),
    Model(r"SEALMINER DL|DL\d", "scrypt"),
)
PATTERNS = [(re.compile(model.name, re.IGNORECASE), model) for model in MODELS]
# What others than these mine depends on how they were started.
ONE_OF_TWO = frozenset({"", "cgminer", "bmminer", "bfgminer"})


def find_model(names: Iterable[str | None]) -> Model | None:
    """Return the row of the first name that has one."""
    return next(filter(None, map(row_of, filter(None, names))), None)


@functools.lru_cache(64)  # a name has MAX_TEXT characters at the most, and is the same at each scrape
def row_of(name: str) -> Model | None:
    """Return the row whose pattern a name begins with."""
    return next((model for pattern, model in PATTERNS if pattern.match(name)), None)
