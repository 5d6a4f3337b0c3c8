"""What monitors read: one status from any firmware's replies, as Prometheus text and as JSON."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chi import metrics
from chi.demo import DemoMiner
from chi.miner.reports import REPORTS

GOLDEN = Path(__file__).parent / "data" / "metrics"
FIRMWARES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
NOW = 1_800_000_000.0  # the caller's clock in the golden files
SECRETS = ("wallet", "worker", "letmein")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')


def replies_of(firmware: str) -> dict[str, Any]:
    """The golden replies of a firmware, parsed, by command."""
    files = sorted((GOLDEN / firmware).glob("*.reply"))
    return {path.stem: json.loads(path.read_bytes().rstrip(b"\0")) for path in files}


def own(**values: Any) -> metrics.Own:
    """What chi tells of itself, every family of it."""
    given: dict[str, Any] = {
        "version": "0.0.0", "http_requests": {"200": 7, "502": 1}, "miner_requests": 5,
        "miner_errors": {"timeout": 1}, "denied_requests": {"host": 2}, "json_repairs": {"stray-comma": 3},
        "coalesced_requests": 4, "cpu_seconds": 1.5, "resident_bytes": 2e7, "open_descriptors": 9,
        "max_descriptors": 1024, "start_time": 1.7e9, "scrape_duration": 0.004,
    }  # fmt: skip
    return metrics.Own(**{**given, **values})


def parse(exposition: bytes) -> dict[tuple[str, str], float]:
    """Name and labels to value; AssertionError where the text is not the format, or a series comes twice."""
    found: dict[tuple[str, str], float] = {}
    described: set[str] = set()
    for line in exposition.decode("utf-8").split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in described
            described.add(name)
        elif not line.startswith("# TYPE "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in described
            assert (match[1], match[2] or "") not in found
            found[match[1], match[2] or ""] = float(match[3])
            assert math.isfinite(float(match[3]))
    return found


def status(firmware: str) -> metrics.Status:
    """The status that a firmware's golden replies tell."""
    return metrics.normalise(replies_of(firmware), NOW)


def one(**replies: Any) -> metrics.Status:
    """The status that single objects of sections tell: summary={...}, pools=[...]."""
    sections = {"summary": "SUMMARY", "pools": "POOLS", "devs": "DEVS", "stats": "STATS", "estats": "STATS",
                "edevs": "DEVS", "version": "VERSION", "temps": "TEMPS", "fans": "FANS"}  # fmt: skip
    envelope = {"STATUS": [{"STATUS": "S", "When": 1_700_000_000}]}
    return metrics.normalise({name: {**envelope, sections[name]: found} for name, found in replies.items()})


# --- Golden files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_metrics_of_each_firmware(firmware: str) -> None:
    """Each firmware's replies give exactly the text that was checked by eye."""
    replies = replies_of(firmware)
    success = {command: metrics.succeeded(reply) for command, reply in replies.items()}
    exposition = metrics.prometheus(status(firmware), metrics.Own("0.0.0", commands=success))
    assert exposition == (GOLDEN / firmware / "expected.metrics").read_bytes()


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_json_of_each_firmware(firmware: str) -> None:
    """And exactly the JSON."""
    expected = (GOLDEN / firmware / "expected.json").read_text()
    assert json.dumps(metrics.to_json(status(firmware)), indent=1) + "\n" == expected


# What Prometheus works out of its samples: it stamps each with the time, has max() of sensors and pools, and
# divides. The page and others that read one status have it done for them.
JSON_ALONE = {"uptime", "time", "last_share", "share_interval", "temperature"}


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_json_says_what_metrics_say(firmware: str) -> None:
    """Every sample is in the JSON, and everything in the JSON but JSON_ALONE is a sample or a label."""
    samples = parse(metrics.prometheus(status(firmware), own()))
    told = metrics.to_json(status(firmware))
    expected = {}
    for family in metrics.MINER_FAMILIES:
        for record in [told["rig"]] if family.kind == "rig" else told[f"{family.kind}s"]:
            key = f'{family.kind}="{record[family.kind]}"' if family.kind != "rig" else ""
            if family.info:
                labels = ",".join(f'{name}="{record[name] or ""}"' for name in family.info)
                expected[family.name, f"{key},{labels}" if key else labels] = 1.0
            for attribute, sensor in family.values:
                if record[attribute] is not None:
                    expected[family.name, key + sensor] = float(record[attribute])
    of_miner = {family.name for family in metrics.MINER_FAMILIES}
    assert {key: value for key, value in samples.items() if key[0] in of_miner} == expected
    used = {(family.kind, name) for family in metrics.MINER_FAMILIES
            for name in (*family.info, *(attribute for attribute, _ in family.values))}  # fmt: skip
    for kind, records in ((kind, told[kind]) for kind in ("pools", "devices", "chains", "fans")):
        for record in records:
            assert {(kind[:-1], name) for name in record} - used == {(kind[:-1], kind[:-1])}
    assert {("rig", name) for name in told["rig"]} - used == {("rig", name) for name in JSON_ALONE}


def test_every_family_is_in_some_golden_file() -> None:
    """No family is there that no firmware fills."""
    names = {name for firmware in FIRMWARES for name, _ in parse(metrics.prometheus(status(firmware), own(
        commands={"summary": True})))}  # fmt: skip
    assert names == {"cgminer_up", *(family.name for family in metrics.MINER_FAMILIES),
                     *(name for name, *_ in metrics.OWN_FAMILIES)}  # fmt: skip


@needs_promtool
@pytest.mark.parametrize("firmware", [*FIRMWARES, "down"])
def test_promtool_has_nothing_to_say(firmware: str) -> None:
    """Prometheus's own linter finds no fault."""
    told = None if firmware == "down" else status(firmware)
    text = metrics.prometheus(told, own(commands={"summary": True}), pool_user=True)
    assert PROMTOOL is not None
    command = [PROMTOOL, "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_miner_that_is_down_has_no_series() -> None:
    """Without a status: cgminer_up 0, chi's own, and nothing of the miner's."""
    samples = parse(metrics.prometheus(None, own(commands={"summary": False})))
    assert samples["cgminer_up", ""] == 0
    assert samples["cgminer_command_success", 'command="summary"'] == 0
    assert samples["chi_http_requests_total", 'code="502"'] == 1
    names = {name for name, _ in samples if name.startswith("cgminer_")}
    assert names == {"cgminer_up", "cgminer_command_success", "cgminer_scrape_duration_seconds"}


def test_what_the_system_does_not_tell_is_left_out() -> None:
    """On a system without /proc there is no process family, and no zero either."""
    names = {name for name, _ in parse(metrics.prometheus(None, metrics.Own("1.0")))}
    counters = {"chi_miner_requests_total", "chi_coalesced_requests_total"}
    assert names == {"cgminer_up", "chi_build_info", *counters}


# --- Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_no_secret(firmware: str) -> None:
    """Users and passwords of pools are in no output, unless asked for."""
    told = status(firmware)
    outputs = metrics.prometheus(told, own()).decode() + json.dumps(metrics.to_json(told)) + repr(told)
    assert not [secret for secret in SECRETS if secret in outputs]


def test_pool_user_on_request() -> None:
    """Asked for, the user is a label of cgminer_pool_info only, and a member in the JSON."""
    told = status("bitmain-s9")
    text = metrics.prometheus(told, own(), pool_user=True).decode()
    assert 'url="stratum+tcp://pool.example.com:3333",user="wallet.worker1"} 1\n' in text
    assert text.count("wallet") == 1
    assert metrics.to_json(told, pool_user=True)["pools"][0]["user"] == "wallet.worker1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("stratum+tcp://wallet.worker:letmein@pool.example.com:3333", "stratum+tcp://pool.example.com:3333"),
        ("stratum+tcp://wal@let:letmein@pool.example.com", "stratum+tcp://pool.example.com"),
        ("wallet:letmein@pool.example.com:3333", "pool.example.com:3333"),
        ("http://pool.example.com/a@b", "http://pool.example.com/a@b"),
        ("", None),
    ],
)
def test_credentials_in_a_url_are_not_shown(url: str, shown: str | None) -> None:
    """A URL may have user and password in it."""
    assert one(pools=[{"POOL": 0, "URL": url}]).pools[0].url == shown


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5), (5.5, 5.5), ("5", 5), ("  5.0000", 5), (" -1.5e3 ", -1500), ("15679.6", 15679.6), ("5.", 5),
        (None, None), (True, None), ("", None), ("nan", None), ("inf", None), ("1_0", None), ("0x10", None),
        ("٣", None), ("5 GH/s", None), (math.nan, None), (math.inf, None), (-math.inf, None), (10**400, None),
        (2**64 - 1, None), ("1e999", None), ("9" * 5000, None), ([5], None), ({"a": 5}, None), (0, 0),
    ],
)  # fmt: skip
def test_numbers(value: Any, expected: float | None) -> None:
    """Numbers come as such and as text; what is none is not there."""
    assert metrics.number(value) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("KHS 5s", 3, 3e3), ("MHS 5s", "2.5", 2.5e6), ("GHS 5s", " 13815.68", 13_815_680_000_000),
     ("THS 5s", 1.5, 1.5e12), ("PHS 5s", 2, 2e15), ("MHS 1s", 1, 1e6), ("MHS 20s", 1, 1e6),
     ("MHS 5s", -1, None), ("MHS 5s", "", None), ("HS 5s", 5, None), ("MHS 5m", 5, None),
     ("MHS rolling", 5, None)],
)  # fmt: skip
def test_hashrate_units(field: str, value: Any, expected: float | None) -> None:
    """The unit and the seconds are in the field's name."""
    assert one(summary=[{field: value}]).rig.hashrate == expected


def test_the_best_of_several_hashrates() -> None:
    """5 s before other times, MHS before the coarser KHS, and what can be read before what cannot."""
    assert one(summary=[{"MHS 1s": 1, "MHS 5s": 2, "KHS 5s": 3}]).rig.hashrate == 2e6
    assert one(summary=[{"MHS 30s": 1, "MHS 20s": 2}]).rig.hashrate == 2e6
    assert one(summary=[{"MHS 5s": None, "KHS 5s": 3}]).rig.hashrate == 3e3


def test_averages_and_totals_in_any_unit() -> None:
    """GHS av, KHS av; Total MH, Total GH."""
    assert one(summary=[{"GHS av": "1.5", "Total MH": 2}]).rig.hashrate_average == 1.5e9
    assert one(summary=[{"KHS av": 4}]).rig.hashrate_average == 4e3
    assert one(summary=[{"Total GH": 2}]).rig.hashes == 2e9


def test_a_rate_only_in_stats() -> None:
    """Where summary has no hashrate, Bitmain's stats have."""
    told = one(summary=[{"Elapsed": 5}], stats=[{"Type": "Antminer X"}, {"GHS 5s": "7", "GHS av": 6}])
    assert (told.rig.hashrate, told.rig.hashrate_average, told.rig.model) == (7e9, 6e9, "Antminer X")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(63.5, 63.5), ("63", 63), (-10, -10), (0, None), (-273, None), (1000, None), ("nan", None)],
)
def test_temperatures(value: Any, expected: float | None) -> None:
    """0 and -273 are what firmwares put where there is no sensor."""
    assert one(devs=[{"ASC": 0, "Temperature": value}]).devices[0].temperature == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("45-47-60-62", 62), ("NaN-NaN-NaN-NaN", None), ("58.25-59-61.75", 61.75), ("0-0-0-0", None), (55, 55)],
)
def test_several_sensors_in_one_field(value: Any, expected: float | None) -> None:
    """The hottest counts."""
    chains = one(stats=[{"chain_acn1": 63, "temp_chip1": value}]).chains
    assert chains[0].chip_temperature == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("  a\nb\x00 ", "a b"), ("", None), ("  ", None), (None, None), (True, None), (3.7, "3.7"),
     (math.nan, None), ([], None), ("\ud800", "?"), ("x" * 999, "x" * 200), ('q"\\', 'q"\\')],
)  # fmt: skip
def test_texts(value: Any, expected: str | None) -> None:
    """Labels are printable, of one line and bounded."""
    assert metrics.text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), ("Y", True), ("false", False), (" True ", True), (1, True), (0.0, False),
     (2, None), ("maybe", None), (None, None)],
)  # fmt: skip
def test_flags(value: Any, expected: bool | None) -> None:
    """Yes and no come in many words; any other says nothing."""
    assert one(pools=[{"POOL": 0, "Stratum Active": value}]).pools[0].active is expected


def test_labels_are_escaped() -> None:
    """Quotes and backslashes in a label stay one label."""
    text = metrics.prometheus(one(pools=[{"POOL": 0, "URL": 'a"b\\c'}]), own()).decode()
    assert 'cgminer_pool_info{pool="0",url="a\\"b\\\\c"} 1\n' in text


def test_whole_and_large_numbers() -> None:
    """Whole numbers have no fraction, large ones an exponent; so too in the JSON."""
    told = metrics.to_json(one(summary=[{"Accepted": "5.0000", "Total MH": 1e14, "Best Share": 1.5}]))["rig"]
    assert json.dumps([told["shares_accepted"], told["hashes"], told["best_share"]]) == "[5, 1e+20, 1.5]"


# --- Time -----------------------------------------------------------------------------------------


def pool_with(last: Any, when: Any, now: float | None, accepted: Any = 1) -> metrics.Pool:
    """A pool with this Last Share Time, in a reply of that time."""
    pool = {"POOL": 0, "Last Share Time": last, "Accepted": accepted}
    return metrics.normalise({"pools": {"STATUS": [{"When": when}], "POOLS": [pool]}}, now).pools[0]


@pytest.mark.parametrize(
    ("last", "when", "now", "expected"),
    [
        (1.7e9, 1.8e9, None, 1.7e9),
        (0, 1.8e9, None, None),
        ("0", 1.8e9, None, None),
        (975, 986, NOW, NOW - 11),  # Avalon, with a clock that was never set
        (975, 986, None, None),
        (975, None, NOW, None),
        (975, 1.8e9, NOW, None),
        (987, 986, NOW, None),
        ("0:00:05", 1.8e9, None, 1.8e9 - 5),
        ("26:01:05", 1.8e9, None, 1.8e9 - 93665),
        ("0:00:05", None, NOW, NOW - 5),
        ("0:00:05", None, None, None),
        ("never", 1.8e9, None, None),
    ],
)
def test_last_share(last: Any, when: Any, now: float | None, expected: float | None) -> None:
    """Epoch seconds, seconds since boot, or so long ago; 0 is never."""
    assert pool_with(last, when, now).last_share == expected


def test_no_share_yet() -> None:
    """LuxOS tells the time of its start for a pool that never got a share."""
    assert pool_with("00:57:33", 1.8e9, None, accepted=0).last_share is None


@pytest.mark.parametrize(
    ("when", "now", "start"), [(1.8e9, 5e9, 1.8e9 - 60), (986, NOW, NOW - 60), (None, None, None)]
)
def test_start_time(when: Any, now: float | None, start: float | None) -> None:
    """By the miner's clock where it is set, else by the caller's, else not known."""
    replies = {"summary": {"STATUS": [{"When": when}], "SUMMARY": [{"Elapsed": 60}]}}
    assert metrics.normalise(replies, now).rig.start_time == start


# --- Names ----------------------------------------------------------------------------------------


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
    assert len(one(pools=[{"POOL": n} for n in range(5000)]).pools) == metrics.MAX_ITEMS


# --- Firmwares ------------------------------------------------------------------------------------


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
    assert told.rig.power == 0


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
    told = metrics.normalise(replies)
    assert (told.rig.hashrate, told.rig.power, told.fans[0].fan) == (5e6, 3400, "psu")
    assert (told.rig.software, told.rig.version, told.pools[0].pool) == ("whatsminer", "2022.REL", "1")


def test_luxos_on_an_s9() -> None:
    """Board and Chip as BOSminer has them, no METADATA, no devs."""
    told = one(temps=[{"Board": 70, "Chip": 85, "ID": 6}, {"TopLeft": 50, "TopRight": "nan", "ID": 7}])
    assert [(c.board_temperature, c.chip_temperature) for c in told.chains] == [(70, 85), (50, None)]


# --- Commands -------------------------------------------------------------------------------------


def scrape(answer: Any, remembered: str = metrics.UNKNOWN, refused: str = "") -> list[str]:
    """What is asked, in order, of a miner that answers with answer(request)."""
    asked: list[str] = []
    replies: dict[str, Any] = {}
    turned_down = {refused} - {""}
    while (request := metrics.next_request(replies, turned_down, remembered)) is not None:
        asked.append(request)
        found = metrics.members(request, answer(request))
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
    asked = {*metrics.INSTEAD.values(), *(name for names in metrics.COMMANDS.values() for name in names)}
    assert asked <= REPORTS


def test_one_request_for_a_c_miner() -> None:
    """All that is wanted in one request."""
    assert scrape(joining("cgminer-4.11.1")) == ["version+summary+pools+devs+stats"]


@pytest.mark.parametrize(
    ("golden", "firmware", "first"),
    [
        ("bitmain-s19", "bitmain", []),
        ("avalon", "avalon", ["estats"]),
        ("bosminer", "bosminer", ["temps+fans+devdetails+tunerstatus"]),
        ("luxos", "luxos", ["temps+fans+power"]),
    ],
)
def test_a_known_firmware_is_asked_for_its_own(golden: str, firmware: str, first: list[str]) -> None:
    """The first scrape finds out; from the second on it is one request."""
    assert scrape(joining(golden)) == ["version+summary+pools+devs+stats", *first]
    assert metrics.firmware(replies_of(golden)) == firmware
    assert scrape(joining(golden), remembered=firmware) == ["+".join(metrics.COMMANDS[firmware])]


def test_the_simulated_miner() -> None:
    """One request, and all that a Bitmain would tell."""
    demo = DemoMiner()
    try:
        request = metrics.next_request({}) or ""
        reply = demo.respond(json.dumps({"command": request}).encode()).rstrip(b"\0")
    finally:
        demo.close()
    replies = metrics.members(request, json.loads(reply)) or {}
    assert metrics.next_request(replies) is None
    told = metrics.normalise(replies)
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
    own_commands = list(metrics.COMMANDS["whatsminer"])
    assert asked == ["version+summary+pools+devs+stats", "version", *own_commands]
    assert scrape(lambda request: golden.get(request, INVALID), remembered="whatsminer") == own_commands


def test_a_whatsminer_without_edevs() -> None:
    """Newer ones have devs only."""
    golden = {**replies_of("whatsminer"), "devs": replies_of("whatsminer")["edevs"], "edevs": INVALID}
    asked = scrape(lambda request: golden.get(request, INVALID), remembered="whatsminer")
    assert asked == [*metrics.COMMANDS["whatsminer"], "devs"]


def test_a_firmware_no_longer_known() -> None:
    """What was remembered but does not exist is as if it were unknown."""
    assert metrics.next_request({}, remembered="gone") == "version"


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
    assert metrics.firmware({"version": {"VERSION": [version]}}, remembered="avalon") == firmware


def test_members_of_a_joined_reply() -> None:
    """Each command's own reply; one that is missing or malformed has failed."""
    reply = {"summary": [{"SUMMARY": []}], "pools": [], "devs": 5, "id": 1}
    found = metrics.members("summary+pools+devs", reply)
    assert found == {"summary": {"SUMMARY": []}, "pools": None, "devs": None}
    assert metrics.members("summary+pools", {"STATUS": [{"STATUS": "E"}]}) is None
    assert metrics.members("summary+pools", None) is None
    assert metrics.members("summary", None) == {"summary": None}


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
    assert metrics.succeeded(reply) is expected


def test_command_success() -> None:
    """Only of what the firmware is asked for: a probe that it does not know is no failure."""
    replies = {"version": INVALID, "summary": {"STATUS": "S"}, "edevs": None, "devs": {"STATUS": "S"}}
    found = metrics.command_success(replies, "whatsminer")
    assert found == {"summary": True, "edevs": False, "devs": True}


# --- Anything -------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 2**64, -1, 0, 1e308, -1e308, 986])
)
WORDS = st.sampled_from(
    ["", " ", "nan", "-inf", "Infinity", "1e308", "-5", "  7 ", "Y", "Alive", "0:00:05", "45-47-60-62", "[",
     "Antminer", "MGHS[1 2] MTmax[x]PS[", "Fan1[]]][[", '"\\\n', "\ud800", "9" * 300, "whatsminer", "]", "+"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=8)), inner, max_size=3)
    ),
    max_leaves=6,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in paths_of(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with another at a place; Ellipsis removes what is there."""
    if not path:
        return by
    copied = copy.copy(value)
    if by is ... and len(path) == 1:
        del copied[path[0]]
    else:
        copied[path[0]] = replaced(value[path[0]], path[1:], by)
    return copied


def check_outputs(replies: Any) -> None:
    """Whatever the replies: no exception, a valid text without NaN, valid JSON, a request or none."""
    for now in (None, NOW):
        told = metrics.normalise(replies, now)
        parse(metrics.prometheus(told, own(), pool_user=True))
        json.dumps(metrics.to_json(told), allow_nan=False)
    metrics.next_request(replies)
    metrics.command_success(replies, metrics.firmware(replies))


def damaged(firmware: str, data: st.DataObject) -> Any:
    """Golden replies with any field missing, of another type, huge, negative or nan."""
    replies: Any = replies_of(firmware)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from([path for path in paths_of(replies) if path]))
        replies = replaced(replies, path, data.draw(st.one_of(st.just(...), ANYTHING)))
    return replies


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_golden_reply_with_anything_in_it(firmware: str, data: st.DataObject) -> None:
    """Whatever a field is, every output is what it should be."""
    check_outputs(damaged(firmware, data))


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize("value", [None, math.nan, -1, 1e300, "", [], {}, True], ids=repr)
def test_every_field_wrong(firmware: str, value: Any) -> None:
    """Each field of each golden reply in turn, and then all at once."""
    replies: Any = replies_of(firmware)
    leaves = [path for path in paths_of(replies) if len(path) >= 4]
    for path in leaves[:: max(1, len(leaves) // 100)]:
        metrics.prometheus(metrics.normalise(replaced(replies, path, value), NOW), own())
    for path in leaves:
        if len(path) == 4:
            replies = replaced(replies, path, value)
    check_outputs(replies)


@QUICK
@given(st.dictionaries(st.sampled_from([*metrics.COMMANDS["luxos"], "stats", "estats", "edevs"]), ANYTHING))
def test_anything_for_a_reply(replies: dict[str, Any]) -> None:
    """A reply may be any JSON."""
    check_outputs(replies)


@QUICK
@given(ANYTHING)
def test_any_joined_reply(reply: Any) -> None:
    """Taking a joined reply apart never fails."""
    check_outputs(metrics.members("summary+pools", reply) or {})


# --- Cost -----------------------------------------------------------------------------------------


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
    program = "import sys; sys.path.insert(0, sys.argv[1]); import chi.metrics; print(*sys.modules)"
    root = Path(metrics.__file__).parent.parent
    # -S: nothing but the module itself, not what an environment adds to each start.
    command = [sys.executable, "-S", "-c", program, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not LARGE & set(done.stdout.split())
