"""The table of problems that a miner can have: limits, windows, delays and messages.

Only data, and the two shapes that tell a problem. Who finds the values is chi.status.findings; who decides
when a problem begins and ends is chi.status.verdict. docs/verdict.md and the alerts are held to this table.
"""

from __future__ import annotations

from typing import NamedTuple

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 365.25 * 86400.0  # seconds


class Problem(NamedTuple):
    """Something that is wrong now: `code` is stable, `level` "bad" or "warn", `sentence` one line of English.

    `about` is "" for the whole miner, else such as "pool 0", "board 1", "fan in", "device ASC0". `value` and
    `limit` are in base units (a part of a whole is 0 to 1), `since` by the clock that judge() is given.
    """

    code: str
    level: str
    sentence: str
    about: str = ""
    value: float | None = None
    limit: float | None = None
    since: float | None = None


# When a row is judged: always, while the miner hashes, or once it has hashed for as long as boards need
ALWAYS, HASHING, SETTLED = "always", "while hashing", "once settled"


class Kind(NamedTuple):
    """A row of the table; times are in seconds.

    Beyond `limit` it is wrong, and on the other side of `clear` it is well again: a `clear` above the limit
    means that small values are wrong. `window`: over what time the value is measured, 0 for the newest one.
    It is told once it has lasted for `after`, and no longer once it has been well for `stay`. `ends`: the
    miner does not earn meanwhile. `judged`: when; at other times it is as it was.
    """

    level: str
    sentence: str
    limit: float | None = None
    clear: float | None = None
    window: float = 0.0
    after: float = 0.0
    stay: float = 0.0
    ends: bool = False
    judged: str = ALWAYS


# In the order in which they are told. What follows a / tells rows of one code apart.
PROBLEMS = {
    "no-data": Kind("bad", "The miner does not answer.", after=60),
    "stopped": Kind("bad", "Mining is stopped.", after=60, ends=True),
    "not-hashing": Kind("bad", "The miner does not hash.", after=120, stay=60, ends=True),
    "no-pool": Kind("bad", "No pool answers the miner.", after=180, stay=60, ends=True),
    # The limit is what chance allows, see chi.status.shares; it is never less than this.
    "no-share": Kind(
        "bad", "The miner hashes, but no share was accepted for {lasted}; one is due every {due}.",
        limit=300, after=0, stay=120, ends=True, judged=HASHING,
    ),
    "rejects/most": Kind(
        "bad", "{value:.0%} of the newest shares were rejected.",
        0.5, 0.3, window=15 * MINUTE, stay=300, ends=True, judged=HASHING,
    ),
    "stales/most": Kind(
        "bad", "{value:.0%} of the newest shares were stale.",
        0.5, 0.3, window=15 * MINUTE, stay=300, ends=True, judged=HASHING,
    ),
    "sleeping": Kind("warn", "The miner sleeps.", ends=True),
    "starting": Kind("warn", "The miner is starting.", limit=30 * MINUTE),
    "tuning": Kind("warn", "The miner is tuning itself.", limit=4 * HOUR),
    "board-missing": Kind("bad", "{About} is missing.", after=300, stay=300, judged=SETTLED),
    "board-without-chips": Kind("bad", "{About} finds no chips.", after=300, stay=300, judged=SETTLED),
    "board-dead": Kind("bad", "{About} does not hash.", after=300, stay=300, judged=SETTLED),
    "fan-stopped": Kind("bad", "{About} has stopped.", after=120, stay=120, judged=HASHING),
    "too-hot/water": Kind("bad", "The water of {about} has {value:.0f} °C.", 65, 62, after=300, stay=300),
    "too-hot/chip": Kind("bad", "A chip of {about} has {value:.0f} °C.", 105, 101, after=300, stay=300),
    "too-hot/board": Kind("bad", "{About} has {value:.0f} °C.", 85, 82, after=300, stay=300),
    "too-hot/device": Kind("bad", "{About} has {value:.0f} °C.", 90, 87, after=300, stay=300),
    "hardware-errors/many": Kind(
        "bad", "{value:.0%} of the last hour's results were hardware errors.",
        0.3, 0.2, window=HOUR, stay=600, judged=HASHING,
    ),
    "hardware-errors": Kind(
        "warn", "{value:.1%} of the last hour's results were hardware errors.",
        0.05, 0.03, window=HOUR, stay=600, judged=HASHING,
    ),
    "rejects": Kind(
        "warn", "{value:.1%} of the last hour's shares were rejected.",
        0.05, 0.03, window=HOUR, stay=600, judged=HASHING,
    ),
    "stales": Kind(
        "warn", "{value:.1%} of the last hour's shares were stale.",
        0.05, 0.03, window=HOUR, stay=600, judged=HASHING,
    ),
    "backup-pool": Kind("warn", "The miner mines at a backup, {about}.", after=300, stay=120),
    "pool-dead": Kind("warn", "{About} is dead.", after=600, stay=120),
    "board-short-of-chips": Kind(
        "warn", "{About} has {value:.0f} chips of {limit:.0f}.", after=300, stay=300, judged=SETTLED
    ),
    "low-hashrate": Kind(
        "warn", "The hashrate is {value:.0%} of what is expected.",
        0.85, 0.92, window=30 * MINUTE, after=600, stay=900, judged=SETTLED,
    ),
    "hashrate-drop": Kind(
        "warn", "The hashrate is {value:.0%} of what it was.",
        0.85, 0.92, window=30 * MINUTE, after=600, stay=900, judged=SETTLED,
    ),
    "over-power-limit": Kind(
        "warn", "The miner draws {value:.0f} W, {over} more than its limit.",
        1.05, 1.02, after=600, stay=300,
    ),
    "firmware-error": Kind("warn", "The firmware tells {about}{text}.", stay=60),
    # Where nothing tells how often a share is due
    "no-share/unknown": Kind(
        "warn", "No share was accepted for {lasted}; how often one is due is not known.",
        limit=HOUR, stay=120, judged=HASHING,
    ),
    "restarted": Kind("warn", "The miner has restarted.", stay=HOUR),
}  # fmt: skip

# Above which temperature (degrees Celsius) a part is too hot, by the attribute of the model that tells it.
HOT = "too-hot/"
LIMITS = {
    f"{key.removeprefix(HOT)}_temperature": kind.limit
    for key, kind in PROBLEMS.items()
    if key.startswith(HOT)
}

MAX_PROBLEMS = 50  # per verdict: more does not help, and a miner can invent them


def code_of(key: str) -> str:
    """Return the code that a row's key has before its slash."""
    return key.partition("/")[0]
