"""Does the miner earn, and what is wrong with it? The one answer that all outputs share.

Comes in: the verdict before, a Status (None: the miner did not answer), and the time by a clock that never
jumps. Goes out: a Verdict. Nothing here asks the miner or the time; all that must be remembered is in the
verdict, so it works the same whether chi keeps a history or not, and however often it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chi.status.chance import allowed
from chi.status.findings import Finding, find
from chi.status.history import History
from chi.status.memory import Memory, begin, hashes, remember
from chi.status.model import Status, plain
from chi.status.problems import (
    ALWAYS,
    HASHING,
    MAX_PROBLEMS,
    PROBLEMS,
    SETTLED,
    Kind,
    Problem,
    code_of,
)

__all__ = ["MAX_PROBLEMS", "PROBLEMS", "Problem", "Verdict", "judge", "to_json"]


class Mark(NamedTuple):
    """A finding on its way to a problem and back: since when it is wrong, since when well, whether told."""

    finding: Finding
    wrong: float
    well: float | None
    told: bool


Key = tuple[str, str]  # of a row of the table, and what it is about
Marks = Mapping[Key, Mark]


@dataclass(frozen=True)
class Verdict:
    """Whether the miner earns (None: that cannot be told, or not yet), since when, and what is wrong.

    `since` is by the clock that judge() is given. `memory` and `marks` are for the next judge() alone.
    """

    earning: bool | None
    since: float | None
    problems: tuple[Problem, ...] = ()
    memory: Memory | None = field(default=None, compare=False, repr=False)
    marks: Marks = field(default_factory=dict, compare=False, repr=False)

    @property
    def sentence(self) -> str:
        """The verdict in one line of English."""
        why = self.problems[0].sentence if self.problems else ""
        if self.earning:
            return f"Earning, but not all is well. {why}" if why else "Earning."
        if self.earning is None:
            return why or "No share has been seen yet that a pool accepted."
        return f"Not earning. {why}"


def judge(previous: Verdict | None, status: Status | None, history: History | None, now: float) -> Verdict:
    """Return the verdict on a miner after a look at it.

    `previous` is the verdict before, None at the first look. `history`, if there is one, tells then what the
    miner usually does; later the verdict remembers by itself. `now` is seconds by a clock that never jumps.
    """
    before = previous or Verdict(None, now)
    memory = before.memory
    if status is None:
        found = {("no-data", ""): Finding("no-data")}
        memory = memory and memory._replace(silent=True)
    else:
        usual = history.usual() if history and not memory else None  # a sort of the day: once is enough
        memory = remember(memory, status, now) if memory else begin(status, now, usual)
        found = {(each.key, each.about): each for each in find(status, memory)}
    marks = mark(before, found, status, memory, now)
    earning = earns(marks, status, memory, before)
    since = before.since if earning is before.earning else now
    return Verdict(earning, since, tell(marks, status), memory, marks)


def mark(
    before: Verdict, found: Mapping[Key, Finding], status: Status | None, memory: Memory | None, now: float
) -> Marks:
    """Return how far each finding is, after those of this look."""
    # What is found at the first look at a miner that has run for longer has lasted, too.
    first, judged = False, frozenset[str]()
    if status is not None and memory is not None:
        first = before.memory is None and not memory.starting(status.rig)
        judged = judged_now(status, memory)
    marks = {}
    for key in dict.fromkeys((*before.marks, *found)):
        kind, old, finding = PROBLEMS[key[0]], before.marks.get(key), found.get(key)
        if finding is None and kind.judged not in judged:
            new = old if old and old.told else None  # it stays as it was
        else:
            new = step(old, finding, kind, now, first and not kind.window)
        if new:
            marks[key] = new
    return marks


def judged_now(status: Status, memory: Memory) -> frozenset[str]:
    """Return which rows of the table are judged in this state of the miner."""
    if not hashes(status.rig):
        return frozenset({ALWAYS})
    return frozenset({ALWAYS, HASHING, SETTLED}) if memory.settled() else frozenset({ALWAYS, HASHING})


def step(old: Mark | None, finding: Finding | None, kind: Kind, now: float, at_once: bool) -> Mark | None:
    """Return the next Mark of a finding, None if there is nothing to remember; no finding is a good one."""
    if finding and finding.wrong:
        wrong = old.wrong if old else now
        return Mark(finding, wrong, None, (old and old.told) or at_once or now - wrong >= kind.after)
    if old is None or not old.told:
        return None
    if finding:
        return old._replace(well=None)
    well = now if old.well is None else old.well
    return None if now - well >= kind.stay else old._replace(well=well)


def tell(marks: Marks, status: Status | None) -> tuple[Problem, ...]:
    """Return the problems, worst first, each code once of each part."""
    stands = status is not None and not hashes(status.rig)
    problems: dict[tuple[str, str], Problem] = {}
    for key, kind in PROBLEMS.items():
        for (row, about), each in marks.items():
            if row != key or not each.told or (stands and kind.judged != ALWAYS and not about):
                continue
            problem = Problem(
                code=code_of(key), level=kind.level, sentence=sentence(kind, each.finding), about=about,
                value=each.finding.value, limit=each.finding.limit, since=each.wrong,
            )  # fmt: skip
            problems.setdefault((problem.code, about), problem)
        if key == "no-data" and problems:
            break
    return tuple(problems.values())[:MAX_PROBLEMS]


def sentence(kind: Kind, finding: Finding) -> str:
    """Return the row's sentence with what was found in it."""
    about = finding.about
    capital = about[:1].upper() + about[1:]
    return kind.sentence.format(
        about=about, About=capital, value=finding.value, limit=finding.limit, **finding.words
    )


def earns(marks: Marks, status: Status | None, memory: Memory | None, before: Verdict) -> bool | None:
    """Return whether the miner earns; None as long as chi has not seen a share accepted."""
    told = {key for (key, _), each in marks.items() if each.told}
    if "no-data" in told:
        return None
    if status is None or memory is None:
        return before.earning
    if any(PROBLEMS[key].ends for key in told if hashes(status.rig) or PROBLEMS[key].judged == ALWAYS):
        return False
    if not hashes(status.rig):
        return None if told & {"starting", "tuning"} else before.earning
    if "no-share/unknown" in told:
        return None
    seen = memory.gap.grew or before.earning or (before.memory is None and had_share(status, memory))
    return True if seen else None


def had_share(status: Status, memory: Memory) -> bool:
    """Whether the miner tells of a share not long ago, by its own clock: for chi's first look."""
    rig, found = status.rig, allowed(memory.gap, status.rig)
    if rig.last_share is None or rig.time is None or not rig.shares_accepted:
        return False
    least = PROBLEMS["no-share"].limit or 0.0
    return 0 <= rig.time - rig.last_share <= (max(least, found.seconds) if found else least)


def to_json(verdict: Verdict, now: float, epoch: float) -> dict[str, Any]:
    """Return what /status.json says in `verdict`; `epoch` is what `now` is in seconds since 1970."""

    def when(since: float | None) -> int | None:
        return None if since is None else int(epoch - now + since)

    return {
        "earning": verdict.earning,
        "since": when(verdict.since),
        "sentence": verdict.sentence,
        "problems": [{**plain(each), "since": when(each.since)} for each in verdict.problems],
    }
