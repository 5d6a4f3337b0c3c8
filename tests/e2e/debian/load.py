"""The service under load: what restarts, upgrades and kills cost its clients (inside/load.py)."""

from __future__ import annotations

import json
import time
from typing import Any
from collections.abc import Callable

from machine import wait_until
from service import Service

RESTARTS = 5
RESTART_LOSS, KILL_LOSS = 10_000, 500  # requests without a pause, of which one may fail
STALLED = 300  # seconds without a single answer: the clients hang


def cause(
    service: Service, events: list[Callable[[], object]], between: int, *places: str
) -> tuple[dict[str, Any], float]:
    """Cause events under load, `between` requests apart; return what clients saw, and requests a second."""
    load = service.machine.start("python3", "/e2e/load.py", "8080", *places)
    assert load.stdout is not None

    def wait_for(count: int) -> None:
        seen, until = -1, 0.0
        while seen < count:
            now = int(load.stdout.readline())
            until = until if now == seen else time.monotonic() + STALLED
            assert time.monotonic() < until, "no answers"
            seen = now

    try:
        started, count = time.monotonic(), 500
        wait_for(count)
        for event in events:
            event()
            count += between
            wait_for(count)
        rate = count / (time.monotonic() - started)
        return json.loads(load.communicate()[0].splitlines()[-1]), rate
    finally:
        load.kill()
        load.wait()


def judge(kinds: dict[str, Any], rate: float, one_in: int, slow_ones: int) -> str:
    """Say how many requests failed: without a pause one in `one_in` may, of the others `slow_ones`."""
    steady, pausing = ("new", "kept"), ("polling", "slow")
    text = "; ".join(
        f"{kind}: {end['failed']} of {end['requests']} failed, the slowest took {end['slowest']:.2f} s"
        for kind, end in kinds.items()
    )
    reasons = [f"{kind}: {reason}" for kind, end in kinds.items() for reason in end["reasons"]]
    failed = sum(kinds[kind]["failed"] for kind in steady)
    assert failed * one_in <= sum(kinds[kind]["requests"] for kind in steady), f"{text}: {reasons}"
    assert sum(kinds[kind]["failed"] for kind in pausing) <= slow_ones, f"{text}: {reasons}"
    return f"{text}; {rate:.0f} a second"


def upgrade_and_restarts(service: Service, upgrade: Callable[[], object]) -> str:
    """An upgrade and some restarts: none is lost, whatever it was doing."""
    before = service.show("MainPID")

    def first() -> None:
        upgrade()
        assert service.show("MainPID") not in ("0", before), "the upgrade has not restarted it"

    restart = [lambda: service.run("systemctl restart chi")] * RESTARTS
    # A poller on a busy machine may come later than it wanted, when its connection is closed already.
    return judge(*cause(service, [first, *restart], 1800), RESTART_LOSS, slow_ones=1)


def kills(service: Service) -> str:
    """Killed, it loses what it was doing, and no more."""

    def kill() -> None:
        before = service.show("MainPID")
        service.run("systemctl kill --signal=KILL chi")
        wait_until(lambda: service.show("MainPID") not in ("0", before), "another process")

    # Each kill may cost the four that poll and the four that send slowly one request each.
    return judge(*cause(service, [kill] * RESTARTS, 2200), KILL_LOSS, slow_ones=8 * RESTARTS)
