"""Each family's own places and words, where no recorded reply has them: fields as their makers have them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chi.miner.replies import parse_json
from chi.status.firmware import BY_NAME, FAMILIES, answered, next_request, normalise, recognise
from chi.status.firmware.family import STATE_WORDS
from chi.status.model import CHAIN_STATES, RigError, Status
from chi.status.values import hottest, one_object, volts
from tests.status.golden import NOW, one, vendor_replies

HEAD = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000}]}


def reply(**sections: Any) -> dict[str, Any]:
    """A reply with these sections."""
    return {**HEAD, **sections}


def module(pairs: str, key: str = "MM ID0") -> Status:
    """The status of one Avalon module."""
    return one(estats=[{"ID": "AVA100", key: pairs}])


# --- All ------------------------------------------------------------------------------------------


def test_families_have_one_signature() -> None:
    """Each is found by its name, asks for a summary, and is told apart from the others."""
    assert list(BY_NAME) == [family.name for family in FAMILIES]
    assert all("summary" in family.commands for family in FAMILIES)
    marks = [mark for family in FAMILIES for mark in family.marks]
    assert len(set(marks)) == len(marks)
    assert all(word == word.lower() for family in FAMILIES for word in family.described)
    assert set(STATE_WORDS) <= set(CHAIN_STATES)


@pytest.mark.parametrize(
    ("description", "family"),
    [("innominer a9-1.1.0", "innosilicon"), ("bdminer 4.11.1", "sealminer"), ("GCMiner-0.5-dev", "auradine"),
     ("FluxOS-2024-06.11", "auradine"), ("ccminer 2.3.3", "ccminer"), ("whatsminer v1.4", "whatsminer"),
     ("cgminer 4.11.1", "cgminer"), ("TeamRedMiner 0.10.7", "cgminer")],
)  # fmt: skip
def test_families_by_description(description: str, family: str) -> None:
    """Where version says nothing, the Description of any reply does."""
    summary = {"STATUS": [{"STATUS": "S", "Description": description}], "SUMMARY": [{}]}
    assert recognise({"version": None, "summary": summary}) == family


def test_temperatures_below_zero() -> None:
    """In a text of several a dash divides, and one after a dash is a sign."""
    assert hottest("2--1-20-22") == 22
    assert hottest("-12--3--20--22") == -3
    assert hottest("-5-3") == 3
    assert hottest("[65.21, 64.10, 0.00]") == 65.21
    assert hottest("NaN-NaN-45") == 45


def test_several_sensors_of_one_name() -> None:
    """Of a temperature that an object tells several times the hottest counts; else the last."""
    text = b'{"temp1":21,"temp1":45,"temp1":20,"temp2":0,"temp2":0,"fan1":1,"fan1":2,"temp3":-5,"temp3":-9}'
    found = parse_json(text, made=one_object)
    assert found == {"temp1": 45, "temp2": 0, "fan1": 2, "temp3": -5}
    assert parse_json(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("told", "right"), [(19300, 19.3), (12_440, 12.44), (940, 9.4), (15.7, 15.7), ("9.44", 9.44), (0, None)]
)
def test_voltages(told: Any, right: float | None) -> None:
    """In V, 10 mV or mV: of these the one that a board can bear."""
    assert volts(told) == (right if right is None else pytest.approx(right))


def test_sections_that_are_numbered() -> None:
    """POOL0, POOL1 in place of POOLS, as arrays or as objects, in the order of their numbers."""
    pools = {f"POOL{number}": {"POOL": number, "URL": f"pool{number}"} for number in (10, 2, 0)}
    told = normalise({"pools": reply(**pools, POOL1=[{"POOL": 1, "URL": "pool1"}])})
    assert [pool.url for pool in told.pools] == ["pool0", "pool1", "pool2", "pool10"]


def test_fans_in_summary() -> None:
    """StrongU's miners tell them there."""
    summary = {"MHS av": 387186.77, "Miner type": "dash", "Fan Num": 2, "Fan1": 7800, "Fan2": 7740}
    told = one(summary=[summary])
    assert [(fan.fan, fan.speed) for fan in told.fans] == [("1", 7800), ("2", 7740)]
    assert told.rig.algorithm == "x11"


# --- Bitmain's and its kin ------------------------------------------------------------------------

BOARDS = {"GHS 5s": 100, "GHS av": 100, "chain_acn1": 63, "chain_acn2": 63, "chain_rate1": "50",
          "chain_rate2": "50"}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "watts"),
    [
        ({"chain_consumption1": 991, "chain_consumption2": 1013}, 2004),
        ({"chain_power1": 454, "chain_power2": 437, "total_power": 1345}, 1345),
        ({"chain_power": "1089.00 (AB)"}, 1089),
        ({"total_power": "3250 W"}, 3250),
        ({"chain_power1": 187.79, "chain_power2": 0.0}, 187.79),
        ({"chain_consumption1": 0, "chain_consumption2": 0}, None),
        ({"total_power": 0}, None),
        ({}, None),
    ],
)
def test_power_in_stats(fields: dict[str, Any], watts: float | None) -> None:
    """Told for the whole or for each board, with a unit or without; 0 is not told."""
    assert one(stats=[{**BOARDS, **fields}]).rig.power == watts


def test_what_custom_firmware_adds() -> None:
    """MSK and Vnish: voltages, duty, states, what is expected, and a supply that is not well."""
    fields = {"chain_voltage1": 15.7, "chain_vol2": 12_440, "chain_rateideal1": 52, "chain_state2": "mining",
              "total_rateideal": 104.5, "fan_pwm": 82, "fan1": 5010, "fan2": 0, "fan_num": 1,
              "psu_status": "PSU power lost", "tune_running": "1"}  # fmt: skip
    told = one(stats=[{"Type": "S19-88 v.2.6.0.39", "CompileTime": "10 Dec 2024"}, {**BOARDS, **fields}])
    assert [chain.voltage for chain in told.chains] == [15.7, 12.44]
    assert [chain.state for chain in told.chains] == [None, "mining"]
    assert told.chains[0].hashrate_expected == 52e9
    assert (told.rig.hashrate_expected, told.rig.state) == (104.5e9, "tuning")
    assert told.rig.firmware == "10 Dec 2024"
    assert [(fan.fan, fan.duty) for fan in told.fans] == [("1", 0.82)]
    assert [error.text for error in told.rig.errors] == ["PSU power lost"]
    assert one(stats=[{**BOARDS, "psu_status": "PSU OK"}]).rig.errors == ()


@pytest.mark.parametrize("fields", [{"Mode": 254}, {"state": "stopped"}, {"miner_status": "sleeping"}])
def test_asleep_by_stats(fields: dict[str, Any]) -> None:
    """What sleeps or is stopped makes nothing, whatever its averages still say."""
    told = one(summary=[{"GHS 5s": 3.0, "GHS av": 100}], stats=[{**BOARDS, **fields}])
    assert told.rig.state in ("sleeping", "stopped")
    assert (told.rig.hashrate, told.rig.hashrate_average) == (0, 100e9)
    assert [chain.hashrate for chain in told.chains] == [0, 0]
    assert answered({"summary": reply(SUMMARY=[{}])})


def test_clocks_of_each_board() -> None:
    """frequency1…4, with or without their unit."""
    fields = {"frequency": "400", "frequency1": "425", "frequency2": "1600M"}
    assert [chain.frequency for chain in one(stats=[{**BOARDS, **fields}]).chains] == [425e6, 1600e6]


def test_fans_without_their_count() -> None:
    """Places without a fan say 0 beside others that turn; all stay where none does."""
    fans = {"fan1": 5640, "fan2": 0}
    assert [fan.fan for fan in one(stats=[{**BOARDS, **fans}]).fans] == ["1"]
    assert [fan.speed for fan in one(stats=[{**BOARDS, "fan1": 0, "fan2": 0}]).fans] == [0, 0]
    assert one(stats=[{**BOARDS, "fan1": 0, "fan2": 0, "fan_num": 0}]).fans == ()  # cooled by water


def test_ccminer_counts_in_pools() -> None:
    """Its summary has the rejected shares as accepted, however few there are."""
    head = {"STATUS": [{"STATUS": "S", "Description": "ccminer 2.3.3"}]}
    told = normalise({
        "summary": {**head, "SUMMARY": [{"Accepted": "2.0000", "Rejected": "2.0000", "Stale": 0}]},
        "pools": {**head, "POOLS": [{"POOL": 0, "Accepted": 4, "Rejected": 2}]},
    })  # fmt: skip
    assert (told.rig.shares_accepted, told.rig.shares_rejected, told.rig.shares_stale) == (4, 2, 0)


@pytest.mark.parametrize(("of_pools", "right"), [(1000, 1003), (998, 1003), (500, 500), (2000, 2000)])
def test_counts_of_pools_against_the_summarys(of_pools: int, right: int) -> None:
    """A few shares between two replies are no contradiction; where there is one, the pools count."""
    assert one(summary=[{"Accepted": 1003}], pools=[{"Accepted": of_pools}]).rig.shares_accepted == right


def test_boards_of_their_own_objects() -> None:
    """HonorKnight and MinerVa: an object of stats each, fans in every one of them."""
    knight = {"Num chips": 63, "Num active chips": 60, "Temp": 55, "Fan0 rpm": 4200, "Fan1 rpm": 4260}
    told = one(stats=[{"Chain ID": 0, **knight}, {"Chain ID": 1, **knight, "Temp": 57}])
    assert [(c.chain, c.chips, c.chips_expected, c.board_temperature) for c in told.chains] == [
        ("0", 60, 63, 55), ("1", 60, 63, 57)]  # fmt: skip
    assert [(fan.fan, fan.speed) for fan in told.fans] == [("0", 4200), ("1", 4260)]
    minerva = {"Chain ID": 3, "Chip Count": 114, "Device Freq": 510, "Temp Avg": 66.5, "Fan0 Speed": 3300,
               "Voltage": 1480}  # fmt: skip
    (board,) = one(stats=[minerva]).chains
    assert (board.chips, board.frequency, board.board_temperature, board.voltage) == (114, 510e6, 66.5, 1.48)


# --- Avalon ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "watts"),
    [
        ("Ver[1246-83] PS[0 1214 1316 242 3189 1320 3504] MPO[3200]", 3504),
        ("Ver[15-194] PS[0 1209 1187 297 3526 1188 3731] WALLPOWER[3730]", 3730),
        ("PS[0 0 0 4 2792 89 330] MPO[330]", 89),
        ("Ver[Nano3s-25021401] PS[0 0 27541 4 0 3756 133] MPO[133]", 133),
        ("Ver[Nano3-24071801] PS[0 0 0 4 2756 126 330]", 126),  # 27.56 V, 126 W of at most 330
        ("Ver[1047-19120401] PS[0 1212 1315 174 2288 1320]", 2288),
        ("PS[0 0 0 0 0 0 0]", None),
        ("PS[]", None),
        ("Ver[Q-25052801] PS[0 1222 4 0 0 2245 20000] MPO[800]", None),
    ],
)
def test_power_of_avalons(pairs: str, watts: float | None) -> None:
    """At the wall, or what the supply puts out; nothing where it says nothing, or nonsense."""
    assert module(pairs).rig.power == watts


@pytest.mark.parametrize(
    ("work", "soft_off", "state"),
    [("In Work", 0, "mining"), ("In Init", 0, "starting"), ("In Idle", 0, "idle"), ("In Idle", 5, "sleeping"),
     ("In Fault", 0, "fault"), ("On Fire", 0, None)],
)  # fmt: skip
def test_states_of_avalons(work: str, soft_off: int, state: str | None) -> None:
    """SYSTEMSTATU says what it does; idle at somebody's wish is asleep, and makes nothing."""
    told = module(f"SYSTEMSTATU[Work: {work}, Hash Board: 3 ] SoftOFF[{soft_off}] MGHS[100 100] PING[131]")
    assert told.rig.state == state
    assert [chain.hashrate for chain in told.chains] == ([0, 0] if state == "sleeping" else [1e11, 1e11])


def test_errors_of_avalons() -> None:
    """Bits that are failures, each once; those of normal work are none."""
    told = module("ECHU[512 64 64] ECMM[2064] MGHS[1]")
    assert [(error.code, error.text) for error in told.rig.errors] == [
        ("ECHU 0x40", "TooHot"), ("ECMM 0x800", "PGFailed")]  # fmt: skip


def test_modules_of_other_names() -> None:
    """MM ID0:Summary of the Q and the Mini 3, with what is around it."""
    told = module("'STATS':{Ver[Mini3-1] ITemp[24] MGHS[37000] TMax[81] Freq[300] TA[72]}", "MM ID0:Summary")
    (board,) = told.chains
    assert (board.hashrate, board.frequency, board.chips, board.chip_temperature) == (37e12, 300e6, 72, 81)
    assert (told.rig.environment_temperature, told.rig.firmware) == (24, "Mini3-1")


# --- Whatsminer -----------------------------------------------------------------------------------

OFF = {"STATUS": "S", "When": 1, "Code": 131, "Msg": {"btmineroff": "true"}, "Description": "whatsminer v1.3"}
INVALID = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": "whatsminer v1.3"}


def test_a_whatsminer_that_is_switched_off() -> None:
    """It is asked for its status where there is no summary, or no hashrate in it, and is up then."""
    replies: dict[str, Any] = {"get_version": INVALID, "summary": INVALID, "pools": INVALID, "edevs": INVALID,
                               "devs": INVALID, "devdetails": INVALID}  # fmt: skip
    assert next_request(replies, remembered="whatsminer") == "status"
    assert not answered(replies)
    replies["status"] = OFF
    assert next_request(replies, remembered="whatsminer") is None
    assert answered(replies)
    told = normalise(replies, NOW)
    assert (told.rig.state, told.rig.hashrate) == ("sleeping", 0)
    running = {**replies, "summary": reply(SUMMARY=[{"MHS 5s": 1e8}])}
    del running["status"]
    assert next_request(running, remembered="whatsminer") is None
    running["summary"] = reply(SUMMARY=[{"MHS 5s": 0, "MHS av": 0}])
    assert next_request(running, remembered="whatsminer") == "status"
    assert normalise({**replies, "status": {**OFF, "Msg": {"mineroff": "false"}}}).rig.state is None


def test_errors_of_whatsminers() -> None:
    """Error codes in summary."""
    codes = {"Error Code Count": 2, "Error Code 0": 2010, "Error Code 1": 111, "Power Limit": 3600}
    told = normalise({"summary": reply(SUMMARY=[codes])})
    assert [error.code for error in told.rig.errors] == ["2010", "111"]
    assert told.rig.power_limit == 3600


# --- LuxOS and Braiins OS -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "events", "ramps", "state"),
    [
        ({"CurtailMode": "None", "SystemStatus": "Normal"}, [], False, "mining"),
        ({"CurtailMode": "Sleep", "SystemStatus": "Normal"}, [], False, "sleeping"),
        ({"SystemStatus": "Initializing"}, [], False, "starting"),
        ({"SystemStatus": "Normal", "IsTuning": True}, [], False, "tuning"),
        ({"SystemStatus": "Normal"}, [], True, "starting"),
        ({}, ["SLEEP"], False, "sleeping"),
        ({}, ["IDLE"], False, "idle"),
        ({}, [], False, None),
    ],
)
def test_states_of_luxos(config: dict[str, Any], events: list[str], ramps: bool, state: str | None) -> None:
    """By config, events and devs."""
    told = normalise({
        "version": reply(VERSION=[{"LUXminer": "2025.4.8.220305-57b389c7"}]),
        "config": reply(CONFIG=[{**config, "Hostname": "miner-7", "PowerLimit": 3400}]),
        "events": reply(EVENTS=[{"Code": code} for code in events]),
        "devs": reply(DEVS=[{"ID": 0, "IsRamping": ramps, "MHS 5s": 1e6}]),
    })  # fmt: skip
    assert told.rig.state == state
    assert (told.rig.host_name, told.rig.power_limit) == ("miner-7", 3400)
    assert told.rig.errors == ()


def test_errors_of_luxos() -> None:
    """Events that are wrong, with their time; what somebody did is no error."""
    events = [{"Code": "FAN_FAILURE", "Description": "Fan failure", "CreatedAt": "2025-10-12T03:33:14Z"},
              {"Code": "SHUTDOWN_USER"}, {"Code": "NO_BOARDS", "CreatedAt": "yesterday"}]  # fmt: skip
    errors = normalise({"events": reply(EVENTS=events)}).rig.errors
    assert [(error.code, error.text, error.since) for error in errors] == [
        ("FAN_FAILURE", "Fan failure", 1760239994), ("NO_BOARDS", None, None)]  # fmt: skip
    assert isinstance(errors[0], RigError)


@pytest.mark.parametrize(
    ("words", "state"),
    [(["Stable", "Stable"], "mining"), (["Stable", "Tuning individual chips"], "tuning"),
     (["Mining paused"], "sleeping"), (["Something new"], None), ([], None)],
)  # fmt: skip
def test_states_of_braiins(words: list[str], state: str | None) -> None:
    """By the tuner's words."""
    boards = [{"HashchainIndex": 6, "Status": word} for word in words]
    tuner = {"PowerLimit": 1420, "TunerChainStatus": boards}
    told = normalise({"tunerstatus": reply(TUNERSTATUS=[tuner])})
    assert (told.rig.state, told.rig.power_limit) == (state, 1420)


def test_a_fan_that_stands_beside_others() -> None:
    """LuxOS says in stats how many there are: then one at 0 rpm is a fan that stands."""
    replies = vendor_replies("luxos-s19kpro")
    replies["fans"]["FANS"][0]["RPM"] = 0
    assert [fan.speed for fan in normalise(replies).fans] == [0, 1920, 2340, 2340]


# --- Sealminer and Auradine -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "state"),
    [({"PM State": "Running", "Tune Status": "Fine Tuning Done"}, "mining"),
     ({"PM State": "Sleep"}, "sleeping"),
     ({"PM State": "Running", "Tune Status": "Coarse Tuning"}, "tuning"), ({"PM State": "Idle"}, "idle")],
)  # fmt: skip
def test_states_of_sealminers(fields: dict[str, Any], state: str) -> None:
    """By the power manager, but for the time that it tunes."""
    board = {"0 Chip Count": 153, "0 Online": False, "0 MHS(Sample)": 5}
    told = one(stats=[{**board, **fields, "Error Code": "201, 305", "PSU Error": "0x00000010"}])
    assert (told.rig.state, told.chains[0].state) == (state, "dead")
    assert [error.code for error in told.rig.errors] == ["201", "305", "PSU 0x00000010"]


def auradine(sleep: str = "off") -> dict[str, Any]:
    """A Teraflux with two boards, as its makers document the replies."""
    sensors = [{"ID": 0, "Temperature": 21.5}, {"ID": 1, "Temperature": 41.5}]
    chips = [{"ID": 0, "Temperature": 45.8}, {"ID": 1, "Temperature": 51.4}]
    clocks = [{"ID": 0, "Frequency": 240.0}, {"ID": 1, "Frequency": 260.0}]
    return {
        "version": reply(VERSION=[{"GCMiner": "0.5", "API": "1.0"}]),
        "summary": reply(SUMMARY=[{"Elapsed": 60, "MHS 5s": 13.7e6, "Accepted": 3}]),
        "pools": reply(POOLS=[{"POOL": 0, "URL": "stratum+tcp://pool", "Status": "Alive"}]),
        "devs": reply(DEVS=[{"DEV": n, "ID": n, "Name": "ASICBoard", "Enabled": True, "Status": "Alive",
                             "Temperature": 28.25, "MHS 5s": 6.8e6} for n in (1, 2)]),
        "fan": reply(Fan=[{"ID": 1, "Speed": 7080, "Target": 3850, "Max": 7700}, {"ID": 2, "Speed": 7020}]),
        "temperature": reply(Temperature=[
            {"ID": 0, "BoardTemp": [{"ID": 0, "Temperature": 24.9}], "ChipTemp": None},
            {"ID": 1, "BoardTemp": sensors, "ChipTemp": chips}, {"ID": 2, "BoardTemp": [], "ChipTemp": 5}]),
        "psu": reply(PSU=[{"Vout": "11.53V", "PowerIn": "2058.94W", "PoutMax": "3452.00W"}]),
        "mode": reply(Mode=[{"Mode": "custom", "Sleep": sleep, "Ths": 160, "Power": 2000}]),
        "frequency": reply(Frequency=[{"ID": 1, "ChipFrequency": clocks}]),
        "ipreport": reply(IPReport=[{"model": "AT1500", "version": "2023-12.27", "hostname": "teraflux-01"}]),
        "asccount": reply(ASCCount=[{"BoardCount": 2, "AsicCount": 264}]),
    }  # fmt: skip


def test_auradine() -> None:
    """Each thing has a command of its own; boards are told by ID."""
    replies = auradine()
    assert recognise(replies) == "auradine"
    assert next_request(replies) is None
    told = normalise(replies)
    rig = told.rig
    assert (rig.model, rig.firmware, rig.host_name) == ("AT1500", "2023-12.27", "teraflux-01")
    assert (rig.power, rig.power_limit, rig.hashrate_expected) == (2058.94, 2000, 160e12)
    assert (rig.environment_temperature, rig.state, rig.algorithm) == (24.9, "mining", "sha256d")
    assert [device.device for device in told.devices] == ["DEV1", "DEV2"]
    first, second = told.chains
    assert (first.chain, first.hashrate, first.chips, first.voltage) == ("1", 6.8e12, 132, 11.53)
    assert (first.board_temperature, first.chip_temperature, first.frequency) == (41.5, 51.4, 250e6)
    assert (second.board_temperature, second.chip_temperature, second.frequency) == (28.25, None, None)
    assert [(fan.fan, fan.speed, fan.duty) for fan in told.fans] == [("1", 7080, 0.5), ("2", 7020, None)]
    assert normalise(auradine("on")).rig.state == "sleeping"


def test_a_hammer_by_the_bytes() -> None:
    """A D10 as it sends it: four sensors of a board under one name, a scrypt rate in MHS, counts in pools."""
    stats = (
        b'{"STATUS":[{"STATUS":"S","Description":"ccminer 2.3.3"}],"STATS":[{"Type":"Hammer D10"},{"STATS":0,'
        b'"Elapsed":119161,"MHS 5s":"4686.4886","MHS av":"4872.8713","miner_count":2,"fan_num":2,"fan1":4650,'
        b'"fan2":4500,"temp1":21,"temp1":42,"temp1":21,"temp1":45,"temp2":21,"temp2":40,"temp2":23,'
        b'"chain_acn1":108,"chain_acn2":108,"chain_rate1":"2378.27","chain_rate2":"2308.21"}]}'
    )
    summary = reply(SUMMARY=[{"Elapsed": 119134, "MHS 5s": "4885.0813", "Accepted": "156.0000",
                              "Rejected": "156.0000", "Difficulty Accepted": 8804959701.0}])  # fmt: skip
    pools = reply(POOLS=[{"POOL": 0, "Accepted": 13_322, "Rejected": 156}])
    told = normalise({"stats": parse_json(stats, made=one_object), "summary": summary, "pools": pools})
    assert told.rig.hashrate == pytest.approx(4885.0813e6)
    assert [chain.hashrate for chain in told.chains] == pytest.approx([2378.27e6, 2308.21e6])
    assert [chain.board_temperature for chain in told.chains] == [45, 40]
    assert (told.rig.shares_accepted, told.rig.shares_rejected) == (13_322, 156)
    assert (told.rig.algorithm, told.doubts) == ("scrypt", ())
    json.dumps([fan.speed for fan in told.fans])


# --- docs/firmware.md -----------------------------------------------------------------------------


def test_every_family_is_told() -> None:
    """The table of docs/firmware.md has each family, with what it is asked."""
    page = (Path(__file__).parents[2] / "docs" / "firmware.md").read_text(encoding="utf-8")
    table = page.partition("## What is read")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE))
    assert list(rows) == [family.name for family in FAMILIES]
    for family in FAMILIES:
        asked = rows[family.name].partition(",")[0].split()
        assert tuple(asked) == family.commands, family.name
        assert all(command in rows[family.name] for command in family.further)
