"""The simulated miner: its wire, its figures, its commands, its command line."""

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chi import demo

CAPTURES = Path(__file__).parent / "data" / "captures" / "cgminer-4.11.1"
NOW = 1_795_352_793  # epoch seconds: when the captures were taken
POOL_0, POOL_1 = "stratum+tcp://pool.example.com:3333", "stratum+tcp://backup.example.net:3333"
HOUR = 3600  # seconds
BOARD_COUNT = 3


class Clock:
    """A clock that a test sets."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """The time of the rig behind `miner`."""
    return Clock()


@pytest.fixture
def start(clock):
    """Start simulated miners, and stop them at the end of the test."""
    with contextlib.ExitStack() as running:

        def start(**options):
            miner = demo.DemoMiner(rig=demo.Rig(clock=clock), **options)
            running.callback(miner.close)
            miner.start()
            return miner

        yield start


@pytest.fixture
def miner(start):
    """A simulated miner that serves, with write access."""
    return start()


def exchange(miner, request):
    """Send bytes in one go and read to the end."""
    with socket.create_connection(miner.address, timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(miner, command, parameter=None):
    """One command's reply, read as JSON."""
    request = {"command": command} if parameter is None else {"command": command, "parameter": parameter}
    reply = exchange(miner, json.dumps(request).encode())
    assert reply.endswith(b"}\0")
    assert reply.count(b"\0") == 1
    return json.loads(reply[:-1])


def items(miner, command, parameter=None):
    """A report's objects."""
    reply = ask(miner, command, parameter)
    return next(value for name, value in reply.items() if name not in ("STATUS", "id"))


def status(miner, command, parameter=None):
    """Severity, code and text of the message in a reply."""
    (message,) = ask(miner, command, parameter)["STATUS"]
    return message["STATUS"], message["Code"], message["Msg"]


def rig_stats(miner):
    """The object of `stats` that has the rig's own figures."""
    return items(miner, "stats")[1]


# --- The wire -------------------------------------------------------------------------------------


def test_one_reply_one_nul_and_the_end(miner):
    """A connection serves one request: the reply ends with its only NUL, and then the server closes."""
    with socket.create_connection(miner.address, timeout=10) as connection:
        connection.sendall(b'{"command":"version"}')
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.startswith(b'{"STATUS":[{"STATUS":"S","When":1795352793,"Code":22,')
    assert reply.endswith(b',"VERSION":[{"CGMiner":"4.11.1","API":"3.7"}],"id":1}\0')


def test_a_request_in_two_pieces_is_read_half(miner):
    """The server reads once, so the first piece is the whole request."""
    with socket.create_connection(miner.address, timeout=10) as connection:
        connection.sendall(b'{"command":')
        assert b'"Code":23' in connection.recv(65536)


@pytest.mark.parametrize(("size", "code"), [(4095, 22), (4096, 23)])
def test_requests_have_at_most_4095_bytes(miner, size, code):
    """What does not fit into the one read is cut off, and the rest is no JSON."""
    reply = b""
    with socket.create_connection(miner.address, timeout=10) as connection:
        connection.sendall(b'{"command":"version"%s}' % (b" " * (size - 21)))
        with contextlib.suppress(ConnectionResetError):  # by the bytes that nobody read
            for piece in iter(lambda: connection.recv(65536), b""):
                reply += piece
    assert json.loads(reply[:-1])["STATUS"][0]["Code"] == code


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (b'{"command":"nonsense"}', 14, "Invalid command"),
        (b'{"command":"Summary"}', 14, "Invalid command"),
        (b'{"command":7}', 14, "Invalid command"),
        (b'{"command":"summary"', 23, "Invalid JSON"),
        (b'{"command":"summary","parameter":NaN}', 23, "Invalid JSON"),
        (b'{"command":"summary\xff"}', 23, "Invalid JSON"),
        (b'{"command":"summary","parameter":"\\u0000"}', 23, "Invalid JSON"),
        (b'{"a":' + b"[" * 4000, 23, "Invalid JSON"),
        (b'{"cmd":"summary"}', 24, "Missing JSON 'command'"),
    ],
)
def test_bad_requests(miner, request_, code, text):
    """What is no request gets cgminer's message; who only guesses commands is not told what this is."""
    (message,) = json.loads(exchange(miner, request_)[:-1])["STATUS"]
    expected = {"STATUS": "E", "When": NOW, "Code": code, "Msg": text, "Description": "cgminer 4.11.1"}
    if code == 14:
        del expected["Description"]
    assert message == expected


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("1", "Pool 1:'stratum+tcp://backup.example.net:3333' already enabled"),
        (1, "Pool 1:'stratum+tcp://backup.example.net:3333' already enabled"),
        (1.9, "Pool 1:'stratum+tcp://backup.example.net:3333' already enabled"),
        (" 1x", "Pool 1:'stratum+tcp://backup.example.net:3333' already enabled"),
        ("x", "Pool 0:'stratum+tcp://pool.example.com:3333' already enabled"),
        ("-1", "Invalid pool id -1 - range is 0 - 1"),
        (True, "Missing pool id parameter"),
        ([1], "Missing pool id parameter"),
        ("", "Missing pool id parameter"),
    ],
)
def test_parameters_are_strings_or_numbers(miner, parameter, text):
    """Anything else counts as none, and numbers are read as C reads them."""
    assert status(miner, "enablepool", parameter)[2] == text


def test_strings_are_escaped_as_little_as_cgminer_does(miner):
    """Quotes and backslashes get a backslash, control characters stay: invalid JSON, as from a real one."""
    reply = exchange(miner, rb'{"command":"save","parameter":"a\"b\\c\nd\ud800"}')
    assert b"""Configuration saved to file 'a\\"b\\\\c\nd?'""" in reply


def test_a_silent_client_holds_the_others_up_only_for_a_while(start):
    """After the time to send a request a client is dropped without a byte, and the next is served."""
    miner = start()
    miner.receive_timeout = 0.5  # of which the one that is not silent may need some as well
    with socket.create_connection(miner.address, timeout=10) as silent:
        assert status(miner, "version")[1] == 22
        assert silent.recv(1) == b""
    assert demo.DemoMiner.receive_timeout == 1


def test_a_client_that_leaves_harms_nobody(miner):
    """Connections that end before the request or before the reply are nothing special."""
    for request in (b"", b'{"command":"stats"}'):
        with socket.create_connection(miner.address, timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
            connection.sendall(request)
    assert status(miner, "version")[1] == 22


# --- Joined commands ------------------------------------------------------------------------------


def test_joined_replies_hold_each_members_full_reply(miner):
    """Each member is a list of the reply it gets alone, in the order asked for, without the parameter."""
    reply = ask(miner, "summary+devs+nonsense", "ignored")
    assert list(reply) == ["summary", "devs", "nonsense", "id"]
    for name in ("summary", "devs", "nonsense"):
        assert reply[name] == [ask(miner, name)]


def test_what_may_not_be_joined(miner):
    """Privileged commands and those with a parameter are denied as members, and not run."""
    reply = ask(miner, "quit+version+asc+check+lockstats")
    codes = {name: member[0]["STATUS"][0]["Code"] for name, member in reply.items() if name != "id"}
    assert codes == {"quit": 45, "version": 22, "asc": 45, "check": 45, "lockstats": 124}
    assert reply["quit"][0]["STATUS"][0]["Msg"] == "Access denied to 'quit' command"
    assert status(miner, "version")[1] == 22


def test_odd_joins(miner):
    """Empty members count for nothing, known ones once, unknown ones as often as they come."""
    assert list(ask(miner, "version+")) == ["version", "id"]
    assert exchange(miner, b'{"command":"version+version"}').count(b'"version":[{') == 1
    assert exchange(miner, b'{"command":"x\\"+x\\""}').count(b'"x\\"":[{') == 2
    assert exchange(miner, b'{"command":"+"}') == (CAPTURES / "+.reply").read_bytes()
    assert exchange(miner, b"{").count(b"}") == 2  # not answered twice, as cgminer does after a joined one


# --- Like a real one ------------------------------------------------------------------------------


class Number(str):
    """A number as it is written."""


def shape(value):
    """Names, their order, and how each value is written."""
    if isinstance(value, dict):
        return [(name, shape(each)) for name, each in value.items()]
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, Number):
        return re.sub(r"\d", "9", re.sub(r"^\d+", "9", value))
    return type(value).__name__


def read_shape(reply):
    """The shape of a reply in bytes."""
    return shape(json.loads(reply[:-1], parse_float=Number, parse_int=Number))


@pytest.mark.parametrize("report", ["version", "config", "summary", "pools", "coin", "summary+nonsense"])
def test_reports_are_written_as_a_real_miner_writes_them(miner, report):
    """The fields, their order, types and decimals are those of a captured reply."""
    captured = (CAPTURES / f"{report}.reply").read_bytes().replace(b'"MHS 1s"', b'"MHS 5s"')  # log interval
    reply = exchange(miner, json.dumps({"command": report}).encode())
    if report == "pools":  # has one, and is the first of ours
        reply = re.sub(rb"\},\{.*\}\]", b"}]", reply)
    assert read_shape(reply) == read_shape(captured)


def test_pools_in_stats_are_written_as_a_real_miner_writes_them(miner):
    """The object of a pool in `stats` has a captured one's fields, in their order and notation."""
    captured = dict(read_shape((CAPTURES / "stats.reply").read_bytes()))["STATS"]
    ours = dict(read_shape(exchange(miner, b'{"command":"stats"}')))["STATS"]
    assert ours[2:] == captured * 2


@pytest.mark.parametrize(
    ("capture", "command", "parameter"),
    [
        ("version", "version", None),
        ("usbstats", "usbstats", None),
        ("privileged", "privileged", None),
        ("check_summary", "check", "summary"),
        ("nonsense", "nonsense", None),
        ("zero_a_b", "zero", "a b"),
    ],
)
def test_replies_without_figures_are_a_real_miners(miner, capture, command, parameter):
    """What does not depend on the rig is the same to the byte."""
    request = json.dumps({"command": command, "parameter": parameter}).encode()
    assert exchange(miner, request) == (CAPTURES / f"{capture}.reply").read_bytes()


DEV_FIELDS = (
    "ASC Name ID Enabled Status Temperature MHS·av MHS·5s MHS·1m MHS·5m MHS·15m Accepted Rejected"
    " Hardware·Errors Utility Last·Share·Pool Last·Share·Time Total·MH Diff1·Work Difficulty·Accepted"
    " Difficulty·Rejected Last·Share·Difficulty Last·Valid·Work Device·Hardware% Device·Rejected%"
    " Device·Elapsed"
)
NOTIFY_FIELDS = (
    "NOTIFY Name ID Last·Well Last·Not·Well Reason·Not·Well *Thread·Fail·Init *Thread·Zero·Hash"
    " *Thread·Fail·Queue *Dev·Sick·Idle·60s *Dev·Dead·Idle·600s *Dev·Nostart *Dev·Over·Heat"
    " *Dev·Thermal·Cutoff *Dev·Comms·Error *Dev·Throttle"
)
LCD_FIELDS = (
    "Elapsed GHS·av GHS·5m GHS·5s Temperature Last·Share·Difficulty Last·Share·Time Best·Share"
    " Last·Valid·Work Found·Blocks Current·Pool User"
)
DETAILS_FIELDS = "DEVDETAILS Name ID Driver Kernel Model Device·Path"


@pytest.mark.parametrize(
    ("command", "parameter", "code", "section", "count", "fields"),
    [
        ("devs", None, 9, "DEVS", 3, DEV_FIELDS),
        ("edevs", None, 9, "DEVS", 3, DEV_FIELDS),
        ("asc", "2", 106, "ASC", 1, DEV_FIELDS),
        ("notify", None, 60, "NOTIFY", 3, NOTIFY_FIELDS),
        ("devdetails", None, 69, "DEVDETAILS", 3, DETAILS_FIELDS),
        ("lcd", None, 125, "LCD", 1, LCD_FIELDS),
        ("asccount", None, 104, "ASCS", 1, "Count"),
        ("pgacount", None, 59, "PGAS", 1, "Count"),
        ("debug", None, 79, "DEBUG", 1, "Silent Quiet Verbose Debug RPCProto PerDevice WorkTime"),
    ],
)
def test_reports_of_miners_with_boards(miner, command, parameter, code, section, count, fields):
    """Reports that an idle miner does not give have the fields of cgminer's api.c, in its order."""
    reply = ask(miner, command, parameter)
    assert list(reply) == ["STATUS", section, "id"]
    assert reply["STATUS"][0]["Code"] == code
    names = [[name.replace(" ", "·") for name in item] for item in reply[section]]
    assert names == [fields.split()] * count


# --- The figures ----------------------------------------------------------------------------------

COUNTERS = (
    "Elapsed", "Getworks", "Accepted", "Rejected", "Hardware Errors", "Discarded", "Stale", "Local Work",
    "Network Blocks", "Total MH", "Difficulty Accepted", "Difficulty Rejected", "Difficulty Stale",
    "Best Share", "Last getwork",
)  # fmt: skip
STEPS = (0, 1, 1, 2, 7, 60, 61, 599, HOUR, 30 * HOUR, 0, -HOUR, 2 * HOUR)  # seconds from look to look


def check_agreement(miner):
    """Compare summary, boards and pools of one moment."""
    reply = ask(miner, "summary+devs+pools")
    (summary,) = reply["summary"][0]["SUMMARY"]
    devs, pools = reply["devs"][0]["DEVS"], reply["pools"][0]["POOLS"]
    for name in ("Accepted", "Rejected", "Difficulty Accepted", "Difficulty Rejected"):
        assert summary[name] == sum(dev[name] for dev in devs) == sum(pool[name] for pool in pools)
    for name in ("Stale", "Difficulty Stale", "Getworks"):
        assert summary[name] == sum(pool[name] for pool in pools)
    for name in ("Total MH", "MHS av", "MHS 5s", "MHS 1m", "MHS 5m", "MHS 15m"):
        assert summary[name] == pytest.approx(sum(dev[name] for dev in devs), abs=0.02)
    assert summary["Hardware Errors"] == sum(dev["Hardware Errors"] for dev in devs)
    assert summary["Best Share"] == max(pool["Best Share"] for pool in pools)
    diff1 = sum(dev["Diff1 Work"] for dev in devs)
    assert diff1 == sum(pool["Diff1 Shares"] for pool in pools)
    assert diff1 == pytest.approx(summary["Total MH"] * 1e6 / 2**32, abs=6)
    for item in (summary, *devs):
        elapsed = item.get("Elapsed", item.get("Device Elapsed"))
        assert item["MHS av"] == pytest.approx(item["Total MH"] / elapsed, abs=0.01)
        assert item["Utility"] == pytest.approx(60 * item["Accepted"] / elapsed, abs=0.01)
    submitted = sum(summary[f"Difficulty {fate}"] for fate in ("Accepted", "Rejected", "Stale"))
    rejected = 100 * summary["Difficulty Rejected"] / submitted
    assert summary["Pool Rejected%"] == pytest.approx(rejected, abs=1e-4)
    assert submitted == pytest.approx(diff1, abs=2 * BOARD_COUNT * 262_144)
    return summary


def test_figures_agree_and_counters_never_go_back(miner, clock):
    """Whenever one looks, boards and pools add up to the summary, and no counter is below what it was."""
    before = check_agreement(miner)
    for step in STEPS:
        clock.now += step
        after = check_agreement(miner)
        assert all(after[name] >= before[name] for name in COUNTERS), step
        before = after


def test_counters_move_one_by_one(miner, clock):
    """From second to second nothing jumps: a few shares at most, accepted or not."""
    before = items(miner, "summary")[0]
    shares = 0
    for _ in range(300):
        clock.now += 1
        after = items(miner, "summary")[0]
        moves = [after[name] - before[name] for name in ("Accepted", "Rejected", "Stale", "Hardware Errors")]
        assert min(moves) >= 0
        assert max(moves) <= BOARD_COUNT
        shares += moves[0]
        before = after
    assert shares == pytest.approx(300 * 99e12 / 2**32 / 262_144, abs=2 * BOARD_COUNT + 2)


def test_figures_depend_on_seed_and_time_only():
    """Who asks often and who asks once see the same; another seed is another machine."""
    often, once, other = Clock(), Clock(), Clock()
    rigs = [demo.Rig(7, often), demo.Rig(7, once), demo.Rig(8, other)]
    for _ in range(50):
        often.now += 17
        rigs[0].tick()
        demo.figures(rigs[0], rigs[0].boards, rigs[0].pools)
    once.now = other.now = often.now
    for rig in rigs[1:]:
        rig.tick()
    ours, same, others = (demo.COMMANDS["stats"].handler(demo.Console(rig, "R"), "") for rig in rigs)
    assert ours == same != others


def test_the_rig_is_alive_at_once(miner):
    """At the first look it has run for hours, at its rate, warm, with shares at two pools."""
    (summary,) = items(miner, "summary")
    assert summary["Elapsed"] > 6 * HOUR
    for average in ("av", "5s", "1m", "5m", "15m"):
        assert summary[f"MHS {average}"] == pytest.approx(99e6, rel=0.05)
    assert all(pool["Accepted"] > 100 for pool in items(miner, "pools"))
    assert [pool["Stratum Active"] for pool in items(miner, "pools")] == [True, False]
    assert all(60 < dev["Temperature"] < 75 for dev in items(miner, "devs"))


def test_figures_move(miner, clock):
    """Rates, temperatures and fans are never still for long, and never far off."""
    seen = []
    for _ in range(20):
        clock.now += 50
        figures = rig_stats(miner)
        seen.append([figures["GHS 5s"], figures["fan1"], items(miner, "devs")[0]["Temperature"]])
        assert 2900 <= figures["fan1"] <= 3100
        assert 94e3 < float(figures["GHS 5s"]) < 104e3
        assert all(60 <= figures[f"{kind}{n}"] <= 75 for kind in ("temp", "temp2_") for n in (1, 2, 3))
    assert [len(set(column)) > 2 for column in zip(*seen)] == [True] * 3


def test_stats_have_the_fields_of_bitmains_firmware(miner):
    """The first object names the model, the second has the figures of each chain and fan."""
    model, figures = items(miner, "estats")
    assert model["Type"] == "Simulated miner"
    assert figures["miner_count"] == 3
    assert figures["total_rateideal"] == 99_000
    devs = items(miner, "devs")
    for n, dev in enumerate(devs, 1):
        assert figures[f"chain_rate{n}"] == f"{dev['MHS 5s'] / 1e3:.2f}"
        assert figures[f"chain_hw{n}"] == dev["Hardware Errors"]
        assert figures[f"chain_acn{n}"] == len(figures[f"chain_acs{n}"]) == 114
        assert figures[f"freq_avg{n}"] == 545
        assert figures[f"temp{n}"] == round(dev["Temperature"])
        assert figures[f"temp_chip{n}"].endswith(f"-{figures[f'temp2_{n}']}")
    assert figures["no_matching_work"] == sum(dev["Hardware Errors"] for dev in devs)


def test_last_share_is_the_second_in_which_accepted_grew(miner, clock):
    """`Last Share Time` moves when `Accepted` does, to the second it did."""
    before = items(miner, "devs")[0]
    grown = 0
    for _ in range(150):
        clock.now += 1
        after = items(miner, "devs")[0]
        more = after["Accepted"] > before["Accepted"]
        assert after["Last Share Time"] == (clock.now if more else before["Last Share Time"])
        grown += more
        before = after
    assert grown > 2


def test_blocks_come_with_time(miner, clock):
    """Height, hash and time of the newest block go together, and the rig counts them."""
    looks = []
    for _ in range(3):
        (block,) = items(miner, "coin")
        looks.append((block["Current Block Hash"], items(miner, "pools")[0]["Current Block Height"]))
        assert 0 <= clock.now - block["Current Block Time"] < 600
        assert re.fullmatch("0{16}[0-9a-f]{48}", block["Current Block Hash"])
        clock.now += 300
    assert len(set(looks)) == 2
    (summary,) = items(miner, "summary")
    assert summary["Network Blocks"] == pytest.approx(summary["Elapsed"] / 600, abs=2)


# --- Commands that change something ---------------------------------------------------------------


def test_a_disabled_board_stops_and_cools_until_it_is_enabled(miner, clock):
    """It adds no work, its averages fall to nothing, the fans slow down; and then all comes back."""
    assert status(miner, "ascdisable", "1") == ("I", 111, "ASC 1 set disable flag")
    assert status(miner, "ascdisable", 1) == ("I", 109, "ASC 1 already disabled")
    stopped = items(miner, "asc", "1")[0]
    assert stopped["Enabled"] == "N"
    clock.now += HOUR
    off, fans = items(miner, "asc", "1")[0], rig_stats(miner)["fan1"]
    for name in ("Total MH", "Accepted", "Last Valid Work", "Last Share Time", "Hardware Errors"):
        assert off[name] == stopped[name]
    assert (off["MHS 5s"], off["MHS 15m"], rig_stats(miner)["freq_avg2"]) == (0, 0, 0)
    assert off["Temperature"] < 25
    assert fans < 2600
    assert items(miner, "summary")[0]["MHS 5s"] == pytest.approx(66e6, rel=0.05)
    assert status(miner, "ascenable", "1") == ("I", 110, "ASC 1 sent enable message")
    assert status(miner, "ascenable", "1") == ("I", 108, "ASC 1 already enabled")
    clock.now += 120
    assert 30 < items(miner, "asc", "1")[0]["Temperature"] < 55
    clock.now += HOUR
    on = items(miner, "asc", "1")[0]
    assert on["MHS 5s"] == pytest.approx(33e6, rel=0.05)
    assert on["Temperature"] > 60
    check_agreement(miner)


def test_switching_pools_moves_the_shares(miner, clock):
    """From that second on, one pool gets the work, and the other keeps what it had."""
    before = items(miner, "pools")
    assert status(miner, "switchpool", "1") == ("S", 27, f"Switching to pool 1:'{POOL_1}'")
    clock.now += HOUR
    after = items(miner, "pools")
    assert [pool["Stratum Active"] for pool in after] == [False, True]
    assert [pool["Priority"] for pool in after] == [1, 0]
    assert [pool["Stratum URL"] for pool in after] == ["", "backup.example.net"]
    assert after[0]["Difficulty Accepted"] == before[0]["Difficulty Accepted"]
    assert after[1]["Accepted"] > before[1]["Accepted"] + 500
    assert items(miner, "devs")[0]["Last Share Pool"] == 1
    assert items(miner, "lcd")[0]["Current Pool"] == POOL_1
    check_agreement(miner)


ADDED = "stratum+tcp://third.example.org:3333"
LAST_ACTIVE = f"Cannot disable last active pool 0:'{POOL_0}'"


@pytest.mark.parametrize(
    ("steps", "order"),
    [
        ([("disablepool", "0", 48, f"Disabling pool 0:'{POOL_0}'")], [POOL_1]),
        (
            [("disablepool", "0", 48, None), ("disablepool", "0", 50, f"Pool 0:'{POOL_0}' already disabled")],
            [POOL_1],
        ),
        ([("disablepool", "1", 48, None), ("disablepool", "0", 51, LAST_ACTIVE)], [POOL_0]),
        (
            [("disablepool", "0", 48, None), ("enablepool", "0", 47, f"Enabling pool 0:'{POOL_0}'")],
            [POOL_0, POOL_1],
        ),
        ([("disablepool", "1", 48, None), ("enablepool", "1", 47, None)], [POOL_0, POOL_1]),
        ([("disablepool", "1", 48, None), ("switchpool", "1", 27, None)], [POOL_1, POOL_0]),
        ([("addpool", f"{ADDED},u,p", 55, f"Added pool 2: '{ADDED}'")], [POOL_0, POOL_1, ADDED]),
        ([("addpool", f"{ADDED},u,p", 55, None), ("poolpriority", "2", 73, None)], [ADDED, POOL_0, POOL_1]),
        (
            [("addpool", f"{ADDED},u,p", 55, None), ("removepool", "1", 68, f"Removed pool 1:'{POOL_1}'")],
            [POOL_0, ADDED],
        ),
        ([("removepool", "0", 67, f"Cannot remove active pool 0:'{POOL_0}'")], [POOL_0, POOL_1]),
        (
            [("removepool", "1", 68, None), ("removepool", "0", 66, f"Cannot remove last pool 0:'{POOL_0}'")],
            [POOL_0],
        ),
        ([("poolpriority", "1,0", 73, "Changed pool priorities")], [POOL_1, POOL_0]),
        ([("poolpriority", "1,1", 74, "Duplicate pool specified 1")], [POOL_0, POOL_1]),
        ([("poolpriority", "1,2", 26, "Invalid pool id 2 - range is 0 - 1")], [POOL_0, POOL_1]),
    ],
)
def test_pool_commands(miner, steps, order):
    """Each answers with cgminer's message, and the next `pools` shows what became of it."""
    for command, parameter, code, text in steps:
        message = status(miner, command, parameter)
        assert message[1] == code
        assert text in (None, message[2])
    pools = [pool for pool in items(miner, "pools") if pool["Status"] == "Alive"]
    pools.sort(key=lambda pool: pool["Priority"])
    assert [pool["URL"] for pool in pools] == order
    assert [pool["Stratum Active"] for pool in pools] == [True] + [False] * (len(order) - 1)


def test_a_removed_pools_number_goes_to_the_last(miner, clock):
    """The others keep theirs. Its shares stay in the summary, but no board names it any more."""
    assert status(miner, "addpool", r"a\,b\"c:1,user\,x,pass\,word")[2] == "Added pool 2: 'a,b\"c:1'"
    before = items(miner, "summary")[0]
    status(miner, "switchpool", "1")
    status(miner, "zero", "all,false")
    clock.now += HOUR
    status(miner, "switchpool", "0")
    accepted = items(miner, "summary")[0]["Accepted"]
    assert 0 < accepted < before["Accepted"]
    assert status(miner, "removepool", "1")[1] == 68
    pools = items(miner, "pools")
    assert [(pool["POOL"], pool["URL"], pool["User"]) for pool in pools][1] == (1, 'a,b"c:1', "user,x")
    assert ask(miner, "pools")["STATUS"][0]["Msg"] == "2 Pool(s)"
    assert [pool["Accepted"] for pool in pools] == [0, 0]
    assert items(miner, "summary")[0]["Accepted"] == accepted
    assert {dev["Last Share Pool"] for dev in items(miner, "devs")} == {-1}
    assert [stats["ID"] for stats in items(miner, "stats")[1:]] == ["DMO0", "POOL0", "POOL1"]


@pytest.mark.parametrize(
    ("command", "parameter", "code", "text"),
    [
        ("switchpool", None, 25, "Missing pool id parameter"),
        ("switchpool", "2", 26, "Invalid pool id 2 - range is 0 - 1"),
        ("addpool", None, 52, "Missing addpool details"),
        ("addpool", "url,user", 53, "Invalid addpool details 'url,user'"),
        ("addpool", "url,user,", 53, "Invalid addpool details 'url,user,'"),
        ("poolquota", None, 25, "Missing pool id parameter"),
        ("poolquota", "1", 86, "Missing config value N for '1,N'"),
        ("poolquota", "1,-1", 121, f"Invalid negative number (-1) for '{POOL_1}'"),
        ("ascenable", None, 15, "Missing device id parameter"),
        ("ascdisable", "3", 107, "Invalid ASC id 3 - range is 0 - 2"),
        ("asc", None, 15, "Missing device id parameter"),
        ("zero", None, 94, "Missing zero parameters"),
        ("zero", "all", 75, "Missing parameter: true/false"),
        ("zero", "some,true", 95, "Invalid zero parameter 'some'"),
        ("zero", "all,perhaps", 76, "Invalid parameter should be true or false"),
        ("check", None, 71, "Missing check cmd"),
        ("setconfig", "expiry", 127, "Deprecated config option 'expiry'"),
        ("setconfig", "sleep,1", 83, "Unknown config 'sleep,1'"),
        ("failover-only", "true", 127, "Deprecated config option 'true'"),
    ],
)
def test_refusals_change_nothing(miner, command, parameter, code, text):
    """A command that is refused says why, and the figures are what they were."""
    before = ask(miner, "summary+devs+pools")
    assert status(miner, command, parameter) == ("E", code, text)
    assert ask(miner, "summary+devs+pools") == before


def test_quotas_and_what_only_answers(miner):
    """A quota is kept; `save` and `lockstats` only answer."""
    assert status(miner, "poolquota", "1,5") == ("S", 122, f"Set pool '{POOL_1}' to quota 5'")
    assert [pool["Quota"] for pool in items(miner, "pools")] == [1, 5]
    assert status(miner, "save") == ("S", 44, "Configuration saved to file 'cgminer.conf'")
    assert status(miner, "lockstats") == ("W", 124, "Lock stats not enabled")


def test_zero_starts_the_counters_anew(miner, clock):
    """All of them, at both pools, and they still agree; the boards stay as warm as they were."""
    assert status(miner, "zero", "all,false") == ("S", 97, "Zeroed All stats without summary")
    (summary,) = items(miner, "summary")
    for name in ("Elapsed", "Accepted", "Total MH", "MHS av", "MHS 5s", "Best Share"):
        assert summary[name] == 0
    assert [pool["Accepted"] for pool in items(miner, "pools")] == [0, 0]
    assert {(dev["Last Share Pool"], dev["Last Share Time"]) for dev in items(miner, "devs")} == {(-1, 0)}
    assert items(miner, "devs")[0]["Temperature"] > 60
    clock.now += HOUR
    assert check_agreement(miner)["Elapsed"] == HOUR
    unused = items(miner, "pools")[1]
    assert [unused[name] for name in ("Getworks", "Work Difficulty", "Current Block Height")] == [0] * 3


def test_zeroing_the_best_share_zeroes_only_that(miner, clock):
    """The next share is the best again; all counters go on."""
    before = items(miner, "summary")[0]
    assert status(miner, "zero", "bestshare,True") == ("S", 96, "Zeroed BestShare stats with summary")
    after = items(miner, "summary")[0]
    assert after.pop("Best Share") == 0
    assert before.pop("Best Share") > 1e6
    assert after == before
    clock.now += HOUR
    assert 262_144 <= items(miner, "summary")[0]["Best Share"] < 262_144 * 1024


def test_restart_is_a_new_start(miner, clock):
    """Counters, pools and boards are as at first, and the API is still there."""
    for command, parameter in (("ascdisable", "0"), ("switchpool", "1"), ("addpool", "a,b,c")):
        status(miner, command, parameter)
    assert ask(miner, "restart") == {"STATUS": "RESTART", "id": 1}
    clock.now += 60
    assert items(miner, "summary")[0]["Elapsed"] == 60
    assert [pool["URL"] for pool in items(miner, "pools")] == [POOL_0, POOL_1]
    assert [dev["Enabled"] for dev in items(miner, "devs")] == ["Y"] * 3
    check_agreement(miner)


def test_quit_says_goodbye_and_stops(miner):
    """The reply comes, and then nobody listens any more."""
    assert ask(miner, "quit") == {"STATUS": "BYE", "id": 1}
    miner.close()
    with pytest.raises(ConnectionRefusedError):
        exchange(miner, b"")


# --- Access ---------------------------------------------------------------------------------------

PRIVILEGED = sorted(name for name, command in demo.COMMANDS.items() if command.privileged)


def test_privileged_commands_are_cgminers():
    """They are what cgminer's command table marks, as far as the demo has them."""
    names = (
        "addpool ascdisable ascenable debug disablepool enablepool failover-only lockstats poolpriority"
        " poolquota privileged quit removepool restart save setconfig switchpool zero"
    )
    assert names.split() == PRIVILEGED


def test_without_write_access_privileged_commands_are_denied(start):
    """Each gets code 45, alone and joined, and changes nothing; reports are answered."""
    miner = start(access="R")
    before = ask(miner, "summary+devs+pools")
    for name in PRIVILEGED:
        assert status(miner, name, "1") == ("E", 45, f"Access denied to '{name}' command")
    assert ask(miner, "lockstats+")["lockstats"][0]["STATUS"][0]["Code"] == 45
    assert ask(miner, "summary+devs+pools") == before


@pytest.mark.parametrize(
    ("access", "command", "answer"),
    [("W", "quit", "YY"), ("R", "quit", "YN"), ("R", "summary", "YY"), ("W", "nonsense", "NN")],
)
def test_check_tells_what_a_client_may(start, access, command, answer):
    """`check` tells whether a command exists, and whether it would be allowed."""
    (checked,) = items(start(access=access), "check", command)
    assert checked["Exists"] + checked["Access"] == answer


# --- The text protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"nonsense", rb"STATUS=E,When=1795352793,Code=14,Msg=Invalid command\|\0"),
        (b"", rb"STATUS=E,When=1795352793,Code=14,Msg=Invalid command\|\0"),
        (
            b"summary\0\0",
            rb"STATUS=S,.*,Description=cgminer 4.11.1\|SUMMARY,Elapsed=94834,MHS av=\d+\.\d\d,.*\|\0",
        ),
        (b"devs", rb"STATUS=S,[^|]*\|ASC=0,[^|]*\|ASC=1,[^|]*\|ASC=2,Name=DMO,[^|]*\|\0"),
        (
            b"pools",
            rb"STATUS=S,.*\|POOL=0,.*,Stratum Active=true,.*\|POOL=1,.*,Stratum Active=false,.*\|\0",
        ),
        (b"save|a=b", rb"STATUS=S,.*,Msg=Configuration saved to file 'a\\=b',.*\|\0"),
        (b"version+x", rb"CMD=version\|STATUS=S,.*\|VERSION,CGMiner=4.11.1,API=3.7\|CMD=x\|STATUS=E,.*\|\0"),
        (b"restart", rb"RESTART\0"),
    ],
)
def test_a_request_that_is_not_json_is_answered_in_text(miner, request_, reply):
    """The same replies, in cgminer's older notation."""
    with socket.create_connection(miner.address, timeout=10) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.fullmatch(reply, answer)


# --- Starting and stopping ------------------------------------------------------------------------


def test_close_before_and_after_serving(clock):
    """A miner that never served closes as well as one that has, and more than once."""
    for serve in (False, True):
        miner = demo.DemoMiner()
        assert miner.address[0] == "127.0.0.1"
        if serve:
            miner.start()
        miner.close()
        miner.close()
        with pytest.raises(ConnectionRefusedError):
            exchange(miner, b"")


@contextlib.contextmanager
def process(*options):
    """`python -m chi.demo` on a free port: the process, and its address."""
    command = [sys.executable, "-m", "chi.demo", "--port", "0", *options]
    root = Path(demo.__file__).parent.parent
    environ = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root, env=environ) as running:
        try:
            line = running.stderr.readline()
            host, port = re.fullmatch(r"chi\.demo: a simulated miner listens on (.*):(\d+)\n", line).groups()
            running.address = (host, int(port))
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_a_signal(number):
    """It says where it listens, serves, and ends with 0 and without another word."""
    with process() as running:
        assert items(running, "summary")[0]["Elapsed"] >= 6 * HOUR
        assert status(running, "privileged")[1] == 46
        running.send_signal(number)
        assert running.wait(10) == 0
        assert running.stderr.read() == ""


def test_the_program_takes_seed_and_access():
    """`--seed` makes another machine, `--read-only` denies what changes it."""
    with process("--seed", "1", "--read-only") as one, process("--seed", "2") as two:
        rates = [items(running, "summary")[0]["MHS av"] for running in (one, two)]
        assert rates[0] != rates[1]
        assert status(one, "quit")[1] == 45
        assert ask(two, "quit")["STATUS"] == "BYE"
        assert two.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--port", "http"], "argument --port: 'http' is not a port number"),
        (["--port", "65536"], "argument --port: '65536' is not a port number"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--readonly"], "unrecognized arguments: --readonly"),
        (["--read"], "unrecognized arguments: --read"),
    ],
)
def test_wrong_options_end_the_start(capsys, options, complaint):
    """One line that names option and value, and status 2."""
    with pytest.raises(SystemExit) as ended:
        demo.main(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"chi.demo: {complaint}\n"


def test_a_port_in_use_ends_the_start(capsys, miner):
    """One line that names the address and the cause, and status 1."""
    assert demo.main(["--port", str(miner.address[1])]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"chi.demo: cannot listen on 127.0.0.1:{miner.address[1]}: ")
    assert "Address already in use" in error
    assert error.count("\n") == 1


class Announcement:
    """Standard error that hands on the address it is told."""

    def __init__(self):
        self.told = threading.Event()
        self.text = ""

    def write(self, text):
        self.text += text
        if "\n" in text:
            self.told.set()

    def flush(self):
        pass


def test_quit_ends_the_program(monkeypatch):
    """The command line's miner stops when told to, with status 0."""
    handlers = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(handler))
    monkeypatch.setattr(sys, "stderr", Announcement())
    replies = []

    def client(error=sys.stderr):
        assert error.told.wait(10)
        host, port = error.text.split()[-1].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b'{"command":"quit"}')
            replies.append(connection.recv(100))

    thread = threading.Thread(target=client)
    thread.start()
    assert demo.main(["--port", "0"]) == 0
    thread.join()
    assert replies == [b'{"STATUS":"BYE","id":1}\0']
    for handler in handlers:  # a signal that comes too late does no harm
        handler(signal.SIGTERM, None)


def test_the_module_is_a_program(monkeypatch, capsys):
    """`python -m chi.demo` is `main()`."""
    monkeypatch.setattr(sys, "argv", ["chi.demo", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(demo.__file__, run_name="__main__")
    assert ended.value.code == 0
    assert "(default: 4028)" in capsys.readouterr().out


def test_the_past_is_that_of_the_miner(clock):
    """A day, as it would have been told: counters that only grow, up to what is told now, at its rates."""
    rig = demo.Rig(clock=clock)
    told = list(demo.past(rig))
    assert [told[0][0], told[-1][0]] == [24 * HOUR, 15]
    then = demo.Rig(clock=Clock(NOW - 15))
    accepted = [values["shares_accepted"] for _, values in told]
    assert accepted == sorted(accepted)
    now = rig.tally(rig.boards, rig.all_pools).accepted
    assert 0 < accepted[0] < accepted[-1] <= now <= accepted[-1] + 10
    assert all(0.9e14 < values["hashrate"] < 1.1e14 for _, values in told)
    assert told[-1][1]["hashrate"] == pytest.approx(then.mhs(then.boards, 5) * 1e6, rel=0.01)
