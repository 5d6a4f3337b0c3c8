"""Replies: strict JSON passes as it is, known faults are repaired by name, the rest is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chi.bounds import MAX_DEPTH, MAX_PRETTY
from chi.errors import ChiError
from chi.miner.replies import REPAIRS, STRING_REPAIRS, STRUCTURE_REPAIRS, Reply, read_reply
from chi.requests import read_body
from tests.scripted import CAPTURES

SOFTWARE = ("cgminer-4.11.1", "bfgminer-5.5.0", "sgminer-5.1.1")
# What `+` alone brings, from all three: the one captured reply that is no JSON.
HEADLESS = b',"id":1}'

# As many examples as there is time for; no deadline, for a machine may be busy.


def captures() -> dict[str, bytes]:
    """The captured replies without their NUL, by software and request."""
    paths = sorted(path for name in SOFTWARE for path in (CAPTURES / name).glob("*.reply"))
    return {f"{path.parent.name}/{path.stem}": path.read_bytes()[:-1] for path in paths}


def strict(data: bytes) -> Any:
    """Parse strict JSON, by other means than chi's; ValueError if it is none."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse, parse_int=str, parse_float=str)


def plain(data: bytes) -> Any:
    """The same with numbers as such."""
    strict(data)
    return json.loads(data)


def refusal(data: bytes, pretty: bool = False) -> ChiError:
    """The error for a reply that must be refused."""
    with pytest.raises(ChiError) as caught:
        read_reply(data, pretty)
    assert caught.value.status == 502
    return caught.value


def whole(members: str, code: int = 70, message: str = "CGMiner stats") -> str:
    """A reply as firmware sends it, with `members` after its STATUS."""
    status = f'"STATUS":"S","When":1700000000,"Code":{code},"Msg":"{message}","Description":"cgminer 4.9.0"'
    return f'{{"STATUS":[{{{status}}}],{members},"id":1}}'


def parsed(members: dict[str, Any], code: int = 70, message: str = "CGMiner stats") -> Any:
    """What such a reply says."""
    status = {
        "STATUS": "S",
        "When": 1700000000,
        "Code": code,
        "Msg": message,
        "Description": "cgminer 4.9.0",
    }
    return {"STATUS": [status], **members, "id": 1}


# --- The table of invalid replies -----------------------------------------------------------------

# Name: the reply's bytes, what it says, the repairs.
REPAIRABLE: dict[str, tuple[bytes | str, Any, tuple[str, ...]]] = {
    "no comma between objects (Bitmain stats)": (
        whole(
            '"STATS":[{"BMMiner":"2.0.0","Miner":"16.8.1.3","CompileTime":"Fri Nov 17 17:37:49 CST 2017",'
            '"Type":"Antminer S9"}{"STATS":0,"ID":"BC50","Elapsed":9104,"Calls":0,"GHS 5s":"13646.47",'
            '"temp2_6":62,"chain_acs6":" oooooooo oooooooo"}]'
        ),
        parsed(
            {
                "STATS": [
                    {
                        "BMMiner": "2.0.0",
                        "Miner": "16.8.1.3",
                        "CompileTime": "Fri Nov 17 17:37:49 CST 2017",
                        "Type": "Antminer S9",
                    },
                    {
                        "STATS": 0,
                        "ID": "BC50",
                        "Elapsed": 9104,
                        "Calls": 0,
                        "GHS 5s": "13646.47",
                        "temp2_6": 62,
                        "chain_acs6": " oooooooo oooooooo",
                    },
                ]
            }
        ),
        ("missing-comma",),
    ),
    "no comma between objects on lines of their own (VolcMiner)": (
        whole('"STATS":[{"Type":"VolcMiner D1"}\n {"STATS":0,"ID":"D10"}\n{"STATS":1}]'),
        parsed({"STATS": [{"Type": "VolcMiner D1"}, {"STATS": 0, "ID": "D10"}, {"STATS": 1}]}),
        ("missing-comma",),
    ),
    "comma after an opening bracket (bmminer)": (
        whole('"STATS":[,{"STATS":0,"ID":"L30","Elapsed":86400,"fan1":3540}]'),
        parsed({"STATS": [{"STATS": 0, "ID": "L30", "Elapsed": 86400, "fan1": 3540}]}),
        ("stray-comma",),
    ),
    "comma after an opening brace": (
        whole('"CONFIG":[{ ,"ASC Count":3}]', 33, "config"),
        parsed({"CONFIG": [{"ASC Count": 3}]}, 33, "config"),
        ("stray-comma",),
    ),
    "comma before a closing brace (Whatsminer)": (
        whole('"SUMMARY":[{"Elapsed":14,"MHS av":72.05,"Temperature":75.00,}]', 11, "Summary"),
        parsed({"SUMMARY": [{"Elapsed": 14, "MHS av": 72.05, "Temperature": 75.0}]}, 11, "Summary"),
        ("trailing-comma",),
    ),
    "comma before a closing bracket": (
        whole('"DEVS":[{"ASC":0,"Slot":0},{"ASC":1,"Slot":1}, ]', 9, "3 ASC(s)"),
        parsed({"DEVS": [{"ASC": 0, "Slot": 0}, {"ASC": 1, "Slot": 1}]}, 9, "3 ASC(s)"),
        ("trailing-comma",),
    ),
    "no comma between a string and the next name (Whatsminer)": (
        whole('"DEVS":[{"ASC":0,"Upfreq":"1""temp0":63.5,"PCB SN":"H9M8Q""temp1":"62"}]'),
        parsed({"DEVS": [{"ASC": 0, "Upfreq": "1", "temp0": 63.5, "PCB SN": "H9M8Q", "temp1": "62"}]}),
        ("missing-comma",),
    ),
    "no comma between a number and the next name": (
        whole('"DEVS":[{"ASC":0 "temp0":63.5"temp1":true"temp2":null}]'),
        parsed({"DEVS": [{"ASC": 0, "temp0": 63.5, "temp1": True, "temp2": None}]}),
        ("missing-comma",),
    ),
    "no comma between sections": (
        whole('"SUMMARY":[{"Elapsed":14}]"DEVS":[{"ASC":0}] "POOLS":[]'),
        parsed({"SUMMARY": [{"Elapsed": 14}], "DEVS": [{"ASC": 0}], "POOLS": []}),
        ("missing-comma",),
    ),
    "nan, inf and their like (Avalon)": (
        whole('"DEVS":[{"ASC":0,"Temperature":nan,"MHS av":inf,"MHS 5s":-inf,"Utility":-nan,"Accepted":7}]'),
        parsed(
            {
                "DEVS": [
                    {
                        "ASC": 0,
                        "Temperature": None,
                        "MHS av": None,
                        "MHS 5s": None,
                        "Utility": None,
                        "Accepted": 7,
                    }
                ]
            }
        ),
        ("not-a-number",),
    ),
    "what Python's json takes and no other": (
        whole('"SUMMARY":[{"a":NaN,"b":Infinity,"c":-Infinity,"d":[ NaN ,+inf,INF]}]'),
        parsed({"SUMMARY": [{"a": None, "b": None, "c": None, "d": [None, None, None]}]}),
        ("not-a-number",),
    ),
    "an escaped apostrophe": (
        whole(r'"POOLS":[{"POOL":0,"User":"miner\'s.worker","URL":"stratum+tcp:\/\/pool:3333"}]', 7, "Pools"),
        parsed(
            {"POOLS": [{"POOL": 0, "User": "miner's.worker", "URL": "stratum+tcp://pool:3333"}]}, 7, "Pools"
        ),
        ("bad-escape",),
    ),
    "escapes that JSON does not know": (
        whole(
            r'"POOLS":[{"User":"DOMAIN\worker\1","Path":"C:\data\x41\u12\\\q\U00e9","Fine":"\u00e9\t\\x"}]'
        ),
        parsed(
            {
                "POOLS": [
                    {
                        "User": r"DOMAIN\worker\1",
                        "Path": r"C:\data\x41\u12\\q\U00e9",
                        "Fine": "é\t\\x",
                    }
                ]
            }
        ),
        ("bad-escape",),
    ),
    "raw control characters in strings (cgminer, Whatsminer)": (
        whole('"POOLS":[{"POOL":0,"User":"a\nb\tc\x01d\x1f\r","URL":"http://x\x0b:1\x7f"}]', 7, "1 Pool(s)"),
        parsed(
            {"POOLS": [{"POOL": 0, "User": "a\nb\tc\x01d\x1f\r", "URL": "http://x\x0b:1\x7f"}]},
            7,
            "1 Pool(s)",
        ),
        ("control-character",),
    ),
    "invalid UTF-8 in strings": (
        whole('"POOLS":[{"User":"caf@","Worker":"@ü@","Note":"@"}]')
        .encode()
        .replace(b"caf@", b"caf\xe9")
        .replace(b"@\xc3\xbc@", b"\xff\xc3\xbc\xc3")
        .replace(b"@", b"\xe2\x82"),
        parsed({"POOLS": [{"User": "caf\ufffd", "Worker": "\ufffdü\ufffd", "Note": "\ufffd"}]}),
        ("invalid-utf-8",),
    ),
    "a surrogate as bytes, and UTF-8 longer than need be": (
        whole('"POOLS":[{"User":"@","Worker":"#"}]')
        .encode()
        .replace(b"@", b"\xed\xa0\x80")
        .replace(b"#", b"\xc0\xaf"),
        parsed({"POOLS": [{"User": "\ufffd" * 3, "Worker": "\ufffd" * 2}]}),
        ("invalid-utf-8",),
    ),
    "two sections without a comma (cgminer setconfig)": (
        '{"STATUS":[{"STATUS":"S","When":1700000000,"Code":76,"Msg":"Set config \'expiry\' to 30",'
        '"Description":"cgminer 4.11.1"}]{"STATUS":[{"STATUS":"E","When":1700000000,"Code":79,'
        '"Msg":"Unknown config \'expiry\'","Description":"cgminer 4.11.1"}],"id":1}',
        {
            "STATUS": [
                {
                    "STATUS": "S",
                    "When": 1700000000,
                    "Code": 76,
                    "Msg": "Set config 'expiry' to 30",
                    "Description": "cgminer 4.11.1",
                },
                {
                    "STATUS": "E",
                    "When": 1700000000,
                    "Code": 79,
                    "Msg": "Unknown config 'expiry'",
                    "Description": "cgminer 4.11.1",
                },
            ],
            "id": 1,
        },
        ("joined-sections",),
    ),
    "an object's members inside array brackets (Whatsminer 2.0.4)": (
        whole('"Msg":{"error_code":["531":"2022-11-02 07:21:33","541":"2022-11-02 07:22:02"],"power":3}'),
        parsed(
            {
                "Msg": {
                    "error_code": {"531": "2022-11-02 07:21:33", "541": "2022-11-02 07:22:02"},
                    "power": 3,
                }
            }
        ),
        ("array-of-members",),
    ),
    "members inside array brackets, with arrays in them": (
        whole('"Msg":[ "a" : [1,[2,{"b":[]}]], "c":["d":"e"] ]'),
        parsed({"Msg": {"a": [1, [2, {"b": []}]], "c": {"d": "e"}}}),
        ("array-of-members",),
    ),
    "BYE without its name (old sgminer)": (
        '{"BYE","id":1}',
        {"STATUS": "BYE", "id": 1},
        ("bare-status",),
    ),
    "RESTART without its name, with spaces": (
        ' { "RESTART" , "id" : 1 }\n',
        {"STATUS": "RESTART", "id": 1},
        ("bare-status",),
    ),
    "a bracket too many before the end (old cgminer notify)": (
        whole('"NOTIFY":[{"NOTIFY":0,"Name":"BFL","ID":0},{"NOTIFY":1,"Name":"BFL","ID":1}]]', 60, "Notify"),
        parsed(
            {"NOTIFY": [{"NOTIFY": 0, "Name": "BFL", "ID": 0}, {"NOTIFY": 1, "Name": "BFL", "ID": 1}]},
            60,
            "Notify",
        ),
        ("extra-bracket",),
    ),
    "a bracket too many, the last but one character": (
        whole('"NOTIFY":[{"NOTIFY":0}]')[:-1] + "]}",
        parsed({"NOTIFY": [{"NOTIFY": 0}]}),
        ("extra-bracket",),
    ),
    "a byte order mark (.NET)": (
        "\ufeff" + whole('"a":1'),
        parsed({"a": 1}),
        ("byte-order-mark",),
    ),
    "several faults at once": (
        whole('"STATS":[,{"Type":"S\'9","t":nan,}{"Path":"C:\\data\n"}]]', 70, "it\\'s"),
        parsed({"STATS": [{"Type": "S'9", "t": None}, {"Path": "C:\\data\n"}]}, 70, "it's"),
        (
            "not-a-number",
            "stray-comma",
            "trailing-comma",
            "missing-comma",
            "extra-bracket",
            "bad-escape",
            "control-character",
        ),
    ),
}


def encoded(reply: bytes | str) -> bytes:
    """A row's reply as bytes."""
    return reply if isinstance(reply, bytes) else reply.encode()


@pytest.mark.parametrize("row", REPAIRABLE)
def test_repairable_reply(row: str) -> None:
    """A known fault is mended, and the repairs are named, each once."""
    reply, expected, repairs = REPAIRABLE[row]
    with pytest.raises(ValueError, match=r"."):
        strict(encoded(reply))
    repaired = read_reply(encoded(reply))
    assert plain(repaired.body) == expected
    assert repaired.repairs == repairs


@pytest.mark.parametrize("row", REPAIRABLE)
def test_a_repaired_reply_needs_no_repair(row: str) -> None:
    """What was repaired passes as it is the next time."""
    repaired = read_reply(encoded(REPAIRABLE[row][0]))
    assert read_reply(repaired.body) == Reply(repaired.body)


def test_every_repair_has_a_row() -> None:
    """Each repair that the code names is shown by a row of the table."""
    shown = {name for _, _, repairs in REPAIRABLE.values() for name in repairs}
    assert shown == REPAIRS - {"tail"}  # see TAILS
    assert {name for name, *_ in (*STRUCTURE_REPAIRS, *STRING_REPAIRS)} < REPAIRS


TAILS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "a brace after the end": (
        whole('"a":1') + "}",
        parsed({"a": 1}),
        ("tail",),
    ),
    "a quote and a brace after the end": (
        whole('"a":1') + '"}\n',
        parsed({"a": 1}),
        ("tail",),
    ),
    "the end twice, as BFGMiner's second answer to one request": (
        whole('"a":1') + ',"id":1}',
        parsed({"a": 1}),
        ("tail",),
    ),
    "a tail, a byte order mark and another fault": (
        "\ufeff" + whole('"a":[nan,]') + '"}',
        parsed({"a": [None]}),
        ("byte-order-mark", "tail", "not-a-number", "trailing-comma"),
    ),
}


@pytest.mark.parametrize("row", TAILS)
def test_tail(row: str) -> None:
    """What follows a whole reply and tells nothing is left out, by name."""
    text, expected, repairs = TAILS[row]
    reply = read_reply(text.encode())
    assert strict(reply.body) == strict(json.dumps(expected).encode())
    assert set(reply.repairs) == set(repairs)
    assert read_reply(reply.body) == Reply(reply.body)
    assert strict(read_reply(text.encode(), pretty=True).body) == strict(reply.body)


STATUS = '{"STATUS":"S","When":1700000000,"Code":11,"Msg":"Summary","Description":"x 1"}'
VALID = {
    "numbers as strings (Antminer D3)": whole('"SUMMARY":[{"Accepted":"  5.0000","GHS 5s":"15679.6"}]'),
    "STATUS a string (cgminer quit)": '{"STATUS":"BYE","id":1}',
    "STATUS an object (Whatsminer)": '{"STATUS":{"STATUS":"S","When":1},"id":1}',
    "a duplicate key": '{"x":[{"STATUS":[]}],"x":[{"STATUS":[]}],"id":1}',
    "a lone surrogate, escaped": whole(r'"POOLS":[{"User":"\ud800\udc00 \ud83d"}]'),
    "every escape": whole(r'"POOLS":[{"User":"\" \\ \/ \b \f \n \r \t \u0000 \u00E9"}]'),
    "white space all about": f' \r\n\t{{ "STATUS" : [ {STATUS} ] , "id" : 1 }} \n',
    "an array": '[1,"a",{},[]]',
    "numbers of every form": whole('"N":[0,-0,0.00,-1.5e-10,1E+400,99999999.000000,18446744073709551616]'),
    "non-ASCII and DEL": whole('"POOLS":[{"User":"Zoë ☃ 𝄞 \u2028 \x7f \ufeff"}]'),
}


@pytest.mark.parametrize("name", VALID)
def test_valid_reply(name: str) -> None:
    """Valid JSON, however odd, passes byte for byte."""
    data = VALID[name].encode()
    assert read_reply(data) == Reply(data)


@pytest.mark.parametrize("name", captures())
def test_captured_reply(name: str) -> None:
    """What real miners sent passes byte for byte, but for the reply to `+`, which is no JSON."""
    data = captures()[name]
    if name.endswith("/+"):
        assert data == HEADLESS
        assert refusal(data).name == "not-json"
    else:
        strict(data)
        assert read_reply(data) == Reply(data)


def test_the_captures_are_there() -> None:
    """The captured replies of three miners are tested, not none."""
    names = captures()
    assert [sum(name.startswith(software) for name in names) for software in SOFTWARE] == [26, 26, 26]


# --- Strings are data -----------------------------------------------------------------------------

# What looks like a fault, and inside a string is none.
DATA = [
    "}{",
    "[,{",
    ",}",
    ", ]",
    "nan",
    "-inf",
    "Infinity",
    "NaN",
    r"]{\"STATUS\":[{",
    r"}]{\"STATUS\":[{",
    r"\"\"temp0\"",
    r"[\"a\":\"b\"]",
    r"{\"BYE\",",
    "]]}",
    r"\\",
    r"\\\"",
    r"\\'",
    r"\"}{\"",
    "[[[[{{{{",
    "STATUS=E,When=1|",
    "\ufffd",
    "'",
]


@pytest.mark.parametrize("text", DATA)
def test_strings_stay_in_a_valid_reply(text: str) -> None:
    """A reply is not touched for what its strings say."""
    data = whole(f'"POOLS":[{{"User":"{text}","{text}":"{text}{text}"}}]').encode()
    assert read_reply(data) == Reply(data)


@pytest.mark.parametrize("text", DATA)
@pytest.mark.parametrize("row", REPAIRABLE)
def test_strings_stay_in_a_repaired_reply(row: str, text: str) -> None:
    """Nor are the strings beside a fault that is mended."""
    reply, _, repairs = REPAIRABLE[row]
    data = encoded(reply).rstrip()
    assert data.endswith(b"}")
    member = f',"Note {text}":["{text}","{text}{text}"]'.encode()
    repaired = read_reply(data[:-1] + member + b"}")
    said = json.loads(f'"{text}"')
    assert plain(repaired.body)[f"Note {said}"] == [said, said * 2]
    assert repaired.repairs == repairs


# --- What is refused ------------------------------------------------------------------------------

BROKEN = {
    "a raw control character between values": '{"STATUS":\x01[]}',
    "a form feed between values": '{"STATUS":\x0c[]}',
    "a no-break space between values": '{"STATUS":\u00a0[]}',
    "garbage after the end": whole('"a":1') + "garbage",
    "a second reply after the first": whole('"a":1') * 2,
    "a number with a leading zero": whole('"a":012'),
    "a number with a sign": whole('"a":+1'),
    "a number without its fraction": whole('"a":1.'),
    "a number without its whole part": whole('"a":.5'),
    "a number in hexadecimal": whole('"a":0x1F'),
    "a number in other digits": whole('"a":١٢'),
    "a name without quotes": whole("a:1"),
    "a string in apostrophes": whole("\"a\":'b'"),
    "a literal in capitals": whole('"a":True'),
    "a comment": whole('"a":1 /* one */'),
    "a name without a value": whole('"a":'),
    "two commas": whole('"a":1,,"b":2'),
    "a brace where a bracket should be": whole('"a":[1}'),
    "a bracket instead of a brace in the middle": whole('"a":[{"b":1],"c":2'),
    "quotes inside a string": whole('"Msg":"say "hello" now"'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_reply(name: str) -> None:
    """What is no JSON, and has no known fault, is refused."""
    with pytest.raises(ValueError, match=r"."):
        strict(BROKEN[name].encode())
    assert refusal(BROKEN[name].encode()).name in ("not-json", "cut-off")


@pytest.mark.parametrize("tail", ["garbage", '"garbage', "{", '{"STATUS":[]}', '"}x', "null", "[1]", "\\"])
@pytest.mark.parametrize("body", [whole('"a":1'), whole('"a":[1,]')])
def test_more_after_the_end(body: str, tail: str) -> None:
    """What goes on after its end, and may tell something there, is refused as that: nothing was cut off."""
    error = refusal((body + tail).encode())
    assert error.name in ("not-json", "cut-off")
    if ",]" not in body:
        assert error.name == "not-json"
        assert f"after its end, with {json.dumps(tail)}" in str(error)


@pytest.mark.parametrize("data", [b'{"a":\xff}', b'\xff{"a":1}', b'{"a":1}\xc3', b'{"a":tr\xc3\xbce}'])
def test_invalid_utf8_between_values(data: bytes) -> None:
    """Invalid UTF-8 that is in no string is refused."""
    refusal(data)


@pytest.mark.parametrize(
    "text",
    [
        "NAME=cpuminer-multi;VER=1.3.1;API=1.0;ALGO=scrypt;CPUS=4;KHS=3258.59;ACC=12;REJ=0;UPTIME=99|",
        "CPU=0;KHS=814.65|CPU=1;KHS=814.60|CPU=2;KHS=814.65|\n",
    ],
)
def test_text_protocol_reply(text: str) -> None:
    """A reply in the text protocol of cpuminer and ccminer is refused here as what it is, and shown."""
    error = refusal(text.encode())
    assert error.name == "text-protocol"
    assert "text protocol" in str(error)
    assert text[:40] in str(error)


def test_cgminers_own_text() -> None:
    """A reply in the text form of cgminer's API is read as JSON, and said to be translated."""
    reply = read_reply(b"STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=22,MHS av=0.00|", pretty=True)
    assert reply.translated
    assert json.loads(reply.body)["SUMMARY"] == [{"Elapsed": 22, "MHS av": 0}]
    assert reply.body.count(b"\n") > 5
    assert refusal(b"STATUS=S,When=1,Code=11,Msg=Sum").name == "text-protocol"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"Socket connect failed: Connection refused\n", "Socket connect failed: Connection refused"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"<html>", "<html>"),
        (b"", '""'),
        (b" \n", '""'),
        (b"\xff\xfe\x01binary", "binary"),
        (HEADLESS, "id"),
    ],
)
def test_plain_text_reply(data: bytes, shown: str) -> None:
    """Plain text is refused, with its beginning in the message, in printable ASCII."""
    error = refusal(data)
    assert error.name == "not-json"
    assert shown in str(error)
    assert re.fullmatch(r"[ -~]*", str(error))


CUT = (
    "cgminer-4.11.1/summary+pools+devs",
    "cgminer-4.11.1/stats",
    "bfgminer-5.5.0/pools",
    "bfgminer-5.5.0/version",
    "sgminer-5.1.1/config",
    "sgminer-5.1.1/usbstats",
)


@pytest.mark.parametrize("name", CUT)
def test_cut_reply(name: str) -> None:
    """A reply that ends early is refused as cut off, wherever it was cut."""
    data = captures()[name]
    for length in range(1, len(data)):
        error = refusal(data[:length])
        assert error.name == "cut-off", data[:length]
        assert f" {length} bytes" in str(error)


@pytest.mark.parametrize("row", REPAIRABLE)
def test_cut_reply_with_a_fault(row: str) -> None:
    """A reply with a known fault is not mended into a whole one when it was cut."""
    data = encoded(REPAIRABLE[row][0]).strip()
    for length in range(len(data)):
        refusal(data[:length])


# --- Numbers and depth ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "1" * 5000, "0." + "9" * 5000, "1e" + "9" * 5000, "1" * 5000 + ".0e-9"]
)
@pytest.mark.parametrize("pretty", [False, True])
def test_long_number(number: str, pretty: bool) -> None:
    """A number of thousands of digits passes, each of them."""
    for data, repairs in ((f'{{"a":{number}}}', ()), (f'{{"a":{number},}}', ("trailing-comma",))):
        reply = read_reply(data.encode(), pretty)
        assert strict(reply.body) == {"a": number}
        assert reply.repairs == repairs


NESTINGS: dict[str, Callable[[int], str]] = {
    "arrays": lambda depth: "[" * depth + "]" * depth,
    "objects": lambda depth: '{"a":' * depth + "1" + "}" * depth,
    "both": lambda depth: '[{"a":' * (depth // 2) + ("[]" if depth % 2 else "1") + "}]" * (depth // 2),
    "objects in arrays beside others": lambda depth: "[{},[]," * (depth - 1) + "[]" + "]" * (depth - 1),
}


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("pretty", [False, True])
def test_deepest_reply(nesting: str, pretty: bool) -> None:
    """A reply may nest as deep as MAX_DEPTH."""
    data = NESTINGS[nesting](MAX_DEPTH).encode()
    strict(data)
    assert strict(read_reply(data, pretty).body) == strict(data)


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, MAX_DEPTH + 2, 2 * MAX_DEPTH, 200, 5000])
def test_too_deep_reply(nesting: str, depth: int) -> None:
    """One level more is refused, and says so."""
    data = NESTINGS[nesting](depth).encode()
    error = refusal(data)
    assert error.name == "too-deep"
    assert str(MAX_DEPTH) in str(error)


@pytest.mark.parametrize("unit", ["[", '{"a":', '[{"a":', '{"a":[', '[["a":', "[,", "[[]"])
@pytest.mark.parametrize("count", [1000, 100_000])
def test_endless_opening(unit: str, count: int) -> None:
    """Thousands of brackets that only open are refused, in replies and in bodies."""
    data = (unit * count).encode()
    refusal(data)
    with pytest.raises(ChiError) as caught:
        read_body(data)
    assert (caught.value.name, caught.value.status) == ("bad-body", 400)


@pytest.mark.parametrize("nesting", NESTINGS)
def test_deep_body(nesting: str) -> None:
    """A request's body may nest as deep as a reply, and one level more is a 400."""

    def body(depth: int) -> bytes:
        return b'{"command":"x","data":' + NESTINGS[nesting](depth - 1).encode() + b"}"

    assert read_body(body(MAX_DEPTH)).request == body(MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 2 * MAX_DEPTH, 5000):
        with pytest.raises(ChiError) as caught:
            read_body(body(depth))
        assert (caught.value.name, caught.value.status) == ("bad-body", 400)
        assert str(MAX_DEPTH) in str(caught.value)


def test_brackets_in_strings_do_not_nest() -> None:
    """Brackets in strings are no nesting, escaped quotes about them or not."""
    text = "[{" * 5000 + r"\"[\\" + "[" * 5000
    data = whole(f'"a":"{text}","b":["{text}"]').encode()
    assert read_reply(data) == Reply(data)
    assert read_reply(data[:-1] + b",}").repairs == ("trailing-comma",)
    body = b'{"command":"x","parameter":"' + b"[{" * 500 + b'"}'
    assert read_body(body).request == body


def test_wide_is_not_deep() -> None:
    """A reply of many brackets beside each other passes, and is mended."""
    entries = ",".join(['{"a":[{"b":[]},{}]}'] * 5000)
    data = whole(f'"STATS":[{entries}]').encode()
    assert read_reply(data) == Reply(data)
    assert read_reply(data.replace(b"},{}", b"}{}")).repairs == ("missing-comma",)


SMALL_STACK = """
import itertools, threading
from chi.requests import read_body
from chi.errors import ChiError
from chi.miner.replies import read_reply
from tests.miner.test_replies import NESTINGS

def texts():
    for nesting in NESTINGS.values():
        for depth in (63, 64, 65, 100, 128, 129, 192, 193, 1000, 20_000):
            text = nesting(depth)
            yield from (text, text[: -depth // 2], text + "]", text + ",")

def work():
    reads = (read_reply, lambda data: read_reply(data, True), read_body)
    for text, read in itertools.product(texts(), reads):
        for data in (text, '{"command":"x","data":' + text + "}"):
            try:
                read(data.encode())
            except ChiError:
                pass
    print("whole")

threading.stack_size(128 << 10)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_nesting_on_a_small_stack() -> None:
    """No nesting, refused or not, overflows a thread's stack of 128 KiB (musl's)."""
    done = subprocess.run([sys.executable, "-c", SMALL_STACK], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


# --- Time -----------------------------------------------------------------------------------------


def filled(before: str, unit: str, after: str = "") -> Callable[[int], bytes]:
    """A function: length to a text of about that many bytes, `unit` again and again between two others."""
    return lambda length: (before + unit * (length // len(unit)) + after).encode("latin-1")


# Each is what some scan would take a time for that is quadratic in its length, if it were written badly.
HOSTILE = {
    "}{": filled("", "}{"),
    "{}{}": filled('{"a":[', "{}", "]}"),
    "[,": filled("", "[,"),
    "[,],": filled('{"a":[', "[,],", "1]}"),
    "bad escapes, one a string": filled("[", r'"\q",', "1]"),
    "bad escapes, one string": filled('["', r"\q", '"]'),
    "apostrophes": filled('["', r"\'", '"]'),
    "half an escape": filled('["', r"\u", '"]'),
    "backslashes": filled('["', "\\", '\\q"]'),
    "backslashes alone": filled("", "\\"),
    "escaped quotes": filled('{"a":"', r"\"", ""),
    "extra brackets": filled("", "[]]"),
    "extra brackets in an object": filled('{"a":', "[]]", "}"),
    "arrays of members": filled("[", '["a":1],', "1]"),
    "nested arrays of members": filled("", '["a":'),
    "spaces, then a fault": filled('{"a":1', " ", "x}"),
    "spaces after {": filled("{", " ", '"a"'),
    "spaces after a status": filled('{"BYE"', " ", "x"),
    "spaces after [": filled("[", " ", '"a"'),
    "spaces after [,": filled("[", " ,", "1]"),
    "spaces after }": filled('{"a":[{}', " ", "]}"),
    "spaces alone": filled("", " ", "x"),
    "new lines": filled('{"a":1', "\n", ",}"),
    "control characters": filled('{"a":"', "\x01", '"}'),
    "control characters between values": filled('{"a":', "\x01", "}"),
    "empty strings": filled('{"a":', '""', "}"),
    "quotes": filled("[", '"', "]"),
    "nan": filled("[", "nan,", "1]"),
    "nan together": filled("[", "nan", "]"),
    "signs": filled("[", "-+", "nan]"),
    "commas": filled('{"a":1', ",", "}"),
    "commas and spaces": filled('{"a":1', " ,", "}"),
    "joined sections": filled("", '{"a":1}]{"STATUS":[{'),
    "nearly joined sections": filled("{", '}]{"STATUS":['),
    "arrays that open": filled("", "["),
    "objects that open": filled("", '{"a":'),
    "objects and arrays that do not match": filled("[", "[}"),
    "pairs that do not match": filled("", "{[]}"),
    "closing brackets": filled("[", "]"),
    "digits": filled("[", "9", "]"),
    "digits, then a fault": filled("[", "9", ",]"),
    "a fraction": filled("[0.", "9", ",]"),
    "an exponent": filled("[1e", "9", ",]"),
    "invalid UTF-8": filled('["', "\xff", '"]'),
    "capitals": filled("", "A"),
    "capitals and spaces": filled("", "A "),
    "text with no end": filled("A=", "a"),
    "text with ends": filled("A=", "|", "{"),
    "cut in a string": filled('{"a":"', "x"),
    "small objects": filled("[", '{"a":1},', "1,]"),
    "words": filled("[", "word ", "]"),
}


def timed(data: bytes, pretty: bool = False) -> float:
    """The seconds of processor time that a reply takes, whatever comes of it."""
    began = time.thread_time()
    try:
        strictly = read_reply(data, pretty).body
    except ChiError:
        strictly = b""
    took = time.thread_time() - began
    if len(data) < 1_000_000 and strictly:
        strict(strictly)
    return took


def growth(make: Callable[[int], bytes], pretty: bool = False) -> float:
    """How many times as long eight times the input takes: 8 where it is linear, 64 where it is quadratic."""
    ratios = []
    for _ in range(5):  # a busy machine's caches and clock may spoil a comparison, but not each
        short = min(timed(make(30_000), pretty) for _ in range(3))
        long = min(timed(make(240_000), pretty) for _ in range(3))
        # What takes less than a millisecond is too short to compare.
        ratios.append(long / max(short, 0.001))
        if ratios[-1] < 40:
            break
    return min(ratios)


@pytest.mark.parametrize("name", HOSTILE)
def test_linear_time(name: str) -> None:
    """Eight times the hostile input takes about eight times as long, not 64 times."""
    assert growth(HOSTILE[name]) < 40


@pytest.mark.parametrize("unit", ["[],", "{},", '"",', "0,", '{"a":1},'])
def test_what_is_dear_is_refused(unit: str) -> None:
    """What has too many brackets, quotes and commas is not repaired or indented, but passes if valid."""
    marks = sum(map(unit.count, '"[]{},'))
    few, many = ("[" + unit * (count // marks) + "0" for count in (149_000, 151_000))
    assert read_reply(few.encode() + b",]").repairs == ("trailing-comma",)
    assert read_reply(few.encode() + b"]", pretty=True).body.count(b"\n") > 10_000
    assert read_reply(many.encode() + b"]").body == many.encode() + b"]"
    assert refusal(many.encode() + b",]").name == "not-json"
    assert refusal(many.encode() + b"]", pretty=True).name == "pretty-too-large"


@pytest.mark.parametrize("depth", [10, 60])
def test_what_grows_too_much_is_not_indented(depth: int) -> None:
    """Indented, a reply has no more than four times the bytes that one may have."""
    few, many = ("[" * depth + "0," * count + "0" + "]" * depth for count in (MAX_PRETTY // 200, 120_000))
    assert len(read_reply(few.encode(), pretty=True).body) <= MAX_PRETTY
    assert refusal(many.encode(), pretty=True).name == "pretty-too-large"


def test_a_repair_that_grows_too_much_is_refused() -> None:
    """A control character becomes six; the body that a client gets is bounded all the same."""
    assert read_reply(b'["' + b"\x01" * 300_000 + b'"]').repairs == ("control-character",)
    assert refusal(b'["' + b"\x01" * 500_000 + b'"]').name == "reply-too-large"


@pytest.mark.parametrize("name", ["{}{}", "extra brackets", "empty strings"])
def test_ten_megabytes(name: str) -> None:
    """Ten megabytes of hostile input take no more than seconds."""
    assert timed(HOSTILE[name](10_000_000)) < 20


def test_pretty_takes_linear_time() -> None:
    """So does indenting."""
    assert growth(filled("[", r'{"a\"":[1, "\\"]},', "1]"), pretty=True) < 40


# --- Indented -------------------------------------------------------------------------------------

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+|\s+', re.DOTALL)


def tokens(text: str) -> list[str]:
    """The tokens of JSON, each as it is written, white space left out."""
    return [token for token in TOKEN.findall(text) if not token.isspace()]


@pytest.mark.parametrize("name", [*captures(), *VALID])
def test_pretty_keeps_every_token(name: str) -> None:
    """Indented, a reply has the same tokens in the same order, each as the miner wrote it."""
    data = captures().get(name) or VALID[name].encode()
    if data == HEADLESS:
        assert refusal(data, pretty=True).name == "not-json"
        return
    body = read_reply(data, pretty=True).body
    strict(body)
    assert tokens(body.decode()) == tokens(data.decode())
    assert body.endswith(b"\n")


def test_pretty() -> None:
    """Indented, a reply has a line for each member and entry, and two spaces a level."""
    data = r'{"a":[1.00,{"b\"[,":"\u00e9\\"},[],{ }],"a":18446744073709551616,"c":{"d":-0}}'
    assert read_reply(data.encode(), pretty=True).body.decode() == "\n".join(
        [
            "{",
            '  "a": [',
            "    1.00,",
            "    {",
            r'      "b\"[,": "\u00e9\\"',
            "    },",
            "    [],",
            "    {}",
            "  ],",
            '  "a": 18446744073709551616,',
            '  "c": {',
            '    "d": -0',
            "  }",
            "}",
            "",
        ]
    )


def test_pretty_repaired() -> None:
    """A repaired reply is indented too, and keeps the names of its repairs."""
    reply = read_reply(b'{"BYE","id":1,}', pretty=True)
    assert reply == Reply(
        b'{\n  "STATUS": "BYE",\n  "id": 1\n}\n',
        ("bare-status", "trailing-comma"),
    )


# --- Any document, any damage ---------------------------------------------------------------------

# Strings as they are, and as bad as they can be.
NASTY = [
    *(
        "}{",
        "[,{",
        ",}",
        "nan",
        "-inf",
        ']{"STATUS":[{',
        '""',
        '"',
        "\\",
        "\\'",
        "\\q",
        "\\u12",
        "\n",
        "\x01",
    ),
    *("'", "\ufffd", "é", "𝄞", "[", "]", "{", "}", ":", ",", " ", "\x7f", "/", "\\\\", '\\"', "u0041", "n"),
]
CHARACTERS = st.characters(blacklist_categories=["Cs"])
STRINGS = st.lists(
    st.one_of(st.sampled_from(NASTY), st.text(CHARACTERS, max_size=4)),
    max_size=5,
).map("".join)
NUMBERS = st.one_of(
    st.integers(), st.integers(0, 100), st.floats(allow_nan=False, allow_infinity=False), st.just(1 << 64)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS),
    lambda children: st.one_of(
        st.lists(children, max_size=4), st.dictionaries(STRINGS, children, max_size=4)
    ),
    max_leaves=12,
)

Edit = tuple[int, int, str]  # what is from here to there becomes that
Place = tuple[Edit, ...]  # what one damage changes together


class Scan:
    """A JSON text's tokens: where each is, what is around it, and which bracket it is in."""

    def __init__(self, text: str) -> None:
        found = [match for match in TOKEN.finditer(text) if not match[0].isspace()]
        self.tokens = [(match[0], match.start(), match.end()) for match in found]
        self.pairs: list[tuple[int, int]] = []  # the numbers of the tokens that open and close
        stack: list[int] = []
        for number, (token, _, _) in enumerate(self.tokens):
            if token in ("[", "{"):
                stack.append(number)
            elif token in ("]", "}"):
                self.pairs.append((stack.pop(), number))

    def objects(self) -> list[tuple[int, int]]:
        """Where the braces are of each object that is not empty."""
        return [
            (self.tokens[first][1], self.tokens[last][1])
            for first, last in self.pairs
            if self.tokens[first][0] == "{" and last > first + 1
        ]

    def around(self) -> Iterator[tuple[str, tuple[str, int, int], str]]:
        """Each token but the first and the last, with the one before and the one after."""
        for before, this, after in zip(self.tokens, self.tokens[1:], self.tokens[2:]):
            yield before[0], this, after[0]

    def units(self) -> Iterator[tuple[str, int, str]]:
        """Each character or escape of every string: it, where it is, the rest of the string."""
        for token, start, _ in self.tokens:
            if token.startswith('"'):
                for match in re.finditer(r"\\u[0-9a-f]{4}|\\.|[^\\]", token[1:-1], re.DOTALL):
                    yield match[0], start + 1 + match.start(), token[1 + match.end() :]


def lost_comma(between: Callable[[str, str], bool]) -> Callable[[Scan], list[Place]]:
    """The damage of a comma lost, where its neighbours are so."""

    def places(scan: Scan) -> list[Place]:
        return [
            ((start, end, ""),)
            for before, (token, start, end), after in scan.around()
            if token == "," and between(before[-1], after[0])
        ]

    return places


def comma_after_opening(scan: Scan) -> list[Place]:
    """`[,{`"""
    return [((end, end, ","),) for token, _, end in scan.tokens if token in ("[", "{")]


def comma_before_closing(scan: Scan) -> list[Place]:
    """`,}`"""
    return [
        ((start, start, ","),)
        for before, (token, start, _), _ in scan.around()
        if token in ("]", "}") and before not in ("[", "{")
    ]


def no_number(word: str) -> Callable[[Scan], list[Place]]:
    """The damage of a `word` where null would be right."""
    return lambda scan: [((start, end, word),) for token, start, end in scan.tokens if token == "null"]


def escaped_apostrophe(scan: Scan) -> list[Place]:
    r"""`\'`"""
    return [((start, start + 1, "\\'"),) for unit, start, _ in scan.units() if unit == "'"]


def single_backslash(scan: Scan) -> list[Place]:
    r"""`\x`, of `\\x`, where it is not an escape then that JSON knows."""
    known = re.compile(r'["\\/bfnrt]|u[0-9a-fA-F]{4}')
    return [
        ((start, start + 2, "\\"),)
        for unit, start, rest in scan.units()
        if unit == "\\\\" and not known.match(rest) and rest[0] != "'"
    ]


def raw_control_character(scan: Scan) -> list[Place]:
    """A newline, 0x01 ... as such; all but NUL, which ends a reply."""
    return [
        ((start, start + len(unit), json.loads(f'"{unit}"')),)
        for unit, start, _ in scan.units()
        if unit[0] == "\\" and "\0" < json.loads(f'"{unit}"') < " "
    ]


def bad_utf8(data: bytes) -> Callable[[Scan], list[Place]]:
    """The damage of bytes that are no character."""
    raw = data.decode("utf-8", "surrogateescape")
    return lambda scan: [((start, start + 1, raw),) for unit, start, _ in scan.units() if unit == "\ufffd"]


def joined_sections(scan: Scan) -> list[Place]:
    """`}]{"STATUS":[{`, in the first list."""
    opening, closing = min(pair for pair in scan.pairs if scan.tokens[pair[0]][0] == "[")
    between = next(
        number
        for number in range(opening, closing)
        if [token for token, _, _ in scan.tokens[number : number + 3]] == ["}", ",", "{"]
    )
    return [((scan.tokens[between][1], scan.tokens[between + 2][2], '}]{"STATUS":[{'),)]


def members_in_brackets(scan: Scan) -> list[Place]:
    """`["a":"b"]`"""
    return [((first, first + 1, "["), (last, last + 1, "]")) for first, last in scan.objects()]


def extra_bracket(scan: Scan) -> list[Place]:
    """`]` before a `}`"""
    return [((last, last, "]"),) for _, last in scan.objects()]


def bare_status(scan: Scan) -> list[Place]:
    """`{"BYE"`, of `{"STATUS":"BYE"`"""
    return [((scan.tokens[1][1], scan.tokens[3][1], ""),)]


# Name of the damage: the repair that it calls for, and the places where a text can be so damaged. None loses
# anything: null, U+FFFD and such are already in the document where the damage shows no more than that.
DAMAGES: dict[str, tuple[str, Callable[[Scan], list[Place]]]] = {
    "no comma between objects": ("missing-comma", lost_comma(lambda before, after: before + after == "}{")),
    "no comma between strings": ("missing-comma", lost_comma(lambda before, after: before + after == '""')),
    "no comma elsewhere": ("missing-comma", lost_comma(lambda before, after: after in '"[{')),
    "comma after an opening bracket": ("stray-comma", comma_after_opening),
    "comma before a closing bracket": ("trailing-comma", comma_before_closing),
    **{
        word: ("not-a-number", no_number(word))
        for word in ("nan", "inf", "-inf", "-nan", "NaN", "Infinity", "-Infinity")
    },
    "escaped apostrophe": ("bad-escape", escaped_apostrophe),
    "unknown escape": ("bad-escape", single_backslash),
    "control character": ("control-character", raw_control_character),
    "bad byte": ("invalid-utf-8", bad_utf8(b"\xff")),
    "half a character": ("invalid-utf-8", bad_utf8(b"\xe2\x82")),
    "joined sections": ("joined-sections", joined_sections),
    "members in brackets": ("array-of-members", members_in_brackets),
    "extra bracket": ("extra-bracket", extra_bracket),
    "bare status": ("bare-status", bare_status),
}
STATUS_ENTRY = {"STATUS": "S", "When": 1700000000, "Code": 76, "Msg": "It's C:\\data\n\ufffd"}


@st.composite
def replies(draw: st.DrawFn, damage: str = "") -> str:
    """A reply's text around any document, with a place for every damage."""
    reply = {
        "STATUS": "BYE" if damage == "bare status" else [STATUS_ENTRY, {**STATUS_ENTRY, "STATUS": "E"}],
        "STATS": draw(VALUES),
        **draw(st.dictionaries(STRINGS.filter(lambda name: name != "STATUS"), VALUES, max_size=2)),
        "POOLS": [{"URL": "", "User": "x"}, {"Temperature": None, "[{": {"\\z": []}}, [[], {}]],
        "id": 1,
    }
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    return json.dumps(reply, ensure_ascii=False, separators=separators)


def damaged(text: str, places: list[Place]) -> bytes:
    """The text with `places` damaged, but for those that overlap."""
    edits: list[Edit] = []
    for place in places:
        if not any(start < there[1] and end > there[0] for start, end, _ in place for there in edits):
            edits += place
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text.encode("utf-8", "surrogateescape")


def said(text: str) -> list[Any]:
    """What a JSON text says: its tokens, strings without regard to how they are escaped."""
    return [json.loads(token) if token[0] == '"' else token for token in tokens(text)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damaged_document(damage: str) -> None:
    """Any document, damaged in any places by a row of the table, comes out valid, equal, and so named."""
    repair, find = DAMAGES[damage]

    @given(st.data())
    def check(data: st.DataObject) -> None:
        text = data.draw(replies(damage))
        places = data.draw(st.lists(st.sampled_from(find(Scan(text))), min_size=1, max_size=4, unique=True))
        reply = read_reply(damaged(text, places))
        strict(reply.body)
        assert said(reply.body.decode()) == said(text)
        assert reply.repairs == (repair,)

    check()


def check_anything(data: bytes) -> Reply | None:
    """Whatever comes, the outcome is a 502 or valid JSON: as it came if no repair is named, and only then."""
    try:
        reply = read_reply(data)
    except ChiError as caught:
        error = caught
    else:
        strict(reply.body)
        assert (reply.body == data) == (not reply.repairs)
        indented = read_reply(data, pretty=True)
        assert tokens(indented.body.decode()) == tokens(reply.body.decode())
        assert indented.repairs == reply.repairs
        return reply
    assert error.status == 502
    assert str(error).isprintable()
    return None


@given(st.data())
def test_any_damages_together(data: st.DataObject) -> None:
    """Damaged by several rows at once, a document comes out valid and says the same, or is refused."""
    text = data.draw(replies())
    scan = Scan(text)
    rows = st.sampled_from([find for name, (_, find) in DAMAGES.items() if name != "bare status"])
    places = [data.draw(st.sampled_from(find(scan))) for find in data.draw(st.lists(rows, max_size=4))]
    reply = check_anything(damaged(text, places))
    if reply:
        assert said(reply.body.decode()) == said(text)


@given(st.data())
def test_any_damaged_document_that_was_cut(data: st.DataObject) -> None:
    """A damaged document that was cut, too, is refused."""
    damage = data.draw(st.sampled_from(sorted(DAMAGES)))
    text = data.draw(replies(damage))
    places = data.draw(st.lists(st.sampled_from(DAMAGES[damage][1](Scan(text))), max_size=2))
    reply = damaged(text, places)
    refusal(reply[: data.draw(st.integers(0, len(reply) - 1))])


@given(replies())
def test_any_document(text: str) -> None:
    """Any document passes byte for byte, and its indented form is that of Python's json."""
    assert read_reply(text.encode()) == Reply(text.encode())
    body = read_reply(text.encode(), pretty=True).body.decode()
    assert body == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n"


FRAGMENTS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'"a"', b'"a":', b"1", b"-", b"nan", b"null", b"true"),
    *(b" ", b"'", b"\x01", b"\0", b"\xff", b"\xc3\xa9", b"u00e9", b"STATUS=", b"|"),
    *(b'"STATUS":[{', b'}]{"STATUS":[{', b'{"BYE",'),
]


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(b"".join),
        st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(lambda parts: b"{" + b"".join(parts) + b"}"),
    )
)
def test_random_bytes(data: bytes) -> None:
    """Random bytes bring a valid reply or a 502, and nothing else."""
    check_anything(data)


@given(
    st.sampled_from(sorted(captures())),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 3),
            st.one_of(st.binary(max_size=3), st.sampled_from([*FRAGMENTS, b""])),
        ),
        max_size=4,
    ),
)
def test_random_mutations(name: str, mutations: list[tuple[float, int, bytes]]) -> None:
    """A captured reply with bytes changed, lost or added brings a valid reply or a 502, and nothing else."""
    data = captures()[name]
    for where, length, replacement in mutations:
        start = int(where * len(data))
        data = data[:start] + replacement + data[start + length :]
    check_anything(data)
