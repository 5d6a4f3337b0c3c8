"""A simulated miner that speaks only text, on a socket: ccminer with three cards, or cpuminer.

Comes in: a request of one word, or word|parameter. Goes out: records, `ok|`, `bye|`, `fail|`, a lone NUL, or
nothing at all. Wire, fields, their order and formats are those of real builds of ccminer and cpuminer-multi
1.3.7; the figures are those of the rig of chi.demo, with a millionth of its hashrate.

What real ones do, this one does too: it reads once, at most 1,024 bytes; it serves one client at a time; what
it does not know (JSON, joined commands, other case) ends the connection without a byte; `GET /x/y` is x|y;
ccminer never checks writes, and cpuminer answers a lone NUL where they are not allowed; cpuminer ends at
`seturl` without a URL, ccminer at a pool below 0. What differs: a client that says nothing is dropped after a
second, and whom it does not allow costs it nothing.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chi.demo import POOLS, Board, DemoMiner, Pool, Rig, make_parser, serve

ALGORITHM = "lyra2v2"
NAMES = ("main", "backup")
NUMBER = re.compile(r"\s*([+-]?[0-9]*)", re.ASCII)  # what atoi() reads
SUMMARY = {
    "ccminer": "NAME=ccminer;VER=2.3.1;API=1.9;ALGO=%(algo)s;GPUS=%(devices)d;KHS=%(khs).2f;SOLV=0;"
    "ACC=%(acc)d;REJ=%(rej)d;ACCMN=%(accmn).3f;DIFF=%(diff).6f;NETKHS=0;POOLS=%(pools)d;WAIT=0;"
    "UPTIME=%(uptime)d;TS=%(ts)d|",
    "cpuminer": "NAME=cpuminer-multi;VER=1.3.7;API=1.1;ALGO=%(algo)s;CPUS=%(devices)d;KHS=%(khs).2f;SOLV=0;"
    "ACC=%(acc)d;REJ=%(rej)d;ACCMN=%(accmn).3f;DIFF=%(diff).6f;TEMP=%(temp).1f;FAN=0;FREQ=0;"
    "UPTIME=%(uptime)d;TS=%(ts)d|",
}
THREAD = {
    "ccminer": "GPU=%(id)d;BUS=%(bus)d;CARD=Simulated card;TEMP=%(temp).1f;POWER=120000;FAN=%(fan)d;"
    "RPM=%(rpm)d;FREQ=1506;MEMFREQ=4004;GPUF=1873;MEMF=3802;KHS=%(khs).2f;KHW=%(khw).5f;PLIM=151000;ACC=%(acc)d;"
    "REJ=%(rej)d;HWF=%(hardware)d;I=20.0;THR=1048576|",
    "cpuminer": "CPU=%(id)d;KHS=%(khs).2f|",
}
POOL = (
    "POOL=%(name)s;ALGO=%(algo)s;URL=%(url)s;USER=%(user)s;SOLV=0;ACC=%(acc)d;REJ=%(rej)d;STALE=%(stale)d;"
    "H=840000;JOB=%(job)s;DIFF=%(diff).6f;BEST=%(best).6f;N2SZ=4;N2=0x01000000;PING=9;DISCO=0;WAIT=0;"
    "UPTIME=%(uptime)d;LAST=%(last)d|"
)


def figures(rig: Rig, boards: list[Board], pools: list[Pool]) -> dict[str, Any]:
    """What there is to tell of these boards at these pools, by the names of the templates."""
    tally = rig.tally(boards, pools)
    last = rig.last_share(boards, pools)[0]
    khs = rig.mhs(boards, 5) / 1e3
    return {
        "algo": ALGORITHM, "devices": len(boards), "khs": khs, "khw": khs / 120, "acc": tally.accepted,
        "rej": tally.rejected, "stale": tally.stale, "hardware": tally.hardware,
        "accmn": 60 * tally.accepted / max(rig.elapsed, 1), "diff": rig.pool.difficulty / 1e6,
        "best": rig.best_share(pools) / 1e6, "temp": max(board.temperature(rig.now) for board in boards),
        "pools": len(rig.pools), "uptime": rig.elapsed, "ts": rig.now, "last": rig.now - last if last else 0,
    }  # fmt: skip


class TextMiner(DemoMiner):
    """The API of a simulated text miner, ccminer or cpuminer; `access` as in chi.demo.Console."""

    read_size = 1024

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        rig: Rig | None = None,
        access: str = "W",
        *,
        software: str = "ccminer",
    ) -> None:
        super().__init__(host, port, rig, access)
        self._text = TextConsole(self.console.rig, software, access == "W" or software == "ccminer")

    def respond(self, request: bytes) -> bytes:
        """The whole reply to a request, with its NUL; nothing if it is not known."""
        reply = self._text.respond(request)
        self.console.quitting = self._text.ended
        return reply


class TextConsole:
    """The commands of a text miner; after some of them it has `ended`."""

    def __init__(self, rig: Rig, software: str, allowed: bool) -> None:
        self.rig = rig
        self.software = software
        self.ended = False
        self._allowed = allowed
        self._commands: dict[str, Callable[[str], str]] = {
            "summary": self.summary, "threads": self.threads, "seturl": self.seturl, "quit": self.quit,
        }  # fmt: skip
        if software == "ccminer":
            self._commands = {
                "summary": self.summary, "threads": self.threads, "pool": self.pool, "histo": self.histo,
                "hwinfo": self.hwinfo, "meminfo": self.meminfo, "scanlog": self.scanlog,
                "seturl": self.seturl, "switchpool": self.switchpool, "quit": self.quit,
            }  # fmt: skip
        self._commands["help"] = self.help

    def respond(self, request: bytes) -> bytes:
        """The whole reply to a request, with its NUL; nothing if it is not known."""
        self.rig.tick()
        text = request.partition(b"\0")[0].decode("latin-1")
        if "GET /" in text:
            text = text.partition("GET /")[2].split()[0].replace("/", "|", 1).partition("/")[0]
        command, _, parameter = text.rstrip("\r\n").partition("|")
        handler = self._commands.get(command)
        if handler is None:
            return b""
        return handler(parameter.partition("|")[0]).encode("latin-1", "replace") + b"\0"

    # Reports.

    def summary(self, parameter: str) -> str:
        return SUMMARY[self.software] % figures(self.rig, self.rig.boards, self.rig.all_pools)

    def threads(self, parameter: str) -> str:
        return "".join(self._thread(board) for board in self.rig.boards)

    def _thread(self, board: Board) -> str:
        rpm = self.rig.fan(1)
        own = {"id": board.index, "bus": board.index + 1, "rpm": rpm, "fan": rpm // 30}
        return THREAD[self.software] % {**figures(self.rig, [board], self.rig.all_pools), **own}

    def pool(self, parameter: str) -> str:
        pools = self.rig.pools
        pool = pools[self._atoi(parameter) % len(pools)] if parameter else self.rig.pool
        place = pools.index(pool)
        name = NAMES[place] if place < len(NAMES) else pool.url
        own = {"name": name, "url": pool.url, "user": pool.user, "job": f"{self.rig.now // 30:x}"}
        return POOL % {**figures(self.rig, self.rig.boards, [pool]), **own, "diff": pool.difficulty / 1e6}

    def _atoi(self, parameter: str) -> int:
        digits = NUMBER.match(parameter)
        number = int(digits[1]) if digits and digits[1].strip("+-") else 0
        number = -1 if number >= 2**31 else number
        if number < 0:  # the real one reads out of bounds
            self.ended = True
        return number

    def histo(self, parameter: str) -> str:
        chosen: Iterable[Board] = self.rig.boards
        if parameter:
            chosen = [board for board in chosen if board.index == self._atoi(parameter)]
        return "".join(
            f"GPU={board.index};H=840000;KHS={self.rig.mhs([board], 5):.2f};DIFF=1.00000;COUNT=52199;FOUND=1;"
            f"ID={board.index + 1};TS={self.rig.now}|"
            for board in chosen
        )

    def hwinfo(self, parameter: str) -> str:
        return "OS=linux 6.1.0;NVDRIVER=535.01;CPUS=4;CPUTEMP=41;CPUFREQ=2400000|"

    def meminfo(self, parameter: str) -> str:
        return "STATS=256;HASHLOG=1;MEM=10288|"

    def scanlog(self, parameter: str) -> str:
        return (
            "H=840000;P=0;JOB=185035981;ID=1;DIFF=1.0000;N=0x80220ff;FROM=0x238;SCANTO=0x17a7030;COUNT=0x17a6df8;"
            f"FOUND=1;TS={self.rig.now}|"
        )

    def help(self, parameter: str) -> str:
        writes = ("seturl", "switchpool", "quit", "help")  # ccminer's help is about reports
        hidden = writes if self.software == "ccminer" else ("help",)
        return "".join(f"{name}\n" for name in self._commands if name not in hidden) + "|"

    # Writes.

    def quit(self, parameter: str) -> str:
        if not self._allowed:
            return ""
        self.ended = True
        return "bye|"

    def seturl(self, parameter: str) -> str:
        if not self._allowed:
            return ""
        if not parameter and self.software == "cpuminer":
            self.ended = True  # the real one ends, whatever it was about to answer
            return ""
        if parameter:
            host = parameter.rpartition("@")[2]
            self.rig.pools.append(Pool(host, "demo", len(self.rig.pools), POOLS[0][1]))
            self.rig.prefer(self.rig.pools[-1])
        return "ok|"

    def switchpool(self, parameter: str) -> str:
        pools = self.rig.pools
        place = self._atoi(parameter) if parameter else (pools.index(self.rig.pool) + 1) % len(pools)
        if not 0 <= place < len(pools):
            return "fail|"
        self.rig.prefer(pools[place])
        return "ok|"


def main(argv: Sequence[str] | None = None) -> int:
    """Run until `quit`, SIGINT or SIGTERM (0), or say why not (1, or 2 for a wrong option)."""
    parser = make_parser("chi.demo_text")
    parser.add_argument("--software", choices=sorted(SUMMARY), default="ccminer", help="what it is like")
    options = parser.parse_args(argv)
    return serve("chi.demo_text", options, functools.partial(TextMiner, software=options.software))


if __name__ == "__main__":
    sys.exit(main())
