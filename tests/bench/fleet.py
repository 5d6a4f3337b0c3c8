"""What a fleet costs: 200 simulated miners behind one chi, with a viewer of its page and a Prometheus.

fleet.py [SECONDS] prints the rows alone; `make bench` has them too.
"""

import contextlib
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MINERS, HUNG = 200, 20
VIEW_EVERY, SCRAPE_EVERY = 10, 30  # seconds
TICKS = os.sysconf("SC_CLK_TCK")

# chi with a day of history of each miner, as if it had watched: a sample each 15 s.
DAY = """if True:
    import copy, sys
    from chi import cli
    from chi.access import Policy
    from chi.server.listening import open_sockets
    from chi.settings import Settings
    from chi.status.model import Rig, Status
    port, miners = sys.argv[1:]
    settings = Settings(http_port=int(port), listen=("127.0.0.1",), miners=miners, history=1440)
    loop = cli.build(settings, Policy(settings), open_sockets(settings))
    now, (first, *others) = loop.clock.now(), loop.sites
    for number in range(5760):
        rig = Rig(hashrate=1e14 + number, temperature=70.0, power=3000.0, shares_accepted=float(number),
                  shares_rejected=0.0, shares_stale=0.0)
        first.monitor.history.add(now - (5760 - number) * 15.0, Status(rig))
    for site in others:
        site.monitor.history = copy.deepcopy(first.monitor.history)
    loop.run()
"""


def child(*arguments, **options):
    """Start a Python program."""
    return subprocess.Popen([sys.executable, *arguments], cwd=HERE, **options)


@contextlib.contextmanager
def ended(process):
    """Stop exactly this process, whatever happens."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def simulated():
    """Run the miners and yield their lines: the first HUNG of them hang."""
    process = child("miners.py", str(MINERS + HUNG), str(HUNG), stdout=subprocess.PIPE, text=True)
    with ended(process), process.stdout:
        yield list(iter(lambda: process.stdout.readline().strip(), "ready"))


class Chi:
    """A chi with these miners: its process, its port, and how long its first answer took."""

    def __init__(self, folder, lines, *command):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        path = folder / f"miners-{self.port}"
        path.write_text("\n".join(lines))
        begin = time.perf_counter()
        if command:
            self.process = child(*command, str(self.port), str(path))
        else:
            options = ("--miners", str(path), "--http_port", str(self.port), "--listen", "127.0.0.1")
            self.process = child("-m", "chi", *options, "--log-level", "error")
        while True:
            with contextlib.suppress(OSError):
                self.get("/fleet.json")
                break
            time.sleep(0.005)
        self.seconds = time.perf_counter() - begin

    def get(self, path):
        """Return the body of a GET, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def cpu(self):
        """Return the seconds of processor time used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        """Return MiB in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def watched(chi, names, over):
    """A viewer of the page, and a Prometheus that asks all in turn, until `over`."""

    def every(seconds, work):
        while not over.wait(seconds):
            with contextlib.suppress(OSError):
                work()

    turn = iter(names * 1000)
    threads = [
        threading.Thread(target=every, args=(VIEW_EVERY, lambda: chi.get("/fleet.json"))),
        *(
            threading.Thread(
                target=every, args=(SCRAPE_EVERY / len(names) * 4, lambda: chi.get(f"/@{next(turn)}/metrics"))
            )
            for _ in range(4)
        ),
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()


def latencies(chi, names):
    """How long each of these takes to tell its summary, one after another on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", chi.port, timeout=60)
    taken = []
    for name in names:
        begin = time.perf_counter()
        connection.request("GET", f"/@{name}/summary")
        response = connection.getresponse()
        response.read()
        assert response.status == 200, name
        taken.append(time.perf_counter() - begin)
    connection.close()
    return taken


def p99(samples):
    """Return what 99 of 100 take at the most."""
    return statistics.quantiles(samples, n=100)[98]


def fleet(row, seconds=60):
    """Print the rows: `row` is bench.py's."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = stack.enter_context(simulated())
        well = [line.partition(" ")[0] for line in lines[HUNG:MINERS]]  # those that both have
        none = Chi(folder, lines[HUNG:])
        stack.enter_context(ended(none.process))
        some = Chi(folder, lines[:MINERS])
        stack.enter_context(ended(some.process))
        over = threading.Event()
        for chi, names in (none, lines[HUNG:]), (some, lines[:MINERS]):
            watched(chi, [line.partition(" ")[0] for line in names], over)
        time.sleep(20)  # the first samples are taken
        used, begin = none.cpu(), time.perf_counter()
        time.sleep(seconds)
        share = (none.cpu() - used) / (time.perf_counter() - begin)
        samples = {none: [], some: []}
        ratios = []
        for _ in range(7):
            found = {chi: latencies(chi, well * 3) for chi in samples}
            ratios.append(p99(found[some]) / p99(found[none]))
            for chi, taken in found.items():
                samples[chi] += taken
        over.set()
        rss = none.memory()
        row(f"a fleet of {MINERS} miners")
        row("  start to the first answer", "", f"{none.seconds:.2f} s", "", "<= 1 s", none.seconds <= 1)
        what = f"  processor, viewer and scrape of all each {SCRAPE_EVERY} s"
        row(what, "", f"{share:.1%}", "", "<= 25 %", share <= 0.25)
        row("  memory after a minute or two", "", f"{rss:.1f} MiB")
        figures = [f"{p99(samples[chi]) * 1e3:.2f} ms" for chi in (none, some)]
        ratio = statistics.median(ratios)
        row(f"  p99 with none, and with {HUNG} hung", *figures, f"{ratio:.2f}", "<= 1.50", ratio <= 1.5)
        document = len(none.get("/fleet.json"))
        taken = statistics.median(timed(lambda: none.get("/fleet.json")) for _ in range(20))
        row(f"  /fleet.json, {document / 1024:.0f} KB", "", f"{taken * 1e3:.1f} ms")
        day = Chi(folder, lines[HUNG:], "-c", DAY)
        stack.enter_context(ended(day.process))
        time.sleep(20)
        rss, most = day.memory(), 30 + MINERS * 0.1
        row("  memory with a day of history", "", f"{rss:.1f} MiB", "", f"<= {most:.0f} MiB", rss <= most)


def timed(work):
    """Return how long a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    fleet(lambda *cells: print(*cells, sep="\t", flush=True), *map(float, sys.argv[1:]))
