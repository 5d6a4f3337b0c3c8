"""What promtool says of chi's metrics and of packaging/monitoring."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus import MONITORING, example

from tests.conftest import Chi
from tests.scripted import ScriptedMiner
from tests.status.golden import FIRMWARES
from tests.test_monitor import miner_like
from tests.test_monitoring import queries


def promtool(*arguments: str | Path, text: bytes = b"") -> str:
    """What promtool prints, all of it; AssertionError if it finds a fault."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=MONITORING, timeout=300,
        check=False,
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("golden", FIRMWARES)
def test_check_metrics(serve: Callable[..., Chi], miner: ScriptedMiner, golden: str) -> None:
    """`promtool check metrics` says nothing of a scrape of each firmware, with every own counter in it."""
    miner.script = miner_like(golden)
    chi = serve(miner.port, read_only=True, metrics_pool_user=True)
    assert chi.get("/quit").status == 403
    chi.get("/metrics")
    assert promtool("check", "metrics", text=chi.get("/metrics").body) == ""


def test_check_metrics_of_a_stopped_miner(serve: Callable[..., Chi], miner: ScriptedMiner) -> None:
    """Nor of one where the miner is down."""
    miner.close()
    assert promtool("check", "metrics", text=serve(miner.port).get("/metrics").body) == ""


def test_check_config(tmp_path: Path) -> None:
    """`promtool check config` takes the example, as it is and as the checks change it."""
    assert "1 rule files found" in promtool("check", "config", "prometheus.yml")
    changed = tmp_path / "prometheus.yml"
    changed.write_text(example({"chi": "127.0.0.1:8080"}), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "config", changed)


def test_check_rules() -> None:
    """`promtool check rules` takes the alerts."""
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")


def test_test_rules() -> None:
    """Every alert fires and resolves in `promtool test rules`."""
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_dashboard_queries(tmp_path: Path) -> None:
    """Each query of the dashboard is one that Prometheus understands."""
    rules = [{"record": f"q:{n}", "expr": expression} for n, (_, expression) in enumerate(queries())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
