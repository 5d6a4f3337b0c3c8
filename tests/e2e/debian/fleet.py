"""Thirty miners in /etc/chi/miners: reload, a bad list, failure, recovery, load, --check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import load
from machine import wait_until
from service import Service

LIST = "/etc/chi/miners"
STAY = range(1, 21)  # the numbers of those that are in every list
FIRST, SECOND = range(21, 26), range(26, 31)
FAILS = 30  # the number of one that is stopped and started


def name_of(number: int) -> str:
    """A miner's name in the list."""
    return f"rig{number:02}"


class Fleet:
    """The service as chi of a fleet."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.run = service.run

    def begin(self) -> str:
        """The miners and the list; the service serves them once it has read it."""
        self.run(f"cp -a {LIST} /var/tmp/miners")
        for first, last in ((1, FAILS - 1), (FAILS, FAILS)):
            self.start_miners(first, last)
        self.write([*STAY, *FIRST])
        self.run("systemctl restart chi")
        wait_until(lambda: self.totals()["answering"] == 25, "25 miners answer")
        assert self.service.get("/@rig01/summary/")[0] == 200
        status, body = self.service.get("/summary/")
        assert status == 404, (status, body)
        return f"{self.totals()['answering']} miners answer"

    def start_miners(self, first: int, last: int) -> None:
        """Start simulated miners, as a unit."""
        self.run(f"systemd-run --quiet --unit=miners-{last} python3 /e2e/miners.py {first} {last}")

    def write(self, numbers: Iterable[int], further: str = "") -> None:
        """Edit the list as its user would."""
        lines = [f"{name_of(number)} = 127.0.7.{number}\n" for number in numbers]
        self.service.machine.write(LIST, "# rack 1\n" + "".join(lines) + further)

    def reload(self, numbers: list[int]) -> None:
        """Change the list, and wait until the service has it."""
        self.write(numbers)
        self.run("systemctl reload chi")
        wait_until(lambda: self.names() == [name_of(number) for number in numbers], "the new list")
        wait_until(lambda: self.totals()["answering"] == len(numbers), "all of the new list answer")

    def told(self) -> dict[str, Any]:
        """/fleet.json."""
        status, body = self.service.get("/fleet.json")
        assert status == 200, (status, body)
        return dict(body)

    def totals(self) -> dict[str, Any]:
        """Its totals."""
        return dict(self.told()["totals"])

    def names(self) -> list[str]:
        """The miners that Prometheus is told of."""
        return [target["labels"]["miner"] for target in self.service.get("/targets.json")[1]]

    def reloads_under_load(self) -> str:
        """Miners come and go twice; those that stay lose no request."""
        before = self.service.show("MainPID")
        lists = ([*STAY, *SECOND], [*STAY, *FIRST], [*STAY, *SECOND])
        events = [lambda numbers=numbers: self.reload(numbers) for numbers in lists]
        places = [f"/@{name_of(number)}" for number in STAY]
        said = load.judge(*load.cause(self.service, events, 1500, *places), load.RESTART_LOSS, slow_ones=0)
        assert self.service.show("MainPID") == before, "it was restarted"
        assert self.service.get(f"/@{name_of(FIRST[0])}/summary/")[0] == 404
        return said

    def bad_list(self) -> str:
        """It is one line in the log, and the list before goes on."""
        names = self.names()
        self.write([*STAY, *SECOND], further="rig01 = 127.0.7.1\n")
        self.run("systemctl reload chi")

        def lines() -> list[str]:
            said = self.run("journalctl --unit chi --no-pager --output cat")
            return [line for line in said.splitlines() if "the miners stay as they are" in line]

        wait_until(lines, "a line in the log")
        assert len(lines()) == 1, lines()
        assert f"{LIST}: line 27:" in lines()[0], lines()
        assert self.names() == names
        self.write([*STAY, *SECOND])
        return lines()[0]

    def fails_and_recovers(self) -> str:
        """A miner that goes is told of in /fleet.json, and so is that it is back; the others stay."""

        def is_up() -> list[str]:
            return [each["name"] for each in self.told()["miners"] if each["up"]]

        everyone = is_up()
        self.run(f"systemctl stop miners-{FAILS}")
        gone = wait_until(lambda: name_of(FAILS) not in is_up(), "it is told that the miner is gone")
        assert is_up() == [name for name in everyone if name != name_of(FAILS)]
        assert self.service.get("/readyz")[0] == 200
        self.start_miners(FAILS, FAILS)
        back = wait_until(lambda: is_up() == everyone, "it is told that the miner is back")
        return f"told after {gone:.0f} s and {back:.0f} s"

    def checked(self) -> str:
        """An administrator is told of all miners, a line each."""
        said = self.run("chi-server --check").splitlines()
        for number in (*STAY, *SECOND):
            (line,) = [line for line in said if line.startswith(name_of(number))]
            assert "CGMiner 4.11.1" in line, line
        return said[0]

    def end(self) -> str:
        """Without the list it serves one miner again."""
        self.run(f"systemctl stop miners-{FAILS - 1} miners-{FAILS}; cp -a /var/tmp/miners {LIST}")
        self.run("rm /var/tmp/miners; systemctl restart chi")
        wait_until(lambda: self.service.get("/summary/")[0] == 200, "the single miner's summary")
        return "one miner"
