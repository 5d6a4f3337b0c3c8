"""A real Prometheus scrapes chi on a simulated miner: what it sees, in order, as the miner comes and goes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus import Miner, Prometheus, example, wait_until

from chi.status.prometheus import MINER_FAMILIES, VERDICT_FAMILIES
from tests.conftest import Process
from tests.test_monitoring import alerts, queries

TOKEN = "0123456789abcdef0123456789abcdef"
HASHRATE = 'cgminer_hashrate_hashes_per_second{job="chi"}'
UP = 'cgminer_up{job="chi"}'
ERRORS = "chi_miner_errors_total"
ALL = '{job="chi",__name__=~"cgminer_.+"}'
# What is left of cgminer_* while the miner is down.
SCRAPE = {"cgminer_up", "cgminer_scrape_duration_seconds"}


class Rig(NamedTuple):
    """All that runs."""

    miner: Miner
    chi: Process
    prometheus: Prometheus

    def names(self) -> set[str]:
        """The families of cgminer_* that an instant query finds now, less those of the verdict."""
        return {labels["__name__"] for labels, _ in self.prometheus.query(ALL)} - {*VERDICT_FAMILIES}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A simulated miner, chi for everybody and chi with a token, and Prometheus, which scrapes both."""
    folder = tmp_path_factory.mktemp("prometheus")
    token = folder / "token"
    token.write_text(TOKEN, encoding="ascii")
    token.chmod(0o600)
    miner, started = Miner(), []
    try:
        miner.start()
        common = ("-w", "0", "--listen", "127.0.0.1", "-p", str(miner.port), "--read-only")
        for options in ((), ("--private", "--token-file", str(token))):
            started.append(Process(*common, *options))
        # As in the example's last lines.
        text = example({"chi": f"127.0.0.1:{started[0].port}", "private": f"127.0.0.1:{started[1].port}"})
        head, private = text.rsplit("# authorization:", 1)
        private = private.replace("# ", "").replace("/etc/prometheus/chi-token", str(token))
        prometheus = Prometheus(folder, f"{head}authorization:{private}")
        try:
            wait_until(prometheus.ready, "Prometheus is ready")
            yield Rig(miner, started[0], prometheus)
        finally:
            prometheus.stop()
    finally:
        for process in started:
            process.stop(signal.SIGKILL)
            for stream in (process.process.stdout, process.process.stderr):
                if stream is not None:
                    stream.close()
        miner.kill()


def test_scrape_is_taken(rig: Rig) -> None:
    """Prometheus takes every sample: no error at the target, every family there with its type."""
    wait_until(lambda: rig.prometheus.value("sum(cgminer_up)") == 2, "cgminer_up is 1 in both jobs")
    for target in rig.prometheus.api("targets")["activeTargets"]:
        assert (target["health"], target["lastError"]) == ("up", ""), target
    told = {
        found["metric"]: (found["type"], found["help"])
        for found in rig.prometheus.api("targets/metadata", match_target='{job="chi"}')
    }
    helps = {family.name: family.help for family in MINER_FAMILIES}
    assert rig.names() - SCRAPE - {"cgminer_command_success"} <= helps.keys()
    for name in rig.names() & helps.keys():
        assert told[name] == ("counter" if name.endswith("_total") else "gauge", helps[name])


def test_query_gives_the_hashrate(rig: Rig) -> None:
    """What a query returns is what the miner says."""
    says = rig.chi.get("/status.json").json["rig"]["hashrate"]
    ((labels, value),) = rig.prometheus.query(HASHRATE)
    here = f"127.0.0.1:{rig.chi.port}"
    assert labels == {"__name__": HASHRATE.partition("{")[0], "job": "chi", "instance": here}
    assert value == pytest.approx(says, rel=0.2)
    assert value > 1e12


def test_counters_grow(rig: Rig) -> None:
    """rate() of the hashes is about the hashrate, once there are enough scrapes."""

    def rate() -> float | None:
        return rig.prometheus.value('rate(cgminer_hashes_total{job="chi"}[10s])')

    hashrate = rig.prometheus.value(HASHRATE)
    assert hashrate is not None
    wait_until(lambda: abs((rate() or 0) / hashrate - 1) < 0.3, "the hashes grow by the hashrate")
    requests = 'increase(chi_miner_requests_total{job="chi"}[10s])'
    wait_until(lambda: rig.prometheus.value(requests) or 0, "the requests to the miner are counted")


def test_token(rig: Rig) -> None:
    """With --private, Prometheus scrapes with the token of the example's credentials_file."""
    assert rig.prometheus.value('up{job="private"}') == 1
    assert rig.prometheus.value('cgminer_up{job="private"}') == 1


def test_rules_are_evaluated(rig: Rig) -> None:
    """Prometheus has each alert, and evaluates all rules without an error."""

    def rules() -> list[dict[str, str]]:
        return [rule for group in rig.prometheus.api("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule is evaluated")
    assert {rule["name"] for rule in rules() if rule["type"] == "alerting"} == set(alerts())
    assert {rule["health"] for rule in rules()} == {"ok"}


def test_dashboard_queries_run(rig: Rig) -> None:
    """Each query of the dashboard runs without an error, and nearly all find something."""
    found = {}
    for title, expression in queries():
        here = expression.replace("miner1.*|.*@.*", ".*").replace("miner1", f"127.0.0.1:{rig.chi.port}")
        found[f"{title}: {here}"] = rig.prometheus.query(here)
    assert len(found) > 10
    empty = [text for text, series in found.items() if not series]
    assert len(empty) < len(found) / 3, empty


def test_stopped_miner(rig: Rig) -> None:
    """A miner that is killed: cgminer_up 0, and its series end, while chi stays up."""
    assert rig.names() > SCRAPE
    rig.miner.kill()
    wait_until(lambda: rig.prometheus.value(UP) == 0, "cgminer_up is 0")
    assert rig.names() == SCRAPE
    assert rig.prometheus.query(HASHRATE) == []
    assert rig.prometheus.value(f'{ERRORS}{{job="chi",reason="refused"}}')
    # They have ended, not merely grown old: Prometheus looks back for 5 minutes.
    assert rig.prometheus.value(f"count_over_time({HASHRATE}[5m])")


def test_alert_is_pending(rig: Rig) -> None:
    """MinerDown sees it."""

    def pending() -> bool:
        found = rig.prometheus.query('ALERTS{job="chi"}')
        return {labels["alertname"] for labels, _ in found} >= {"MinerDown"}

    wait_until(pending, "MinerDown is pending")


def test_miner_comes_back(rig: Rig) -> None:
    """Its series come back, as before."""
    rig.miner.start()
    wait_until(lambda: rig.prometheus.value(UP) == 1, "cgminer_up is 1")
    wait_until(lambda: rig.prometheus.value(HASHRATE) or 0, "there is a hashrate")
    assert rig.names() > SCRAPE


def test_hung_miner(rig: Rig) -> None:
    """A miner that hangs is down before Prometheus gives the scrape up, and comes back."""
    rig.miner.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: rig.prometheus.value(UP) == 0, "cgminer_up is 0")
        assert rig.names() == SCRAPE
        duration = rig.prometheus.value('cgminer_scrape_duration_seconds{job="chi"}')
        assert duration is not None
        assert 0.4 < duration < 1  # scrape_timeout is 1 s
        # The request itself has the time of --timeout.
        timeouts = f'{ERRORS}{{job="chi",reason="timeout"}}'
        wait_until(lambda: rig.prometheus.value(timeouts), "the timeout is counted")
    finally:
        rig.miner.signal(signal.SIGCONT)
    wait_until(lambda: rig.prometheus.value(UP) == 1, "cgminer_up is 1")


def test_no_scrape_failed(rig: Rig) -> None:
    """Through all this chi answered each scrape in time, and Prometheus has nothing to complain of."""
    for job in ("chi", "private"):
        assert rig.prometheus.value(f'min_over_time(up{{job="{job}"}}[10m])') == 1
        scrapes = rig.prometheus.value(f'count_over_time(up{{job="{job}"}}[10m])')
        assert scrapes is not None
        assert scrapes > 5
    assert "level=error" not in rig.prometheus.log
    assert "level=warn" not in rig.prometheus.log
    assert TOKEN not in rig.prometheus.log + rig.chi.log


def test_log_tells_each_change_once(rig: Rig) -> None:
    """The log of chi has a line for each time that the miner went or came, not one for each scrape."""
    words = ("miner 127.0.0.1:", "refuses", "did not answer")
    said = [line for line in rig.chi.log.splitlines() if any(word in line for word in words)]
    changes = ("answers", "refuses", "answers", "did not answer", "answers")
    said = [line for line in said if " for the miner at " not in line]
    assert len(said) == len(changes), said
    assert all(change in line for change, line in zip(changes, said)), said


def test_chi_that_stops(rig: Rig) -> None:
    """Without chi, all its series end, and Prometheus itself says that the target is down."""
    assert rig.chi.stop() == 0
    wait_until(lambda: rig.prometheus.value('up{job="chi"}') == 0, "up is 0")
    assert rig.prometheus.query(ALL) == []


def test_nobody_else_is_served(rig: Rig) -> None:
    """Prometheus listens on 127.0.0.1 alone."""
    tables = [Path(f"/proc/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()]
    listening = [line[1] for line in lines if line[3] == "0A"]
    port = f":{rig.prometheus.port:04X}"
    found = [address for address in listening if address.endswith(port)]
    assert found == [socket.inet_aton("127.0.0.1")[::-1].hex().upper() + port]
