"""A real Prometheus finds 40 miners of one chi, two of them down, and one that comes later, by itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus import Prometheus, end, fleet_example, wait_until

from tests.conftest import Process
from tests.test_monitoring import dashboard, every_panel

MINERS = Path(__file__).resolve().parents[2] / "bench" / "miners.py"
COUNT, DOWN = 40, 2
UNTOLD = ("power", "expected", "rejected")  # by the simulated miner, or so soon


class Rig(NamedTuple):
    """All that runs, and the lines of the miners: the last is not served yet."""

    chi: Process
    prometheus: Prometheus
    lines: list[str]
    file: Path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Simulated miners, of which two hang; chi with a list of all but the last; and Prometheus."""
    folder = tmp_path_factory.mktemp("fleet")
    command = [sys.executable, str(MINERS), str(COUNT + 1), str(DOWN)]
    miners = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert miners.stdout is not None
    lines = list(iter(lambda: miners.stdout.readline().strip(), "ready"))  # type: ignore[union-attr]
    file = folder / "miners"
    file.write_text("\n".join(lines[:COUNT]))
    chi = Process(
        "-w", "0", "--listen", "127.0.0.1", "--miners", str(file), "--timeout", "0.4", "--threads", "8"
    )
    try:
        prometheus = Prometheus(folder, fleet_example(f"127.0.0.1:{chi.port}"))
        try:
            wait_until(prometheus.ready, "Prometheus is ready")
            yield Rig(chi, prometheus, lines, file)
        finally:
            prometheus.stop()
    finally:
        chi.stop(signal.SIGKILL)
        end(miners)
        for stream in (miners.stdout, chi.process.stdout, chi.process.stderr):
            if stream is not None:
                stream.close()


def expression(title: str) -> str:
    """The first query of a panel, for all miners."""
    (found,) = (panel for panel in every_panel(dashboard()) if panel["title"] == title)
    text: str = found["targets"][0]["expr"]
    return text.replace("$instance", ".*").replace("$job", "chi")


def counts(rig: Rig) -> tuple[float | None, float | None]:
    """How many answer, and how many do not, as the dashboard says."""
    titles = ("Miners answering", "Miners not answering")
    one, other = (rig.prometheus.value(expression(title)) for title in titles)
    return one, other


def test_all_are_found(rig: Rig) -> None:
    """38 answer, two do not; an instance tells chi and miner, and so does a label."""
    wait_until(lambda: counts(rig) == (COUNT - DOWN, DOWN), "38 answer and 2 do not")
    found = {labels["instance"]: labels for labels, _ in rig.prometheus.query('cgminer_up{job="chi"}')}
    names = [line.partition(" ")[0] for line in rig.lines[:COUNT]]
    assert set(found) == {f"127.0.0.1:{rig.chi.port}/@{name}" for name in names}
    assert {labels["miner"] for labels in found.values()} == set(names)
    assert rig.prometheus.value('count(chi_build_info{job="chi-own"})') == 1


def test_every_query_runs(rig: Rig) -> None:
    """No query of the dashboard is refused; those of the fleet show something, and ten where they say ten."""
    instance = rig.prometheus.query("cgminer_up == 1")[0][0]["instance"]
    for panel in every_panel(dashboard()):
        for target in panel.get("targets", []):
            text = target["expr"].replace("$instance", ".*").replace("$miner", instance)
            text = text.replace("$job", "chi").replace("$__rate_interval", "10s")
            found = rig.prometheus.query(text)
            if "topk" in text or "bottomk" in text:
                assert len(found) <= 10, panel["title"]
            if panel in dashboard()["panels"] and not any(word in text for word in UNTOLD):
                assert found, panel["title"]


def test_one_that_is_added_appears_by_itself(rig: Rig) -> None:
    """A line in the file and a SIGHUP are all."""
    rig.file.write_text("\n".join(rig.lines))
    rig.chi.process.send_signal(signal.SIGHUP)
    wait_until(lambda: counts(rig) == (COUNT + 1 - DOWN, DOWN), "39 answer and 2 do not")


def test_a_controller_that_is_off_is_counted(rig: Rig) -> None:
    """Nothing is left of what it told, and all of its miners count as not answering."""
    rig.chi.stop(signal.SIGKILL)
    wait_until(lambda: counts(rig) == (0, COUNT + 1), "none answers")
