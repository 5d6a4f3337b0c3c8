"""The text protocol of cpuminer and ccminer: what is sent, and what its replies become.

Expected values are those of real miners (tests/data/captures-text) and of the CGMiner API's own replies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chi.errors import ChiError
from chi.miner.replies import parse_json
from chi.miner.text import hashrate, is_complete, is_summary, read_records, translate
from chi.miner.text_requests import (
    COMPOSED,
    MAX_POOLS,
    MAX_TEXT_REQUEST,
    NATIVE,
    REPORTS,
    SUMMARY,
    WRITES,
    next_request,
    read_request,
)

CAPTURES = Path(__file__).parents[1] / "data" / "captures-text"
CCMINER, MULTI, OPT = "ccminer-verus-cpu-3.7.1", "cpuminer-multi-1.3.7", "cpuminer-opt-26.1"
NOW = 1_800_000_000.5

# A rig of two graphics cards and two pools, with the fields that ccminer 2.3.1 has; the figures are made up.
RIG = {
    b"summary": b"NAME=ccminer;VER=2.3.1;API=1.9;ALGO=lyra2v2;GPUS=2;KHS=71234.56;SOLV=1;ACC=80;REJ=2;"
    b"ACCMN=4.000;DIFF=123.456789;NETKHS=0;POOLS=2;WAIT=0;UPTIME=1200;TS=1700000100|",
    b"threads": b"GPU=0;BUS=1;CARD=GTX 1070;TEMP=61.0;POWER=120500;FAN=55;RPM=1800;FREQ=1506;MEMFREQ=4004;"
    b"GPUF=1873;MEMF=3802;KHS=36000.00;KHW=298.75488;PLIM=151000;ACC=41;REJ=1;HWF=3;I=20.0;THR=1048576|"
    b"GPU=1;BUS=2;CARD=GTX 1070;TEMP=0.0;POWER=0;FAN=0;RPM=0;FREQ=1506;MEMFREQ=4004;GPUF=0;"
    b"MEMF=0;KHS=35234.56;KHW=0.00000;PLIM=0;ACC=39;REJ=1;HWF=0;I=20.0;THR=1048576|",
    b"pool|0": b"POOL=main;ALGO=lyra2v2;URL=stratum+tcp://a.example.com:1;USER=wallet;SOLV=0;ACC=79;REJ=2;STALE=1;"
    b"H=5;JOB=ab12;DIFF=1.0;BEST=2.5;N2SZ=4;N2=0x0;PING=9;DISCO=0;WAIT=0;UPTIME=1200;LAST=30|",
    b"pool|1": b"POOL=backup;ALGO=lyra2v2;URL=stratum+tcp://b.example.com:1;USER=wallet;SOLV=0;ACC=1;REJ=0;STALE=0;"
    b"H=5;JOB=ab12;DIFF=1.0;BEST=0.0;N2SZ=4;N2=;PING=0;DISCO=0;WAIT=0;UPTIME=0;LAST=0|",
    b"pool": b"POOL=main;ALGO=lyra2v2;URL=stratum+tcp://a.example.com:1;USER=wallet;SOLV=0;ACC=79;REJ=2;STALE=1;"
    b"H=5;JOB=ab12;DIFF=1.0;BEST=2.5;N2SZ=4;N2=0x0;PING=9;DISCO=0;WAIT=0;UPTIME=1200;LAST=30|",
}  # fmt: skip


def captured(software: str, request: bytes) -> bytes | None:
    """What a real miner sent, without its NUL; None if it closed the connection instead."""
    reply = (CAPTURES / software / f"{request.decode().replace('|', '_')}.reply").read_bytes()
    return reply.removesuffix(b"\0") if reply else None


def ask(source: Any, command: str, parameter: Any = None) -> Any:
    """The API's JSON, if a miner answers as `source` has it: captures, replies, or one reply for all."""
    plan = read_request({"command": command, "parameter": parameter})
    replies: dict[bytes, bytes | None] = {}
    while (request := next_request(plan, replies)) is not None:
        if isinstance(source, str):
            replies[request] = captured(source, request)
        else:
            replies[request] = source.get(request) if isinstance(source, dict) else source
    return parse_json(translate(plan, replies, "miner 1.0", NOW), parse_int=int)


def status(reply: Any) -> Any:
    """The one entry of STATUS."""
    (entry,) = reply["STATUS"]
    return entry


def outcome(work: Callable[[], Any]) -> tuple[str, Any]:
    """The name of the ChiError that `work` raises, and what it returns."""
    try:
        return "", work()
    except ChiError as error:
        return error.name, None


# --- Requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "parameter", "requests"),
    [
        ("summary", None, [b"summary"]),
        ("summary", "x", [b"summary"]),  # as CGMiner, which ignores it
        ("pool", None, [b"pool"]),
        ("pool", "", [b"pool"]),
        ("pool", "1", [b"pool|1"]),
        ("pool", 1, [b"pool|1"]),
        ("pool", True, [b"pool"]),  # what the API drops
        ("histo", "0", [b"histo|0"]),
        ("switchpool", "1", [b"switchpool|1"]),
        ("switchpool", None, [b"switchpool"]),
        ("seturl", "stratum+tcp://u.1:x@pool.example.com:3333", [b"seturl|stratum+tcp://u.1:x@pool.example.com:3333"]),
        ("seturl", "pool.example.com:3333", [b"seturl|pool.example.com:3333"]),
        ("quit", None, [b"quit"]),
        ("version", None, [b"summary"]),
        ("devs", None, [b"threads"]),
        ("stats", None, [b"summary", b"threads"]),
        ("summary+devs", None, [b"summary", b"threads"]),
        ("summary+", None, [b"summary"]),
        ("summary+quit+seturl+nonsense", None, [b"summary"]),  # the API joins reports alone
        ("+", None, []),
        ("nonsense", None, [b"nonsense"]),
        ("nonsense", "x=1", [b"nonsense|x=1"]),
    ],
)  # fmt: skip
def test_requests(command: str, parameter: Any, requests: list[bytes]) -> None:
    """A request of the API becomes the miner's own, in this order and no more."""
    plan = read_request({"command": command, "parameter": parameter})
    replies: dict[bytes, bytes | None] = {}
    while (request := next_request(plan, replies)) is not None:
        replies[request] = captured(MULTI, request) if request in (b"summary", b"threads") else b""
    assert list(replies) == requests


def test_requests_for_pools() -> None:
    """Each pool is asked for where the summary tells of several; cpuminer is never asked."""
    plan = read_request({"command": "pools"})
    assert next_request(plan, {}) == SUMMARY
    replies: dict[bytes, bytes | None] = {SUMMARY: RIG[SUMMARY]}
    for request in (b"pool|0", b"pool|1", b"pool", None):
        assert next_request(plan, replies) == request
        if request:
            replies[request] = RIG[request]
    for summary in (captured(MULTI, SUMMARY), captured(OPT, SUMMARY), None, b""):
        assert next_request(plan, {SUMMARY: summary}) is None


@pytest.mark.parametrize("told", [b"999999999", b"9" * 40, b"-1", b"x", b""])
def test_requests_for_pools_are_few(told: bytes) -> None:
    """However many pools a miner tells of, it is asked for what it can hold."""
    summary = b"NAME=ccminer;VER=1;GPUS=1;POOLS=%b;TS=1|" % told
    plan = read_request({"command": "pools"})
    replies: dict[bytes, bytes | None] = {SUMMARY: summary}
    while (request := next_request(plan, replies)) is not None:
        replies[request] = b""
    assert len(replies) <= MAX_POOLS + 2


DANGEROUS = [
    ("pool", "-1"), ("pool", "1.5"), ("pool", 1.5), ("pool", "+1"), ("pool", " 1"), ("pool", "1 "),
    ("pool", "x"), ("pool", "٣"), ("pool", "4294967295"), ("pool", "99999999999999999999"), ("histo", "-1"),
    ("scanlog", "0x1"), ("switchpool", "-1"), ("switchpool", "1;2"),
    ("seturl", None), ("seturl", ""), ("seturl", False), ("seturl", " "), ("seturl", "stratum+tcp://"),
    ("seturl", "stratum+tcp://user:x@"), ("seturl", "gopher://host:1"), ("seturl", "/path"), ("seturl", "a@"),
    ("seturl", "stratum+tcp://host:1|quit"), ("seturl", "host:1\nquit"), ("seturl", "host\0quit"),
    ("seturl", "host GET /quit"), ("seturl", "host:1\r"), ("seturl", "\ud800"),
    ("summary", "|"), ("summary", "a\n"), ("summary", "\0"), ("quit", "a|b"), ("summary|quit", None),
    ("GET /quit", None), (" summary", None), ("summary\n", None), ("quit\0", None), ("añadir", None),
    ("nonsense", "GET /quit"), ("nonsense", "x|quit"), ("summary+a|b", None), ("summary+\n", None),
    (None, None), (1, None),
]  # fmt: skip


@pytest.mark.parametrize(("command", "parameter"), DANGEROUS)
def test_dangerous_requests(command: Any, parameter: Any) -> None:
    """What real miners cannot bear is refused by name, and there is nothing to be sent."""
    with pytest.raises(ChiError) as caught:
        read_request({"command": command, "parameter": parameter})
    assert (caught.value.name, caught.value.status) == ("bad-text-request", 400)


def test_longest_request() -> None:
    """A request fits into what these miners read at once."""
    url = "pool.example.com/".ljust(MAX_TEXT_REQUEST - len("seturl|"), "x")
    plan = read_request({"command": "seturl", "parameter": url})
    assert len(plan.request) == MAX_TEXT_REQUEST == 1023
    for longer in (url + "x", url[:-1] + "é"):
        with pytest.raises(ChiError) as caught:
            read_request({"command": "seturl", "parameter": longer})
        assert (caught.value.name, caught.value.status) == ("request-too-large", 413)


NAMES = st.sampled_from([*NATIVE, *COMPOSED, "nonsense", "summary+devs", "summary+quit"])


@given(NAMES | st.text(), st.none() | st.text() | st.integers() | st.floats() | st.booleans())
@example("pool", "1\n")
@example(".", None)
def test_requests_are_harmless(command: str, parameter: Any) -> None:
    """Whatever is asked, what is sent is one line of a known form, or nothing."""
    error, plan = outcome(lambda: read_request({"command": command, "parameter": parameter}))
    request = next_request(plan, {}) if plan else None
    assert error in ("", "bad-text-request", "request-too-large")
    if request is None:
        return
    word, divider, rest = request.partition(b"|")
    assert len(request) <= 1023
    assert word.replace(b"_", b"").replace(b"-", b"").replace(b".", b"").isalnum()
    assert b"GET /" not in request
    assert not any(byte < 32 or byte in b"|\x7f" for byte in rest)
    if word in (b"pool", b"histo", b"scanlog", b"switchpool") and divider:
        assert rest.isdigit()
        assert int(rest) < 2**31
    if plan.joined:
        assert word.decode() in REPORTS


# --- Replies --------------------------------------------------------------------------------------


def test_summary_of_ccminer() -> None:
    """The figures of a real ccminer, under its own names and CGMiner's, beside the API's envelope."""
    reply = ask(CCMINER, "summary")
    assert list(reply) == ["STATUS", "SUMMARY", "id"]
    assert reply["id"] == 1
    assert status(reply) == {
        "STATUS": "S", "When": 1795648729, "Code": 11, "Msg": "Summary", "Description": "ccminer_CPU 3.7.1",
    }  # fmt: skip
    assert reply["SUMMARY"] == [
        {
            "NAME": "ccminer_CPU", "VER": "3.7.1", "API": "1.9", "ALGO": "verus", "GPUS": 1, "KHS": 478.35,
            "SOLV": 283, "ACC": 227, "REJ": 56, "ACCMN": 1135.0, "DIFF": 1.305007, "NETKHS": 0, "POOLS": 2,
            "WAIT": 0, "UPTIME": 12, "TS": 1795648729,
            "Elapsed": 12, "Accepted": 227, "Rejected": 56, "Found Blocks": 283, "Utility": 1135.0,
            "MHS av": 0.47835,
        }
    ]  # fmt: skip


def test_summary_of_cpuminer_opt() -> None:
    """HS is more exact than KHS, and the pool's address is told."""
    (entry,) = ask(OPT, "summary")["SUMMARY"]
    assert entry["MHS av"] == pytest.approx(1.47887376)
    assert (entry["HS"], entry["KHS"], entry["Found Blocks"]) == (1478873.76, 1478.87, 0)
    assert (entry["URL"], entry["TEMP"], entry["Elapsed"]) == ("127.0.0.1:3340", 0.0, 35)


@pytest.mark.parametrize(
    ("software", "name", "version"),
    [(CCMINER, "ccminer_CPU", "3.7.1"), (MULTI, "cpuminer-multi", "1.3.7"), (OPT, "cpuminer-opt", "26.1")],
)
def test_version(software: str, name: str, version: str) -> None:
    """The software's name stands where CGMiner has its own; versions are text."""
    reply = ask(software, "version")
    (entry,) = reply["VERSION"]
    assert next(iter(entry)) == name
    assert (entry[name], entry["VER"], type(entry["API"])) == (version, version, str)
    assert (status(reply)["Code"], status(reply)["Description"]) == (22, f"{name} {version}")


def test_devices() -> None:
    """Threads are devices, whatever unit their key has; a build without a GPU has none."""
    assert ask(MULTI, "devs")["DEVS"] == [{"CPU": 0, "KHS": 3149.12, "MHS av": 3.14912}]
    assert ask(OPT, "devs")["DEVS"] == [{"CPU": 0, "kH/s": 1478.87, "MHS av": 1.47887}]
    none = ask(CCMINER, "devs")
    assert (status(none)["STATUS"], status(none)["Code"]) == ("E", 10)
    assert "DEVS" not in none
    first, second = ask(RIG, "devs")["DEVS"]
    wanted = {
        "GPU": 0, "CARD": "GTX 1070", "POWER": 120500, "Temperature": 61.0, "Fan Percent": 55,
        "Fan Speed": 1800, "GPU Clock": 1873, "Memory Clock": 3802, "Accepted": 41, "Rejected": 1,
        "Hardware Errors": 3, "MHS av": 36.0,
    }  # fmt: skip
    assert {key: first[key] for key in wanted} == wanted
    assert second["GPU Clock"] == 1506
    assert not {"Temperature", "Fan Percent", "Fan Speed"} & second.keys()  # 0 is unknown


def test_pools_of_ccminer() -> None:
    """All pools, in order; that in use is marked, and its last share has a time."""
    reply = ask(RIG, "pools")
    first, second = reply["POOLS"]
    assert status(reply)["Msg"] == "2 Pool(s)"
    assert [pool["POOL"] for pool in (first, second)] == [0, 1]
    assert [pool["Name"] for pool in (first, second)] == ["main", "backup"]
    assert [pool["Stratum Active"] for pool in (first, second)] == [True, False]
    assert (first["Status"], "Status" in second) == ("Alive", False)
    assert (first["User"], first["Accepted"], first["Stale"], first["JOB"]) == ("wallet", 79, 1, "ab12")
    assert first["Last Share Time"] == 1700000100 - 30
    assert "Last Share Time" not in second  # LAST=0 may be now or never


def test_a_pool_without_a_job() -> None:
    """The pool in use that has given no job is not known to be alive."""
    idle = {name: reply.replace(b"JOB=ab12", b"JOB=") for name, reply in RIG.items()}
    first, _ = ask(idle, "pools")["POOLS"]
    assert (first["Stratum Active"], "Status" in first) == (False, False)


def test_pools_of_cpuminer() -> None:
    """cpuminer-opt tells its one pool's address, cpuminer-multi does not."""
    (pool,) = ask(OPT, "pools")["POOLS"]
    assert (pool["POOL"], pool["URL"], pool["Accepted"], pool["Rejected"]) == (0, "127.0.0.1:3340", 2, 0)
    assert status(ask(MULTI, "pools"))["Code"] == 8


def test_the_native_pool() -> None:
    """`pool` has the fields as they are; a name is no number."""
    (pool,) = ask(CCMINER, "pool")["POOL"]
    assert (pool["POOL"], pool["USER"], pool["User"]) == ("first", "user.1", "user.1")
    assert pool["N2"] == "0x02000000"
    assert (pool["BEST"], pool["PING"], pool["JOB"]) == (83054.554455, 6, "1")


def test_config_coin_stats() -> None:
    """The rest of what tools ask for."""
    assert ask(CCMINER, "config")["CONFIG"] == [
        {"ALGO": "verus", "GPUS": 1, "POOLS": 2, "GPU Count": 1, "Pool Count": 2}
    ]
    (coin,) = ask(OPT, "coin")["COIN"]
    assert coin["Hash Method"] == "sha256d"
    assert "Network Difficulty" not in coin  # DIFF may be the share's
    first, second = ask(RIG, "stats")["STATS"]
    assert [(entry["STATS"], entry["ID"], entry["Elapsed"]) for entry in (first, second)] == [
        (0, "GPU0", 1200), (1, "GPU1", 1200),
    ]  # fmt: skip
    assert status(ask(CCMINER, "stats"))["STATUS"] == "E"


def test_other_reports() -> None:
    """Each native report has a section of its name; hexadecimal figures stay text."""
    assert ask(CCMINER, "meminfo")["MEMINFO"] == [{"STATS": 256, "HASHLOG": 1, "MEM": 10288}]
    (hardware,) = ask(CCMINER, "hwinfo")["HWINFO"]
    assert (hardware["OS"], hardware["NVDRIVER"], hardware["CPUS"]) == ("linux 6.1.0-example01", "", 2)
    (scan,) = ask(CCMINER, "scanlog")["SCANLOG"]
    assert (scan["COUNT"], scan["FOUND"], scan["JOB"]) == ("0x17a6df8", 1, "185035981")
    history = ask(CCMINER, "histo")
    assert len(history["HISTO"]) == 50
    assert history["HISTO"][0]["KHS"] == 413346.11
    assert status(history)["When"] == 1795648729
    assert ask(CCMINER, "histo", "9")["HISTO"] == []
    lines = [entry["Line"] for entry in ask(CCMINER, "help")["HELP"]]
    assert lines == ["summary", "threads", "pool", "histo", "hwinfo", "meminfo", "scanlog"]


@pytest.mark.parametrize("command", ["nonsense", "pool", "histo", "hwinfo", "meminfo", "scanlog"])
def test_unknown_commands(command: str) -> None:
    """What a miner closes the connection at, it does not know: the API's own words for that."""
    told = status(ask(MULTI, command))
    assert (told["STATUS"], told["Code"], told["Msg"]) == ("E", 14, "Invalid command")


@pytest.mark.parametrize(
    ("source", "command", "parameter", "severity", "code"),
    [
        (CCMINER, "quit", None, "S", 0),
        (CCMINER, "switchpool", "1", "S", 27),
        (CCMINER, "switchpool", "9", "E", 26),
        (MULTI, "quit", None, "S", 0),
        (b"ok|", "seturl", "host:1", "S", 55),
        (b"fail|", "seturl", "host:1", "E", 53),
        (b"", "seturl", "host:1", "E", 45),
        (b"", "quit", None, "E", 45),
        (b"", "switchpool", None, "E", 45),
        (b"ok|", "nonsense", None, "S", 0),
        (b"fail|", "nonsense", None, "E", 45),
    ],
)  # fmt: skip
def test_writes(source: Any, command: str, parameter: Any, severity: str, code: int) -> None:
    """A write that worked is S; one that failed, or is not allowed, E with CGMiner's code."""
    reply = ask(source, command, parameter)
    assert (status(reply)["STATUS"], status(reply)["Code"]) == (severity, code)
    assert reply.keys() == {"STATUS", "id"}


def test_joined() -> None:
    """A joined reply has a whole reply for each member, and those that are not reports are refused."""
    reply = ask(RIG, "summary+devs+pools+quit+nonsense+version")
    assert list(reply) == ["summary", "devs", "pools", "quit", "nonsense", "version", "id"]
    codes = {name: status(members[0])["Code"] for name, members in reply.items() if name != "id"}
    assert codes == {"summary": 11, "devs": 9, "pools": 7, "quit": 45, "nonsense": 14, "version": 22}
    assert {status(reply[name][0])["Description"] for name in codes} == {"ccminer 2.3.1"}
    assert len(reply["pools"][0]["POOLS"]) == 2
    assert status(ask(RIG, "+"))["Code"] == 14


def test_what_no_reply_tells() -> None:
    """Where the miner tells neither its time nor its name, they are what was handed in."""
    told = status(ask(MULTI, "threads"))
    assert (told["When"], told["Description"]) == (1_800_000_000, "miner 1.0")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (b"HS=5.5;KHS=1.00|", 5.5),
        (b"KHS=2.50|", 2500.0),
        (b"H/s=7.25|", 7.25),
        (b"kH/s=7.25|", 7250.0),
        (b"MH/s=7.25|", 7.25e6),
        (b"GH/s=7.25|", 7.25e9),
        (b"TH/s=7.25|", 7.25e12),
        (b"HS=nan;KHS=3.00|", 3000.0),
        (b"KHS=inf|", None),
        (b"CPU=0|", None),
    ],
)
def test_hashrate(record: bytes, told: float | None) -> None:
    """The unit is in the key; HS goes before KHS; what is no number is not told."""
    (entry,) = read_records(record)
    assert hashrate(entry) == told


def test_values_that_hold_dividers() -> None:
    """Nothing is escaped: a ; without = belongs to the value before, and a = belongs to its value."""
    assert read_records(b"URL=stratum+tcp://a;b:1;USER=x=y;ACC=5|") == [
        {"URL": "stratum+tcp://a;b:1", "USER": "x=y", "ACC": 5}
    ]


def test_many_dividers() -> None:
    """However many there are in a value, they are its own; an empty name is one as well."""
    many = ";" * 60_000
    assert read_records(f"USER=a{many};ACC=5|".encode()) == [{"USER": f"a{many}", "ACC": 5}]
    assert read_records(b"=1;A=2;;=3|") == [{"": "3", "A": "2;"}]


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        (b"A=" + b"x" * 65536 + b"|", "reply-too-large"),
        (b"NAME=cpuminer;VER=1.0;KHS=1", "cut-off"),
        (b"CPU=0;KHS=1.0|CPU=1;K", "cut-off"),
        (b'{"STATUS":[]}', "text-protocol"),
        (b"STATUS=E,When=1,Code=14,Msg=Invalid command|", "text-protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n|", "text-protocol"),
    ],
)
def test_other_replies(reply: bytes, name: str) -> None:
    """A reply of another protocol, or half of one, is refused as what it is."""
    with pytest.raises(ChiError) as caught:
        ask(reply, "threads")
    assert caught.value.name == name


def test_a_write_that_is_answered_with_something_else() -> None:
    """What a write did is not guessed."""
    with pytest.raises(ChiError) as caught:
        ask(b"NAME=x;VER=1|", "switchpool")
    assert caught.value.name == "text-protocol"


def test_recognition() -> None:
    """A text miner is known by its summary, and by nothing else."""
    for software in (CCMINER, MULTI, OPT):
        summary = captured(software, SUMMARY)
        assert summary is not None
        assert is_summary(summary)
        assert is_complete(summary)
    others = (b"", b"STATUS=S,When=1|SUMMARY,Elapsed=1|", b"NAME=x|", b"VER=1;NAME=x|", b'{"NAME=":";VER="}')
    for other in others:
        assert not is_summary(other)


# --- Anything -------------------------------------------------------------------------------------

CAPTURED = [path.read_bytes().removesuffix(b"\0") for path in CAPTURES.glob("*/*.reply")]
REAL = sorted({*CAPTURED, *RIG.values()})
EVERYTHING = sorted({*NATIVE, *COMPOSED, "nonsense", "status", "id"} - {"seturl"})


MARKS = [b"|", b";", b"=", b'"', b"\\", b"\n", b"NaN"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real reply, cut, spliced or with foreign bytes in it."""
    reply = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(reply)))
        end = draw(st.integers(start, min(len(reply), start + 20)))
        reply[start:end] = draw(st.binary(max_size=6) | st.sampled_from(MARKS))
    return bytes(reply[: draw(st.integers(0, len(reply)))]) + draw(st.sampled_from([b"", b"|"]))


@given(
    st.sampled_from([*EVERYTHING, "+".join(EVERYTHING)]),
    st.lists(damaged() | st.none(), min_size=1, max_size=8),
)
def test_any_reply_is_translated_or_refused(command: str, replies: list[bytes | None]) -> None:
    """Whatever a miner sends: strict JSON of the API's shape, or an error with a name."""
    plan = read_request({"command": command})
    answered: dict[bytes, bytes | None] = {}
    while (request := next_request(plan, answered)) is not None:
        answered[request] = replies[len(answered) % len(replies)]
    error, body = outcome(lambda: translate(plan, answered, "x\0\ud800", NOW))
    assert error in ("", "text-protocol", "cut-off", "reply-too-large")
    if error:
        return
    reply = parse_json(body)
    assert body.isascii()
    assert not any(byte < 32 for byte in body)
    assert reply["id"] == 1
    members = [reply[name][0] for name in reply if name != "id"] if plan.joined else [reply]
    for member in members:
        assert status(member)["STATUS"] in ("S", "E")


@given(st.text(st.characters(blacklist_characters="|;=\0"), max_size=40))
def test_values_come_through(value: str) -> None:
    """What a value holds reaches the client as it is, whatever JSON has to escape."""
    reply = ask(f"POOL=x;USER={value};ACC=1|".encode("utf-8", "replace"), "pool")
    assert reply["POOL"][0]["USER"] == value.encode("utf-8", "replace").decode()


def test_tables_agree() -> None:
    """What is composed is composed of reports."""
    assert {name for needed in COMPOSED.values() for name in needed} <= REPORTS.keys()
    assert not REPORTS.keys() & WRITES.keys()
