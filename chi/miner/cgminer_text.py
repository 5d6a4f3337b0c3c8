r"""Converts the text form of cgminer's own API, `STATUS=S,When=…|SUMMARY,Elapsed=…|`, to its JSON.

Comes in: a reply to a request in JSON that a miner took for text, or answered in text all the same.
Goes out: what the reply is in JSON, or ValueError if it is something else. What cpuminer and ccminer speak
is another form: text.py.

Records end in |, fields in a comma, and a backslash stands before | , = and \ in values. A section begins
with its name, `SUMMARY,…`, or with what counts its entries, `POOL=0,…`. A joined reply has `CMD=name|`
before each member.
"""

from __future__ import annotations

import re
from typing import Any

Entry = dict[str, Any]

# Each character behind a backslash, as one that no UTF-8 text can hold until the records are apart.
ESCAPED = {"\\": "\ud800", "|": "\ud801", ",": "\ud802", "=": "\ud803"}
UNESCAPED = {ord(stand_in): character for character, stand_in in ESCAPED.items()}
FIELD_END = re.compile(r",(?=[^,=]*=)")  # any other comma is part of a value, and should have been escaped
ESCAPE = re.compile(r"\\([\\|,=])")
# What counts the entries of a section that has another name in JSON; any other is the section's name as well.
SECTIONS = {"POOL": "POOLS"}
BFGMINER_SECTIONS = {**SECTIONS, "DEVDETAILS": "DEVS"}
# Devices are counted alike in `devs` and where one is asked for, and an entry of `stats` may be counted by
# nothing (CGMiner=…, Bitmain): there the code of the reply tells the section.
DEVICE_KEYS = frozenset({"ASC", "PGA", "GPU", "CPU"})
CODE_SECTIONS: dict[Any, str] = {9: "DEVS", 17: "GPU", 18: "CPU", 70: "STATS"}
# Types are lost in text. These are strings in JSON even if they look like numbers.
TEXTS = frozenset({
    "API", "Algorithm", "BFGMiner", "CGMiner", "Current Block Hash", "Description", "Device Code",
    "Device Path", "Driver", "Hash Method", "Intensity", "Kernel", "Manufacturer", "Miner", "Mining Goal",
    "Model", "Msg", "Name", "Product", "Profile", "Proxy", "Proxy Type", "SGMiner", "Serial", "Stratum URL",
    "Type", "URL", "User", "Version",
})  # fmt: skip
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?", re.ASCII)
WORDS = {"true": True, "false": False}
GOODBYES = frozenset({"BYE", "RESTART"})  # all that is said


def looks_like(data: bytes) -> bool:
    """Whether a reply may be of this form."""
    text = data.decode("utf-8", "replace").strip()
    return text in GOODBYES or text.startswith(("STATUS=", "CMD="))


def read_cgminer_text(data: bytes) -> Entry:
    """Return what a reply, without its NUL, is in JSON; ValueError if it is of another form, or cut off."""
    text = data.decode("utf-8", "replace").strip()
    if text in GOODBYES:
        return {"STATUS": text, "id": 1}
    if not looks_like(data) or not text.endswith("|"):
        raise ValueError("it is cut off, or no text of the API")
    records = ESCAPE.sub(lambda match: ESCAPED[match[1]], text).split("|")[:-1]
    if not records[0].startswith("CMD="):
        return _read_member(records)
    answers: dict[str, list[str]] = {}
    member: list[str] = []
    for record in records:
        if record.startswith("CMD="):
            member = []
            answers[record[4:].translate(UNESCAPED)] = member
        else:
            member.append(record)
    return {**{name: [_read_member(records)] for name, records in answers.items()}, "id": 1}


def _read_member(records: list[str]) -> Entry:
    """Return one command's reply: the entries by their sections."""
    sections: dict[str, list[Entry]] = {}
    for record in records:
        if not record:
            continue
        name, entry = _read_record(record)
        status = sections.get("STATUS", [{}])[0]
        if name in DEVICE_KEYS or not name.isupper():
            name = CODE_SECTIONS.get(status.get("Code"), name)
        bfgminer = str(status.get("Description")).startswith("bfgminer")
        section = (BFGMINER_SECTIONS if bfgminer else SECTIONS).get(name, name)
        sections.setdefault(section, []).append(entry)
    if "STATUS" not in sections:
        raise ValueError("it has no STATUS")
    return {**sections, "id": 1}


def _read_record(record: str) -> tuple[str, Entry]:
    """Return the name before the first , or = and the entry."""
    fields = FIELD_END.split(record)
    name = fields[0].partition("=")[0].translate(UNESCAPED)
    pairs = (field.partition("=") for field in fields if "=" in field)
    texts = {key.translate(UNESCAPED): value.translate(UNESCAPED) for key, _, value in pairs}
    return name, {key: _value(key, value) for key, value in texts.items()}


def _value(key: str, text: str) -> Any:
    if key in TEXTS:
        return text
    if NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return WORDS.get(text, text)
