"""packaging/monitoring: what others need to watch miners through chi, and that it fits what chi tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chi.status.model import Chain, Fan, Pool, Rig
from chi.status.problems import PROBLEMS, code_of
from chi.status.prometheus import MINER_FAMILIES, OWN_FAMILIES, VERDICT_FAMILIES

MONITORING = Path(__file__).resolve().parent.parent / "packaging" / "monitoring"

URLS = {"/metrics", "/status.json", "/healthz", "/readyz"}  # of chi's own, those that monitors ask for
FAMILIES = {
    "cgminer_up",
    *(family.name for family in MINER_FAMILIES),
    *(name for name, *_ in OWN_FAMILIES),
    *VERDICT_FAMILIES,
}
NAME = re.compile(r"\b(?:cgminer|chi|process)_[a-z_]+\b")


def families_in(text: str) -> set[str]:
    """The metric names in a text; not the strings in it, nor the names of snippets' own things."""
    return set(NAME.findall(re.sub(r"chi_(?:miner_[a-z]+|token)\b(?!_)", "", text)))


# --- Prometheus -----------------------------------------------------------------------------------


def alerts() -> dict[str, str]:
    """The rules' text, by name of the alert."""
    parts = (MONITORING / "alerts.yml").read_text().split("- alert: ")[1:]
    return {part.split("\n", 1)[0]: part for part in parts}


def test_every_alert_is_tested() -> None:
    """Each is shown to fire, before that not to, and to resolve."""
    tests = (MONITORING / "alerts_test.yml").read_text()
    for name in alerts():
        assert len(re.findall(rf"alertname: {name}\n\s+exp_alerts:(?: &\w+)?\n", tests)) >= 1, name
        assert len(re.findall(rf"alertname: {name}}}", tests)) >= 2, name


# Rows that no alert of their own tells: MinerDown, and what is meant or passes.
NO_ALERT = {"no-data", "starting", "tuning"}
SEVERITIES = {"MinerImpaired": "warning", "MinerTellsLess": "warning", "MinerRestarted": "info"}


def test_the_alerts_have_the_codes_of_the_verdict() -> None:
    """Each row of its table is in an alert of its level, or ends the earning; no rule has another code."""
    told = {
        name: {code for codes in re.findall(r'code=~?"([^"]*)"', rule) for code in codes.split("|")}
        for name, rule in alerts().items()
    }
    ends = {code_of(key) for key, kind in PROBLEMS.items() if kind.ends}
    lasting = {
        level: {code_of(key) for key, kind in PROBLEMS.items() if kind.level == level and not kind.ends}
        for level in ("bad", "warn")
    }
    warnings = lasting["warn"] - NO_ALERT - told["MinerRestarted"]
    assert told["MinerNotEarning"] == {"sleeping"} <= ends
    assert told["MinerImpaired"] == warnings
    assert told["MinerBroken"] == lasting["bad"] - warnings - NO_ALERT
    assert set().union(*told.values()) | ends | NO_ALERT == {code_of(key) for key in PROBLEMS}
    for name, rule in alerts().items():
        assert f"severity: {SEVERITIES.get(name, 'critical')}\n" in rule


def lasts(seconds: float) -> str:
    """A length of time, as the documentation has it."""
    if not seconds:
        return "at once"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def row_of(key: str) -> str:
    """What docs/verdict.md says of a row of the table, up to its last column."""
    kind = PROBLEMS[key]
    share = kind.clear is not None and kind.limit is not None and kind.limit < 2

    def value(limit: float | None) -> str:
        if limit is None:
            return ""
        return f"{limit * 100:g} %" if share else f"{limit:g} °C" if kind.clear else lasts(limit)

    after, stay = (lasts(seconds) for seconds in (kind.after, kind.stay))
    window = lasts(kind.window) if kind.window else ""
    code, _, rest = key.partition("/")
    limits = (value(kind.limit), value(kind.clear))
    return "| " + " | ".join((f"`{code}` {rest}".strip(), kind.level, *limits, window, after, stay)) + " |"


def test_the_documentation_has_the_table_of_the_verdict() -> None:
    """docs/verdict.md: each row with its limits, window and delays, in their order."""
    text = (MONITORING.parent.parent / "docs" / "verdict.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `")] == [row_of(key) for key in PROBLEMS]
    for key, kind in PROBLEMS.items():
        assert f"`{code_of(key)}`" in text
        assert kind.sentence


def test_alerts_use_what_there_is() -> None:
    """Every family in the rules and their tests exists."""
    for name in ("alerts.yml", "alerts_test.yml"):
        used = families_in((MONITORING / name).read_text())
        assert used
        assert used <= FAMILIES


# --- Grafana --------------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return loaded


def every_panel(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its panels, and those in rows that are collapsed."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> Iterator[tuple[str, str]]:
    """Title and PromQL of each query, with the variables filled in as Grafana does."""
    board = dashboard()
    places = [("annotation", board["annotations"]["list"][0]["expr"])]
    for panel in every_panel(board):
        places += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    values = {"$instance": "miner1.*|.*@.*", "$miner": "miner1", "$job": "chi", "$__rate_interval": "2m"}
    for title, expression in places:
        for name, value in values.items():
            expression = expression.replace(name, value)
        assert "$" not in expression, title
        yield title, expression


LEFT_OUT = {  # in other words on it already, or of use to queries only
    "cgminer_chain_chips_expected",
    "cgminer_chain_hashrate_expected_hashes_per_second",
    "cgminer_chain_state",
    "cgminer_chain_voltage_volts",
    "cgminer_device_enabled",
    "cgminer_device_hardware_errors_total",
    "cgminer_device_hashes_total",
    "cgminer_device_hashrate_hashes_per_second",
    "cgminer_device_info",
    "cgminer_efficiency_joules_per_hash",
    "cgminer_environment_temperature_celsius",
    "cgminer_error",
    "cgminer_fan_duty_ratio",
    "cgminer_hashrate_window_hashes_per_second",
    "cgminer_last_share_timestamp_seconds",
    "cgminer_pool_priority",
    "cgminer_pool_rejected_reason_total",
    "cgminer_pool_response_time_seconds",
    "cgminer_pool_share_difficulty",
    "cgminer_pool_shares_stale_total",
    "cgminer_pool_vendor",
    "cgminer_power_limit_watts",
    "cgminer_share_difficulty_accepted_total",
    "cgminer_share_difficulty_rejected_total",
    "cgminer_share_interval_seconds",
    "cgminer_shares_stale_total",
    "cgminer_state",
}


def test_dashboard_uses_what_there_is() -> None:
    """Every family in a query exists, and of the miner's, the dashboard leaves out only these."""
    used = set().union(*(families_in(expression) for _, expression in queries()))
    assert used <= FAMILIES
    assert {family.name for family in MINER_FAMILIES} - used == LEFT_OUT


def test_dashboard_narrows_to_a_miner() -> None:
    """Each query is of the fleet, of the one miner in detail, or of chi; the table's link sets which one."""
    board = dashboard()
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource", "job", "instance", "miner",
    ]  # fmt: skip
    fleet, one = '{job="$job", instance=~"$instance"}', '{job="$job", instance="$miner"}'
    own = '{job=~"$job|chi-own"}'
    for panel in every_panel(board):
        for target in panel.get("targets", []):
            selectors = re.findall(r"\{[^{}]*\}", target["expr"])
            assert selectors
            assert {*selectors} in ({fleet}, {one}, {own}), panel["title"]
            names = re.findall(r"\bup(?={)", target["expr"]) + NAME.findall(target["expr"])
            assert len(selectors) == len(names), panel["title"]
    assert "var-miner=${__value.raw}" in json.dumps(board)


def test_dashboard_of_many() -> None:
    """Of many miners the fleet's plots show ten, or sums; rows of one miner's are closed at first."""
    for panel in dashboard()["panels"]:
        assert panel.get("collapsed", False) is bool(panel.get("panels")), panel["title"]
        if panel["type"] in ("timeseries", "bargauge"):
            (target,) = panel["targets"]
            assert re.match(r"(topk|bottomk|sum|count)\b|.* and on .* bottomk", target["expr"]), panel[
                "title"
            ]


def test_one_unit_per_plot() -> None:
    """Every panel has a unit, the same for all it shows; only the table's columns have their own."""
    for panel in every_panel(dashboard()):
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        if panel["type"] != "table":
            assert panel["fieldConfig"]["overrides"] == [], panel["title"]


def test_dashboard_layout() -> None:
    """Panels have an id each and do not overlap."""
    panels = list(every_panel(dashboard()))
    assert len({panel["id"] for panel in panels}) == len(panels)
    for row in (each for each in panels if each.get("panels")):
        assert_apart(row["panels"])
    assert_apart(dashboard()["panels"])


def assert_apart(panels: list[dict[str, Any]]) -> None:
    """None is over another."""
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert grid["x"] + grid["w"] <= 24
        assert not covered & cells, panel["title"]
        covered |= cells


# --- Others ---------------------------------------------------------------------------------------

SNIPPETS = (
    *("checks.md", "home-assistant.yaml", "home-assistant-fleet.yaml", "telegraf.conf", "uptime-kuma.md"),
    "zabbix-template.yaml",
)


@pytest.mark.parametrize("name", SNIPPETS)
def test_urls_are_chis(name: str) -> None:
    """Each URL in a snippet is one that chi has."""
    text = (MONITORING / name).read_text(encoding="utf-8")
    paths = re.findall(r"https?://[^\s/\"'`]+(/[^\s\"'`]*)", text)
    assert paths
    assert set(paths) <= URLS | {"/fleet.json", "/@NAME/status.json"}


def test_every_file_is_known() -> None:
    """Nothing is here that no test reads."""
    ours = {"prometheus.yml", "alerts.yml", "alerts_test.yml", "alertmanager.yml", "grafana-dashboard.json"}
    assert {path.name for path in MONITORING.iterdir()} == ours | {*SNIPPETS}


def test_zabbix_reads_what_there_is() -> None:
    """Every pattern is a family."""
    text = (MONITORING / "zabbix-template.yaml").read_text(encoding="utf-8")
    used = families_in(text)
    assert used
    assert used <= FAMILIES
    identifiers = re.findall(r"uuid: (\w+)", text)
    assert len(set(identifiers)) == len(identifiers)
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", found) for found in identifiers)


def codes_in(text: str) -> list[set[str]]:
    """The codes of the verdict in each regular expression of Zabbix's triggers."""
    return [set(found.split("|")) for found in re.findall(r'"regexp","([^"]*)"', text)]


def test_zabbix_has_the_codes_of_the_alerts() -> None:
    """Each trigger has those of the alert that it is like, in what begins it and in what ends it."""
    told = codes_in((MONITORING / "zabbix-template.yaml").read_text(encoding="utf-8"))
    rules = alerts()
    for name in ("MinerBroken", "MinerImpaired", "MinerRestarted", "MinerNotEarning"):
        codes = {code for found in re.findall(r'code=~?"([^"]*)"', rules[name]) for code in found.split("|")}
        assert told.count(codes) >= (1 if name == "MinerRestarted" else 2), name


def test_where_the_token_goes() -> None:
    """Each snippet says so, for chi with --private."""
    for name in (*SNIPPETS, "prometheus.yml"):
        assert "--private" in (MONITORING / name).read_text(encoding="utf-8"), name


CLASSES = {"rig": Rig, "pools": Pool, "chains": Chain, "fans": Fan}


def templates(name: str) -> list[str]:
    """The Jinja templates of a file for Home Assistant, each with its text in one line."""
    text = re.sub(r"\s+", " ", (MONITORING / name).read_text(encoding="utf-8"))
    return re.findall(r"(?:template|availability|state): (?:>- |\")(.*?)(?= (?:[\w-]+:|#|- name:) )", text)


def test_json_readers_read_what_there_is() -> None:
    """Every member of /status.json that Home Assistant reads exists."""
    names = {kind: set(found._fields) for kind, found in CLASSES.items()}
    read = []
    for template in templates("home-assistant.yaml"):
        read += [("rig", name) for name in re.findall(r"(?:'rig', \{\}\)|\brig)\.get\('(\w+)'\)", template)]
        for kind in re.findall(r"get\('(pools|fans)', \[\]\)", template):
            found = re.findall(r"attribute='(\w+)'|selectattr\('(\w+)'\)", template)
            read += [(kind, "".join(each)) for each in found]
    assert len(read) > 15
    for kind, name in read:
        assert name in names[kind], (kind, name)


def test_uptime_kuma_has_codes_of_the_verdict() -> None:
    """Each code in a query is one that there is."""
    text = (MONITORING / "uptime-kuma.md").read_text(encoding="utf-8")
    used = set(re.findall(r'"([a-z-]+)" in verdict\.problems\.code', text))
    assert {"sleeping"} < used <= {code_of(key) for key in PROBLEMS}


def test_home_assistant_holds_while_chi_cannot_be_reached() -> None:
    """No template takes a reply for granted: each entity has an availability, and no bare value_json."""
    for name in ("home-assistant.yaml", "home-assistant-fleet.yaml"):
        text = (MONITORING / name).read_text(encoding="utf-8")
        entities = len(re.findall(r"^ +- name: ", text, re.M))
        assert entities == len(re.findall(r"^ +availability: ", text, re.M)) > 4
        assert text.count("value_json") == text.count("(value_json | default({}, true))")
