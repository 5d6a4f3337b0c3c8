"""Each firmware: what it is asked, and what its replies tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chi
from chi.demo import DemoMiner
from chi.miner.reports import REPORTS
from chi.status.firmware import (
    ASKED,
    COMMANDS,
    UNKNOWN,
    command_success,
    members,
    next_request,
    normalise,
    recognise,
)
from chi.status.values import MAX_ITEMS, succeeded
from tests.status.golden import one, replies_of

# --- Names --------------------------------------------------------------------------------------


def test_names_are_distinct() -> None:
    """Labels that two entries would share are replaced by their places: Prometheus would refuse them."""
    told = one(pools=[{"POOL": 3}, {"POOL": 3}], devs=[{"ASC": 1}, {"ASC": 1}])
    assert [pool.pool for pool in told.pools] == ["0", "1"]
    assert [device.device for device in told.devices] == ["DEV0", "DEV1"]
    told = one(pools=[{"POOL": 3}, {}], devs=[{"GPU": 0}, {"PGA": 0}, {"ASC": "x"}])
    assert [pool.pool for pool in told.pools] == ["0", "1"]
    assert [device.device for device in told.devices] == ["DEV0", "DEV1", "DEV2"]
    assert [device.device for device in one(devs=[{"GPU": 0}, {"PGA": 0}]).devices] == ["GPU0", "PGA0"]


def test_a_flood_is_bounded() -> None:
    """No reply makes more than MAX_ITEMS of a kind."""
    assert len(one(pools=[{"POOL": n} for n in range(5000)]).pools) == MAX_ITEMS


# --- Firmwares ----------------------------------------------------------------------------------


def test_scrypt_antminers_tell_boards_in_another_unit() -> None:
    """chain_rate is read in the unit in which the boards add up to the rig, or not at all."""
    l3 = {"MHS 5s": "507.123", "chain_rate1": "253.5", "chain_rate2": "253.6"}
    assert [chain.hashrate for chain in one(stats=[l3]).chains] == [253.5e6, 253.6e6]
    l9 = {"MHS 5s": 16000, "chain_acn1": 180, "chain_rate1": 16}
    assert [chain.hashrate for chain in one(stats=[l9]).chains] == [16e9]
    odd = {"GHS 5s": 1e-9, "chain_acn1": 180, "chain_rate1": 16}
    assert [chain.hashrate for chain in one(stats=[odd]).chains] == [None]


def test_bitmain_fans_that_stand() -> None:
    """A fan at 0 rpm is told where fan_num says there is one more than turn; spare places are not."""
    stats = {"fan_num": 2, "fan1": 0, "fan2": 0, "fan5": 3360, "fan6": 4440}
    assert [(fan.fan, fan.speed) for fan in one(stats=[stats]).fans] == [("5", 3360), ("6", 4440)]
    stopped = one(stats=[{**stats, "fan6": 0}]).fans
    assert [(fan.fan, fan.speed) for fan in stopped] == [("1", 0), ("2", 0), ("5", 3360), ("6", 0)]
    assert [fan.speed for fan in one(stats=[{"fan_num": 2, "fan1": 10, "fan2": "x"}]).fans] == [10]


def test_avalon_modules() -> None:
    """Old Avalons: several modules in a reply, one fan each, no word of boards."""
    stats = [{"ID": "AV90", "MM ID1": "Ver[9211809] Temp[23] TMax[94] Fan[4830] PS[]", "MM ID2":
              "Ver[9211809] TMax[93] Fan[4710] PS[0 0 0 0 1100]", "MM Count": 2}]  # fmt: skip
    told = one(stats=stats)
    assert [(chain.chain, chain.chip_temperature) for chain in told.chains] == [("1", 94), ("2", 93)]
    assert [(fan.fan, fan.speed) for fan in told.fans] == [("1.1", 4830), ("2.1", 4710)]
    assert told.rig.power == 1100
    several = one(stats=[{"MM ID0": "MGHS[1 2] MTmax[70]", "MM ID1": "MGHS[3 4] MTmax[71 72]"}])
    assert [chain.chain for chain in several.chains] == ["0.0", "0.1", "1.0", "1.1"]
    assert [chain.chip_temperature for chain in several.chains] == [70, None, 71, 72]


def test_avalon_at_rest() -> None:
    """An Avalon that starts says -273 and 0: no temperature, no hashrate but 0, fans that stand."""
    told = one(estats=[{"MM ID0": "TMax[-273] Fan1[0] PS[0 0 0 0 0 0 0] MGHS[0.00 0.00] MTmax[-273 -273]"}])
    assert [(chain.hashrate, chain.chip_temperature) for chain in told.chains] == [(0, None), (0, None)]
    assert told.fans[0].speed == 0
    assert told.rig.power is None  # zeros are what a supply says that tells nothing


def test_graphics_cards_have_fans() -> None:
    """In sgminer, devs tells rpm; all zeros where the driver tells nothing."""
    devs = [{"GPU": 0, "Temperature": 61.0, "Fan Speed": 2400}, {"GPU": 1, "Temperature": 0, "Fan Speed": 0}]
    assert [(fan.fan, fan.speed) for fan in one(devs=devs).fans] == [("GPU0", 2400)]


def test_whatsminer_fans_in_devs() -> None:
    """Where summary has no fans, each board tells the same two."""
    told = one(devs=[{"ASC": n, "Fan Speed In": 6480, "Fan Speed Out": 6510} for n in range(3)])
    assert [(fan.fan, fan.speed) for fan in told.fans] == [("in", 6480), ("out", 6510)]


def test_whatsminers_second_api() -> None:
    """The summary in Msg, STATUS a string."""
    message = {"MHS 5s": 5, "Power_RT": 3400, "Power": 3600, "Power Fanspeed": 8000}
    head = {"STATUS": "S", "When": 1.7e9, "Code": 131, "Description": "whatsminer v1.4"}
    replies = {
        "summary": {**head, "Msg": {**message, "Firmware Version": "'2022.REL'"}},
        "pools": {**head, "Msg": {"POOLS": [{"POOL": 1}]}},
    }
    told = normalise(replies)
    assert (told.rig.hashrate, told.rig.power, told.fans[0].fan) == (5e6, 3400, "psu")
    assert (told.rig.software, told.rig.version, told.pools[0].pool) == ("whatsminer", "2022.REL", "1")


def test_luxos_on_an_s9() -> None:
    """Board and Chip as BOSminer has them, no METADATA, no devs."""
    told = one(temps=[{"Board": 70, "Chip": 85, "ID": 6}, {"TopLeft": 50, "TopRight": "nan", "ID": 7}])
    assert [(c.board_temperature, c.chip_temperature) for c in told.chains] == [(70, 85), (50, None)]


# --- Commands -----------------------------------------------------------------------------------


def scrape(answer: Any, remembered: str = UNKNOWN, refused: str = "") -> list[str]:
    """What is asked, in order, of a miner that answers with answer(request)."""
    asked: list[str] = []
    replies: dict[str, Any] = {}
    turned_down = {refused} - {""}
    while (request := next_request(replies, turned_down, remembered)) is not None:
        asked.append(request)
        found = members(request, answer(request))
        if found is None:
            turned_down.add(request)
        else:
            replies.update(found)
    return asked


UNKNOWN_COMMAND = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}]}


def joining(firmware: str) -> Any:
    """A miner with the golden replies that joins."""
    golden = replies_of(firmware)

    def answer(request: str) -> Any:
        found = {name: golden.get(name, UNKNOWN_COMMAND) for name in request.split("+")}
        return {name: [reply] for name, reply in found.items()} if "+" in request else found[request]

    return answer


INVALID = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": "whatsminer v1.1"}


def test_a_scrape_asks_for_reports_only() -> None:
    """What it asks for changes nothing on any firmware, and is shared with other clients."""
    assert ASKED <= REPORTS


def test_one_request_for_a_c_miner() -> None:
    """All that is wanted in one request."""
    assert scrape(joining("cgminer-4.11.1")) == ["version+summary+pools+devs+stats"]


@pytest.mark.parametrize(
    ("golden", "firmware", "first"),
    [
        ("bitmain-s19", "bitmain", []),
        ("avalon", "avalon", ["estats"]),
        ("bosminer", "bosminer", ["temps+fans+devdetails+tunerstatus"]),
        ("luxos", "luxos", ["temps+fans+power+config+events"]),
    ],
)
def test_a_known_firmware_is_asked_for_its_own(golden: str, firmware: str, first: list[str]) -> None:
    """The first scrape finds out; from the second on it is one request."""
    assert scrape(joining(golden)) == ["version+summary+pools+devs+stats", *first]
    assert recognise(replies_of(golden)) == firmware
    assert scrape(joining(golden), remembered=firmware) == ["+".join(COMMANDS[firmware])]


def test_the_simulated_miner() -> None:
    """One request, and all that a Bitmain would tell."""
    demo = DemoMiner()
    try:
        request = next_request({}) or ""
        reply = demo.respond(json.dumps({"command": request}).encode()).rstrip(b"\0")
    finally:
        demo.close()
    replies = members(request, json.loads(reply)) or {}
    assert next_request(replies) is None
    told = normalise(replies)
    assert [len(found) for found in (told.pools, told.devices, told.chains, told.fans)] == [2, 3, 3, 2]
    assert told.rig.hashrate == pytest.approx(sum(chain.hashrate or 0 for chain in told.chains))


def test_a_miner_that_does_not_join() -> None:
    """Asked one by one; and once known, from the start."""
    golden = replies_of("cgminer-4.11.1")

    def answer(request: str) -> Any:
        return golden.get(request, UNKNOWN_COMMAND)

    single = ["version", "summary", "pools", "devs", "stats"]
    assert scrape(answer) == ["+".join(single), *single]
    assert scrape(answer, refused="+".join(single)) == single


def test_a_whatsminer() -> None:
    """Found by what it says of a command that it does not know; then asked for its own, one by one."""
    golden = replies_of("whatsminer")
    asked = scrape(lambda request: golden.get(request, INVALID))
    own_commands = list(COMMANDS["whatsminer"])
    assert asked == ["version+summary+pools+devs+stats", "version", *own_commands]
    assert scrape(lambda request: golden.get(request, INVALID), remembered="whatsminer") == own_commands


def test_a_whatsminer_without_edevs() -> None:
    """Newer ones have devs only."""
    golden = {**replies_of("whatsminer"), "devs": replies_of("whatsminer")["edevs"], "edevs": INVALID}
    asked = scrape(lambda request: golden.get(request, INVALID), remembered="whatsminer")
    assert asked == [*COMMANDS["whatsminer"], "devs"]


def test_a_firmware_no_longer_known() -> None:
    """What was remembered but does not exist is as if it were unknown."""
    assert next_request({}, remembered="gone") == "version"


@pytest.mark.parametrize(
    ("version", "firmware"),
    [
        ({"CGMiner": "4.11.1"}, "cgminer"),
        ({"BMMiner": "1.0.0"}, "bitmain"),
        ({"CGMiner": "4.9.0", "Type": "Antminer L3+"}, "bitmain"),
        ({"CGMiner": "4.9.0", "Type": "other"}, "cgminer"),
        ({"LUXminer": "2024.2.19", "BMMiner": "1.0.0"}, "luxos"),
        ({"BOSer": "boser-buildroot 0.1.0"}, "bosminer"),
        ({"CGMiner": "4.11.1", "PROD": "AvalonNano"}, "avalon"),
        ({}, "avalon"),
    ],
)
def test_firmware_by_version(version: Any, firmware: str) -> None:
    """The fields of `version` tell; nothing there leaves what was remembered."""
    assert recognise({"version": {"VERSION": [version]}}, remembered="avalon") == firmware


def test_members_of_a_joined_reply() -> None:
    """Each command's own reply; one that is missing or malformed has failed."""
    reply = {"summary": [{"SUMMARY": []}], "pools": [], "devs": 5, "id": 1}
    found = members("summary+pools+devs", reply)
    assert found == {"summary": {"SUMMARY": []}, "pools": None, "devs": None}
    assert members("summary+pools", {"STATUS": [{"STATUS": "E"}]}) is None
    assert members("summary+pools", None) is None
    assert members("summary", None) == {"summary": None}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"STATUS": [{"STATUS": "S"}]}, True), ({"STATUS": [{"STATUS": "W"}]}, True),
        ({"STATUS": [{"STATUS": "E", "Code": 14}]}, False), ({"STATUS": [{"STATUS": "F"}]}, False),
        ({"STATUS": [{"STATUS": "E", "Code": 10, "Msg": "No ASCs"}]}, True), (INVALID, False),
        ({"STATUS": "S", "Msg": {}}, True), ({"STATUS": {"STATUS": "E"}}, False), ({"SUMMARY": [{}]}, True),
        ({}, False), (None, False), ([], False), (5, False),
    ],
)  # fmt: skip
def test_success(reply: Any, expected: bool) -> None:
    """An error is none where it only says that there are no devices."""
    assert succeeded(reply) is expected


def test_command_success() -> None:
    """Only of what the firmware is asked for: a probe that it does not know is no failure."""
    replies = {"version": INVALID, "summary": {"STATUS": "S"}, "edevs": None, "devs": {"STATUS": "S"}}
    found = command_success(replies, "whatsminer")
    assert found == {"summary": True, "edevs": False, "devs": True}


# --- Cost ---------------------------------------------------------------------------------------


LARGE = {
    "asyncio",
    "uuid",
    "decimal",
    "statistics",
    "fractions",
    "ssl",
    "ctypes",
    "xml",
    "importlib.metadata",
}


def test_import_is_cheap() -> None:
    """An appliance is small: nothing large is imported."""
    rooms = "from chi.status import firmware, history, model, prometheus, values"
    program = f"import sys; sys.path.insert(0, sys.argv[1]); {rooms}; print(*sys.modules)"
    root = Path(chi.__file__).parent.parent
    # -S: nothing but the module itself, not what an environment adds to each start.
    command = [sys.executable, "-S", "-c", program, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not LARGE & set(done.stdout.split())
