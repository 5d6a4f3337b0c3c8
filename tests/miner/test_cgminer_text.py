"""The text form of cgminer's API reads as the JSON that the same miner gives.

Pairs are those of the simulated miner, which answers each command in both forms, and real replies in JSON
(tests/data/captures) written in the text form as api.c does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi.demo import DemoMiner, Rig
from chi.miner.cgminer_text import looks_like, read_cgminer_text
from chi.miner.replies import ENCODER, parse_json

CAPTURES = sorted((Path(__file__).parents[1] / "data" / "captures").glob("*/*.reply"))
# Command to parameter.
COMMANDS = {
    **dict.fromkeys(("version", "config", "devs", "pools", "summary", "notify", "devdetails", "stats"), ""),
    **dict.fromkeys(("asccount", "pgacount", "coin", "lcd", "edevs", "estats", "privileged", "nonsense"), ""),
    **dict.fromkeys(("summary+pools+devs", "summary+nonsense", "summary+quit", "restart", "quit"), ""),
    "check": "summary", "asc": "0", "zero": "all,false", "switchpool": "7",
}  # fmt: skip


def in_text(reply: Any) -> str:
    """A reply in JSON, as api.c writes it in text."""
    if isinstance(reply.get("STATUS"), str):
        return str(reply["STATUS"])
    text = ""
    for name, entries in reply.items():
        if name == "id":
            continue
        if "id" in entries[0]:  # a member of a joined reply
            text += f"CMD={name}|{in_text(entries[0])}"
            continue
        for entry in entries:
            first = next(iter(entry))
            counted = first in ("STATUS", "POOL", "ASC", "PGA", "GPU", "CPU", "NOTIFY", "DEVDETAILS", "STATS")
            fields = ([] if counted else [name]) + [f"{key}={escaped(value)}" for key, value in entry.items()]
            text += ",".join(fields) + "|"
    return text


def escaped(value: Any) -> str:
    """A value with a backslash before what divides."""
    return json.dumps(value) if isinstance(value, bool) else re.sub(r"([|,=\\])", r"\\\1", value)


@pytest.fixture
def demo() -> Any:
    """A simulated miner whose time stands still."""
    miner = DemoMiner(rig=Rig(clock=lambda: 1_800_000_000.0))
    # With all that needs a backslash, in a value of `pools`.
    miner.respond(json.dumps({"command": "addpool", "parameter": r"http://a\,b|c=d,u\\,p"}).encode())
    yield miner
    miner.close()


@pytest.mark.parametrize(("command", "parameter"), COMMANDS.items())
def test_pairs_of_the_simulated_miner(command: str, parameter: str, demo: Any) -> None:
    """Both forms of a reply are the same: sections, keys, values and their types."""
    members = {"command": command, "parameter": parameter}
    as_json = demo.respond(json.dumps(members).encode()).partition(b"\0")[0]
    as_text = demo.respond((f"{command}|{parameter}" if parameter else command).encode()).partition(b"\0")[0]
    assert not as_text.startswith(b"{")
    loose = command in ("stats", "estats")  # Bitmain has many a figure as a string, which text cannot tell
    assert comparable(read_cgminer_text(as_text), loose) == comparable(parse_json(as_json), loose)


def comparable(value: Any, loose: bool) -> Any:
    """A value that differs from others of another type, unless `loose`."""
    if isinstance(value, dict):
        return {key: comparable(inner, loose) for key, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner, loose) for inner in value]
    if loose and isinstance(value, str):
        return comparable(float(value), loose) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value
    return (isinstance(value, bool), value)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_pairs_of_real_replies(path: Path) -> None:
    """What real miners told in JSON is told the same by its text."""
    data = path.read_bytes().partition(b"\0")[0]
    try:
        reply = json.loads(data)
    except ValueError:
        assert path.stem == "+"  # no JSON of any miner
        return
    as_written = json.loads(data, parse_int=str, parse_float=str)
    as_written.pop("id")
    assert read_cgminer_text(in_text(as_written).encode()) == reply


def test_texts_that_look_like_numbers() -> None:
    """What is text in the API's JSON is text here, whatever it looks like."""
    read = read_cgminer_text(b"STATUS=S,When=5,Code=7,Msg=1,Description=x|POOL=0,URL=1,User=007,Accepted=3|")
    assert read["STATUS"][0] == {"STATUS": "S", "When": 5, "Code": 7, "Msg": "1", "Description": "x"}
    assert read["POOLS"] == [{"POOL": 0, "URL": "1", "User": "007", "Accepted": 3}]


def test_empty_records() -> None:
    """A record with nothing in it is none."""
    assert read_cgminer_text(b"STATUS=S,When=5||POOL=0|") == {
        "STATUS": [{"STATUS": "S", "When": 5}], "POOLS": [{"POOL": 0}], "id": 1,
    }  # fmt: skip


def test_a_comma_that_nobody_escaped() -> None:
    """A field without = belongs to the value before."""
    read = read_cgminer_text(b"STATUS=E,When=5,Code=14,Msg=No, never,Description=x|")
    assert read["STATUS"][0]["Msg"] == "No, never"


@pytest.mark.parametrize(
    "reply",
    [b"", b"|", b"STATUS=S,When=1", b"STATUS=S|SUMMARY,Elapsed=1", b"NAME=x;VER=1|", b"Socket: refused\n",
     b"CMD=summary|SUMMARY,Elapsed=1|", b"BY", b'{"STATUS":[]}'],
)  # fmt: skip
def test_what_is_something_else(reply: bytes) -> None:
    """Another form, or half a reply, is refused."""
    with pytest.raises(ValueError, match="it "):
        read_cgminer_text(reply)


@given(st.data())
def test_anything(data: st.DataObject) -> None:
    """Whatever comes: strict JSON with a STATUS, or ValueError."""
    pieces = ["STATUS=S", "CMD=a", "POOL=0", "SUMMARY", ",", "|", "=", "\\", "true", "1e999", "-0.10"]
    text = "".join(data.draw(st.lists(st.sampled_from(pieces) | st.text(max_size=5), max_size=30)))
    reply = data.draw(st.sampled_from(["", "STATUS=S,", "CMD=x|STATUS=S|"])) + text
    try:
        read = read_cgminer_text(reply.encode("utf-8", "replace"))
    except ValueError:
        return
    assert looks_like(reply.encode("utf-8", "replace"))
    assert parse_json(ENCODER.encode(read).encode("ascii"))["id"] == 1
