"""Converts the replies of a miner that speaks only text (cpuminer, ccminer) to the CGMiner API's JSON.

Comes in: what was asked (a Plan of text_requests), and the miner's replies: `KEY=value;KEY=value|`.
Goes out: the API's reply: STATUS, and an array whose entries have the native fields under their own names,
and CGMiner's names beside them where the meaning is the same; or ChiError if a reply is of another protocol.
Never guesses: these miners escape nothing, so what cannot be told apart stays text. The time is handed in.

Strategy: `read_records` makes entries of a reply, BUILDERS says how the entries of each of the API's own
commands follow from them, `translate` puts the envelope around.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chi.bounds import MAX_TEXT_REPLY
from chi.errors import ChiError, quote
from chi.miner.replies import ENCODER
from chi.miner.text_requests import COMPOSED, SUMMARY, WRITES, Plan, Replies, pool_requests

Entry = dict[str, Any]

# Fields whose values are numbers where they look like one. Others, such as VER, USER or JOB, are text always.
NUMBERS = frozenset({
    "ACC", "ACCMN", "BEST", "BUS", "COUNT", "CPU", "CPUFREQ", "CPUS", "CPUTEMP", "DIFF", "DISCO", "FAN",
    "FOUND", "FREQ", "GPU", "GPUF", "GPUS", "H", "HASHLOG", "HS", "HWF", "I", "ID", "KHS", "KHW", "LAST",
    "MEM", "MEMF", "MEMFREQ", "N2SZ", "NETKHS", "P", "PING", "PLIM", "POOLS", "POWER", "REJ", "RPM", "SOL",
    "SOLV", "STALE", "STATS", "TEMP", "THR", "TS", "UPTIME", "WAIT",
})  # fmt: skip
RATE = re.compile(r"([kMGTP]?)H/s")  # cpuminer-opt's thread rates have their unit in the key
PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
SOFTWARE = ("NAME", "VER")
FIELD_END = re.compile(r";(?=[^;=]*=)")  # any other ; is part of a value
# Numbers as in JSON; longer ones are not values of a miner.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,20})?", re.ASCII)

# --- From text to entries -------------------------------------------------------------------------


def is_summary(data: bytes) -> bool:
    """Whether this is the reply to `summary` of a miner that speaks this protocol."""
    named = data.startswith(b"NAME=") and b";VER=" in data
    return named and len(data) <= MAX_TEXT_REPLY and is_complete(data)


def software(data: bytes) -> str:
    """Return the name and version that a reply to `summary` tells; ChiError if it is of another protocol."""
    return _software((read_records(data) or [{}])[0])


def _software(entry: Entry) -> str:
    return " ".join(str(entry[key]) for key in SOFTWARE if key in entry)


def is_complete(data: bytes) -> bool:
    """Whether a reply has come to its end, as far as can be told without its NUL."""
    return data.rstrip().endswith(b"|")


def read_records(data: bytes) -> list[Entry]:
    """Return the entries of a reply, without its NUL; ChiError if it is in another protocol or cut off."""
    if data.lstrip().startswith((b"{", b"[", b"STATUS=", b"HTTP/")):
        raise ChiError("text-protocol", why=f"it begins with {quote(data.decode('utf-8', 'replace'))}")
    if data.strip() and not is_complete(data):
        raise ChiError("cut-off", size=len(data))
    if len(data) > MAX_TEXT_REPLY:
        raise ChiError("reply-too-large", limit=MAX_TEXT_REPLY)
    text = data.decode("utf-8", "replace").strip()
    entries: list[Entry] = []
    for record in text.split("|")[:-1]:
        entries += _read_record(record)
    return entries


def _read_record(record: str) -> list[Entry]:
    """Return the entry of a record; for text without KEY=value, as in help, an entry for each line."""
    if "=" not in record.partition(";")[0]:
        return [{"Line": line} for line in record.splitlines() if line]
    fields = (field.partition("=") for field in FIELD_END.split(record))
    return [{name: _value(name, value) for name, _, value in fields}]


def _value(name: str, text: str) -> Any:
    if not (name in NUMBERS or RATE.fullmatch(name)) or not NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


# --- CGMiner's names ------------------------------------------------------------------------------

# Native to CGMiner's name, where the meaning is the same.
COUNTS = {"ACC": "Accepted", "REJ": "Rejected"}
SUMMARY_NAMES = {
    "UPTIME": "Elapsed", **COUNTS, "SOLV": "Found Blocks", "SOL": "Found Blocks", "ACCMN": "Utility",
}  # fmt: skip
THREAD_NAMES = {"CARD": "Name", **COUNTS, "HWF": "Hardware Errors", "I": "Intensity"}
# 0 is "unknown" in these.
SENSOR_NAMES = {
    "TEMP": "Temperature", "RPM": "Fan Speed", "FAN": "Fan Percent", "FREQ": "GPU Clock", "GPUF": "GPU Clock",
    "MEMFREQ": "Memory Clock", "MEMF": "Memory Clock",
}  # fmt: skip
POOL_NAMES = {
    "URL": "URL", "USER": "User", **COUNTS, "STALE": "Stale", "DIFF": "Work Difficulty", "BEST": "Best Share",
}  # fmt: skip


def _named(entry: Entry, names: Mapping[str, str], unknown: tuple[object, ...] = ("",)) -> Entry:
    return {names[key]: entry[key] for key in names if key in entry and entry[key] not in unknown}


def _only(entry: Entry, *names: str) -> Entry:
    return {name: entry[name] for name in names if name in entry}


def _number(entry: Entry, name: str) -> float | None:
    value = entry.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def hashrate(entry: Entry) -> float | None:
    """Return the hashes per second that a summary or a thread tells of, None if it does not."""
    for key in entry:
        unit = RATE.fullmatch(key)
        if unit and (told := _number(entry, key)) is not None:
            return told * PREFIXES[unit[1]]
    exact, thousands = _number(entry, "HS"), _number(entry, "KHS")
    return exact if exact is not None else None if thousands is None else thousands * 1e3


def _rate(entry: Entry) -> Entry:
    told = hashrate(entry)
    return {} if told is None else {"MHS av": round(told / 1e6, 9)}


def _summary(entry: Entry) -> Entry:
    return {**entry, **_named(entry, SUMMARY_NAMES), **_rate(entry)}


def _thread(entry: Entry) -> Entry:
    sensors = _named(entry, SENSOR_NAMES, ("", 0))
    return {**entry, **_named(entry, THREAD_NAMES), **sensors, **_rate(entry)}


def _pool(entry: Entry) -> Entry:
    return {**entry, **_named(entry, POOL_NAMES)}


# --- The API's own commands -----------------------------------------------------------------------


class Replied:
    """The miner's replies as entries, and what of them the envelope needs."""

    def __init__(self, replies: Replies, software: str, now: float) -> None:
        self._replies = replies
        summary = self.entries(SUMMARY) if replies.get(SUMMARY) else []
        self.summary: Entry = summary[0] if summary else {}
        self.software = _software(self.summary) or software
        self.when = int(now)

    def entries(self, request: bytes) -> list[Entry]:
        """The entries of a reply; none if there was no reply, or an empty one."""
        return read_records(self._replies.get(request) or b"")

    def raw(self, request: bytes) -> bytes | None:
        """The reply itself; None if the miner closed the connection instead."""
        return self._replies.get(request)

    def time(self, entries: Sequence[Entry]) -> int:
        """The miner's time in epoch seconds, where it is told."""
        told = (_number(entry, "TS") for entry in (self.summary, *entries[:1]))
        return int(next((at for at in told if at is not None and at > 0), self.when))


def _versions(replied: Replied) -> list[Entry]:
    told = _only(replied.summary, *SOFTWARE, "API")
    name = str(told.get("NAME", ""))
    return [{name: told["VER"], **told}] if name and "VER" in told else []


def _summaries(replied: Replied) -> list[Entry]:
    return [_summary(entry) for entry in replied.entries(SUMMARY)]


def _config(replied: Replied) -> list[Entry]:
    native = _only(replied.summary, "ALGO", "CPUS", "GPUS", "POOLS")
    return [native | _named(native, {"CPUS": "CPU Count", "GPUS": "GPU Count", "POOLS": "Pool Count"})]


def _coin(replied: Replied) -> list[Entry]:
    native = _only(replied.summary, "ALGO", "DIFF", "NETKHS")
    return [native | _named(native, {"ALGO": "Hash Method"})]


def _devices(replied: Replied) -> list[Entry]:
    return [_thread(entry) for entry in replied.entries(b"threads")]


def _stats(replied: Replied) -> list[Entry]:
    entries = []
    for place, thread in enumerate(replied.entries(b"threads")):
        kind = next((key for key in ("GPU", "CPU") if key in thread), "")
        own = {"STATS": place, "ID": f"{kind}{thread.get(kind, place)}"}
        entries.append({**thread, **own, **_named(replied.summary, {"UPTIME": "Elapsed"})})
    return entries


def _pools(replied: Replied) -> list[Entry]:
    """All pools of ccminer, the one in use marked; the one URL that cpuminer-opt tells."""
    requests = pool_requests({SUMMARY: replied.raw(SUMMARY)})
    active = (replied.entries(b"pool") or [{}])[0]
    told = {place: replied.entries(request)[:1] for place, request in enumerate(requests[:-1])}
    if not any(told.values()):
        told = {0: [active] if active else []}
    if not requests and "URL" in replied.summary:
        told = {0: [_only(replied.summary, "URL", "ALGO", *COUNTS)]}
    now = replied.time([])
    return [_pool_entry(place, entry, active, now) for place, found in told.items() for entry in found]


IDENTITY = ("POOL", "URL", "USER")  # what tells a pool from another


def _pool_entry(place: int, entry: Entry, active: Entry, now: int) -> Entry:
    named = _pool(entry)
    if "POOL" in named:  # its name here, its number in the API
        named["Name"] = named["POOL"]
    named["POOL"] = place
    ago, accepted = _number(entry, "LAST"), _number(entry, "ACC")
    if ago and accepted:  # 0 may be now or never
        named["Last Share Time"] = now - int(ago)
    if active and [entry.get(key) for key in IDENTITY] == [active.get(key) for key in IDENTITY]:
        if active.get("JOB"):  # a job, so the pool answers
            named["Status"] = "Alive"
        named["Stratum Active"] = bool(active.get("JOB", True))
    elif active:
        named["Stratum Active"] = False
    return named


# Command: code, message for so many entries, section, entries; and the error where there are none.
Builder = tuple[int, str, str, Callable[[Replied], list[Entry]], tuple[int, str]]
NOTHING = (14, "Invalid command")
BUILDERS: dict[str, Builder] = {
    "summary": (11, "Summary", "SUMMARY", _summaries, NOTHING),
    "version": (22, "CGMiner versions", "VERSION", _versions, NOTHING),
    "config": (33, "CGMiner config", "CONFIG", _config, NOTHING),
    "coin": (78, "CGMiner coin", "COIN", _coin, NOTHING),
    "devs": (9, "{count} device(s)", "DEVS", _devices, (10, "No devices")),
    "stats": (70, "CGMiner stats", "STATS", _stats, (71, "No stats")),
    "pools": (7, "{count} Pool(s)", "POOLS", _pools, (8, "No pools")),
}
# The reports with names of their own: CGMiner's code for the nearest of its reports, and how they are named.
NATIVE_CODES: dict[str, tuple[int, Callable[[Entry], Entry]]] = {
    "threads": (9, _thread),
    "pool": (7, _pool),
}
PLAIN: tuple[int, Callable[[Entry], Entry]] = (70, lambda entry: entry)

# --- The API's replies ----------------------------------------------------------------------------


def translate(plan: Plan, replies: Replies, software: str, now: float) -> bytes:
    """Return the API's reply to a Plan, as JSON; ChiError if a reply of the miner's is none of this protocol.

    `replies` has all that text_requests.next_request asked for; `software` is the miner's name and version
    where no reply tells them, and `now` the time in epoch seconds where no reply tells it.
    """
    replied = Replied(replies, software, now)
    if not plan.joined:
        return ENCODER.encode(_answer(plan.commands[0], plan.request, replied)).encode("ascii")
    if not plan.commands:
        return ENCODER.encode(_error(replied, *NOTHING)).encode("ascii")
    answers: Entry = {}
    for command in plan.commands:
        if command in WRITES:  # the API joins reports alone
            answers[command] = [_error(replied, 45, f"Access denied to '{command}' command")]
        else:
            answers[command] = [_answer(command, command.encode(), replied)]
    return ENCODER.encode({**answers, "id": 1}).encode("ascii")


def _answer(command: str, request: bytes, replied: Replied) -> Entry:
    if command in BUILDERS:
        return _composed(command, replied)
    reply = replied.raw(request)
    if reply is None:  # neither is it known to the miner
        return _error(replied, *NOTHING)
    outcome = reply.decode("utf-8", "replace").strip()
    if command in WRITES or (outcome and outcome in OUTCOMES):
        return _outcome(command, outcome, replied)
    code, named = NATIVE_CODES.get(command, PLAIN)
    entries = [named(entry) for entry in replied.entries(request)]
    section = command.upper() if command.upper() != "STATUS" else "REPLY"
    return _reply(replied, code, command, {section: entries}, entries)


def _composed(command: str, replied: Replied) -> Entry:
    code, message, section, build, nothing = BUILDERS[command]
    if any(replied.raw(name.encode()) is None for name in COMPOSED.get(command, ()) if name != "pool"):
        return _error(replied, *NOTHING)
    entries = build(replied)
    if not entries:
        return _error(replied, *nothing)
    return _reply(replied, code, message.format(count=len(entries)), {section: entries}, entries)


# What a write is answered with; a lone NUL says that it is not allowed.
OUTCOMES = {"ok|": "S", "bye|": "S", "fail|": "E", "": "E"}
# CGMiner's codes for the like: Switching to pool, Added pool; Invalid pool id, Invalid addpool details.
DONE = {"switchpool": 27, "seturl": 55}
FAILED = {"switchpool": (26, "Invalid pool id"), "seturl": (53, "Invalid pool details")}


def _outcome(command: str, outcome: str, replied: Replied) -> Entry:
    if outcome not in OUTCOMES:
        raise ChiError("text-protocol", why=f"it begins with {quote(outcome)}")
    if OUTCOMES[outcome] == "S":
        done = "BYE" if outcome == "bye|" else f"{command} done"
        return _reply(replied, DONE.get(command, 0), done, {}, [])
    if outcome:
        code, message = FAILED.get(command, (45, f"{command} failed"))
        return _error(replied, code, message)
    return _error(replied, 45, f"Access denied to '{command}' command")


def _reply(
    replied: Replied, code: int, message: str, sections: Entry, entries: Sequence[Entry], status: str = "S"
) -> Entry:
    told: Entry = {"STATUS": status, "When": replied.time(entries), "Code": code, "Msg": message}
    if replied.software:
        told["Description"] = replied.software
    return {"STATUS": [told], **sections, "id": 1}


def _error(replied: Replied, code: int, message: str) -> Entry:
    return _reply(replied, code, message, {}, [], "E")
