"""A system clock that is set back or forward, by libfaketime in the process of a real chi alone."""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client import Wire
from tests.conftest import Process
from tests.scripted import HEALTHY, ScriptedMiner

# In the process alone; deadlines go by the monotonic clock, which stays.
LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")
HOUR = 3600


def is_closed(wire: Wire) -> bool:
    """Whether the peer closes its side within a minute; until then it reads what comes, to no purpose."""
    for _ in range(600):
        try:
            wire.send(b"x")
        except OSError:
            return True
        threading.Event().wait(0.1)
    return False


@pytest.mark.heavy
@pytest.mark.skipif(not LIBRARY, reason="libfaketime is not here (the package libfaketime)")
@pytest.mark.parametrize("set_by", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_clock_that_is_set_disturbs_nothing(
    chi_server: Callable[..., Process], tmp_path: Path, set_by: int
) -> None:
    """A reply on its way arrives whole, idle connections stay, and those that must be closed are closed."""
    offset, gate = tmp_path / "offset", threading.Event()
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": LIBRARY,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with ScriptedMiner(lambda request: [HEALTHY[:9], gate, HEALTHY[9:]]) as miner:
        chi = chi_server(
            "-p",
            str(miner.port),
            "-w",
            "0",
            "--listen",
            "127.0.0.1",
            "--timeout",
            "60",
            environment=environment,
        )
        before = chi.get("/healthz").json["STATUS"][0]["When"]
        with (
            Wire(chi.port, timeout=60) as idle,
            Wire(chi.port) as waiting,
            Wire(chi.port, timeout=60) as refused,
        ):
            assert idle.ask("GET /healthz").status == 200
            waiting.request("GET /summary")
            miner.asked(1)
            offset.write_text(f"{set_by:+d}\n")
            assert abs(chi.get("/healthz").json["STATUS"][0]["When"] - before - set_by) < HOUR / 2
            gate.set()
            assert waiting.read().body == HEALTHY[:-1]
            refused.send(b"no request\r\n\r\n")
            assert refused.read().status == 400
            assert is_closed(refused)  # by the clean-up, which goes on
            assert idle.ask("GET /healthz").status == 200
        assert chi.stop() == 0
