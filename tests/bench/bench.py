"""What chi costs, as ratios against a bare Bottle application on waitress that returns the same bytes.

    make bench

Everything is measured in one run and in alternating rounds, so that other work on the machine hits all alike.
Only the ratios mean anything; the absolute figures are those of this machine. Linux only: memory and
descriptors are read from /proc.
"""

import argparse
import ast
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pollers
from fleet import fleet

import chi as package
from chi.app import Settings
from chi.status import firmware

HERE = Path(__file__).resolve().parent
POLLERS = 64
MIB = 1024  # /proc counts in KiB
CORES = os.sched_getaffinity(0)

# Child processes use the installed chi, and may keep their bytecode, as a service's do.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}


def say(text):
    """Report progress where it does not end up in the table."""
    print(text, file=sys.stderr, flush=True)


def child(*arguments, **options):
    """Start a Python program that is one of ours."""
    return subprocess.Popen([sys.executable, *arguments], cwd=HERE, env=ENVIRONMENT, **options)


# --- Processes ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended(process):
    """Stop exactly this process, whatever happens."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def peer(*options):
    """Run the miner and yield its port."""
    process = child("peer.py", *options, stdout=subprocess.PIPE, text=True)
    with ended(process), process.stdout:
        yield int(process.stdout.readline())


@contextlib.contextmanager
def simulated_miner():
    """Run chi's simulated miner and yield its port."""
    process = child("-m", "chi.demo", "--port", "0", stderr=subprocess.PIPE, text=True)
    with ended(process), process.stderr:
        yield int(process.stderr.readline().rpartition(":")[2])


class Server:
    """A running HTTP server: its port, its process and how long it took to give the first answer."""

    def __init__(self, process, port, seconds):
        self.process, self.port, self.seconds = process, port, seconds

    def memory(self, field):
        """Return VmHWM or VmRSS in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE).group(1))

    def descriptors(self):
        """Count them once those of the last clients are closed."""
        previous = None
        for _ in range(20):
            count = len(os.listdir(f"/proc/{self.process.pid}/fd"))
            if count == previous:
                break
            previous = count
            time.sleep(0.3)
        return count


@contextlib.contextmanager
def server(module, *arguments):
    """Run `python -m module` on a free port until the with block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = child("-m", module, *arguments, "--http_port", str(port), stdout=output, stderr=output)
        with ended(process):
            while not answers(port):
                if process.poll() is not None or time.perf_counter() - begin > 10:
                    output.seek(0)
                    raise RuntimeError(f"{module} does not start: {output.read().decode(errors='replace')}")
                time.sleep(0.002)
            yield Server(process, port, time.perf_counter() - begin)


def answers(port):
    """Tell whether a first request is answered with 200."""
    try:
        with pollers.connect(port) as connection:
            return pollers.ask(connection).startswith(b"HTTP/1.1 200 ")
    except ConnectionError:
        return False


def chi(miner, *options):
    """Run chi in front of the miner at this port."""
    return server("chi", "--listen", "127.0.0.1", "--api_port", str(miner), *options)


def bare(kind="bottle", threads=None):
    """Run the bare application with as many threads as chi has."""
    return server("bare", kind, "--threads", str(threads or Settings().threads))


# --- Load --------------------------------------------------------------------------------------------------


def load(port, requests):
    """Send exactly so many requests from 64 pollers and return the result."""
    return run_pollers(port, "--requests", str(requests))


def run_pollers(port, *options):
    """Run the pollers in their own process; every answer must have been a 200."""
    command = ("pollers.py", str(port), "--connections", str(POLLERS), *options)
    with ended(child(*command, stdout=subprocess.PIPE)) as process:
        output, _ = process.communicate(timeout=130)
    if process.returncode:
        raise RuntimeError("the pollers failed")
    result = json.loads(output)
    if result["errors"]:
        raise RuntimeError(f"{result['errors']} of {result['requests']} answers were not a 200")
    return result


def rate(port, seconds):
    """Return requests per second over 64 pollers: wrk's, which costs less, or our own pollers'."""
    if not shutil.which("wrk"):
        result = run_pollers(port, "--seconds", str(seconds))
        return result["requests"] / result["seconds"]
    command = ["wrk", "-t1", f"-c{POLLERS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/summary"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))


def exchange(port, request):
    """Ask the miner as chi must: one connection, one send, read to the end."""
    with pollers.connect(port) as connection:
        connection.sendall(request)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    return reply


def count(port):
    """Ask the miner how many requests it has had."""
    return json.loads(exchange(port, b'{"command":"count"}').rstrip(b"\0"))["count"]


# --- The table ---------------------------------------------------------------------------------------------


def row(what, bare_figure="", chi_figure="", figure="", target="", passed=None):
    """Print one line of the table; without a target it is there for comparison."""
    verdict = {True: "PASS", False: "miss", None: ""}[passed]
    line = f"{what:<45}{bare_figure:>14}{chi_figure:>14}{figure:>9}  {target:<9}{verdict}"
    print(line.rstrip(), flush=True)


def at_least(what, bare_rates, chi_rates, target=None):
    """Print a ratio of rounds that is to be high, or one without a target."""
    ratio = statistics.median(c / b for b, c in zip(bare_rates, chi_rates))
    medians = statistics.median(bare_rates), statistics.median(chi_rates)
    figures = *(f"{median:,.0f}" for median in medians), f"{ratio:.2f}"
    if target is None:
        row(what, *figures)
    else:
        row(what, *figures, f">= {target:.2f}", ratio >= target)


def at_most(what, bare_value, chi_value, target, form):
    """Print a ratio that is to be low."""
    ratio = chi_value / bare_value
    row(what, form(bare_value), form(chi_value), f"{ratio:.2f}", f"<= {target:.2f}", ratio <= target)


def milliseconds(value):
    """Write seconds as milliseconds."""
    return f"{value * 1e3:.3f} ms"


def mebibytes(value):
    """Write KiB as MiB."""
    return f"{value / MIB:.1f} MiB"


def header():
    """Say what was measured on."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("bottle", "waitress")]
    client = "wrk" if shutil.which("wrk") else "own client, for want of wrk"
    print(f"chi {importlib.metadata.version('cgminerhttpinterface')}, {Settings().threads} threads each")
    print(f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}")
    load_average = f"load average {os.getloadavg()[0]:.1f} before the start"
    print(f"{platform.machine()}, {len(CORES)} cores, {load_average}; load from {client}\n")
    row("", "bare", "chi", "figure", "target")


# --- What is measured --------------------------------------------------------------------------------------


def throughput(where, server_cores, other_cores, rounds):
    """64 keep-alive pollers of one report, with the processes on these cores."""
    with contextlib.ExitStack() as stack:
        os.sched_setaffinity(0, other_cores)  # what a process is started with, it inherits
        miner = stack.enter_context(peer())
        os.sched_setaffinity(0, server_cores)
        servers = {
            "bare": bare(),
            "chi": chi(miner),
            "chi --max-age": chi(miner, "--max-age", "0.1"),
            "bare waitress": bare("waitress"),
            "bare, one thread": bare(threads=1),
        }
        running = {name: stack.enter_context(manager) for name, manager in servers.items()}
        os.sched_setaffinity(0, other_cores)
        rates = {name: [] for name in running}
        for turn in range(rounds + 1):
            say(f"throughput, {where}, round {turn} of {rounds}")
            for name, one in running.items():
                result = rate(one.port, 1)
                if turn:  # the first round warms up
                    rates[name].append(result)
        os.sched_setaffinity(0, CORES)
    throughput_rows(where, rates)


def throughput_rows(where, rates):
    """Print what `throughput` measured."""
    row(f"requests/s, {POLLERS} pollers, {where}")
    at_least("  fresh", rates["bare"], rates["chi"], 0.8)
    spread = [f"{min(rates[name]):,.0f}-{max(rates[name]):,.0f}" for name in ("bare", "chi")]
    row("    slowest and quickest round", *spread)
    at_least("  --max-age 0.1", rates["bare"], rates["chi --max-age"], 0.9)
    for name in ("bare waitress", "bare, one thread"):
        at_least(f"  for comparison: {name}", rates[name], rates["chi"])


def coalescing(requests):
    """Requests to the miner per HTTP request, with a miner that takes 20 ms a reply and with a fast one."""
    for delay in 0.02, 0:
        say(f"coalescing, {delay * 1000:.0f} ms a reply")
        with peer("--delay", str(delay)) as miner, chi(miner) as one:
            before = count(miner)
            done = load(one.port, requests)["requests"]
            asked = count(miner) - before
        figure = f"1/{done / asked:.1f}"
        if delay:
            row("requests to a 20 ms miner per HTTP request", "", "", figure, "<= 1/8", asked * 8 <= done)
        else:
            row("  for comparison: to a fast miner", "", "", figure)


def timed(action, times):
    """Return how long each of so many calls took."""
    samples = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return samples


def latency(where, cores, rounds, requests):
    """One keep-alive poller, against the direct way to the miner plus what bare HTTP costs."""
    say(f"latency, {where}")
    os.sched_setaffinity(0, cores)
    with contextlib.ExitStack() as stack:
        miner = stack.enter_context(peer())
        actions = {"direct": lambda: exchange(miner, b'{"command":"summary"}')}
        for name, manager in ("bare", bare()), ("chi", chi(miner)):
            connection = stack.enter_context(pollers.connect(stack.enter_context(manager).port))
            actions[name] = lambda connection=connection: pollers.ask(connection)
        samples = {name: [] for name in actions}
        for _ in range(rounds):
            for name, action in actions.items():
                samples[name] += timed(action, requests)
    os.sched_setaffinity(0, CORES)
    return {name: statistics.median(values) for name, values in samples.items()}


def latency_rows(where, median, judged):
    """Print what `latency` measured."""
    limit = median["direct"] + 1.25 * median["bare"]
    figures = milliseconds(median["bare"]), milliseconds(median["chi"]), f"{median['chi'] / limit:.2f}"
    if judged:
        row(f"median latency, one poller, {where}", *figures, "<= 1.00", median["chi"] <= limit)
    else:
        row(f"  for comparison: {where}", *figures)
    row(f"    of {milliseconds(limit)} = direct {milliseconds(median['direct'])} + 1.25 × bare")


def start(miner, rounds):
    """Time from the start of the process to the first 200."""
    seconds = {"bare": [], "chi": []}
    for turn in range(rounds + 1):
        say(f"start {turn} of {rounds}")
        for name, manager in ("bare", bare()), ("chi", chi(miner)):
            with manager as one:
                if turn:  # the first start writes the bytecode
                    seconds[name].append(one.seconds)
    bare_median, chi_median = (statistics.median(seconds[name]) for name in ("bare", "chi"))
    at_most("start to first 200", bare_median, chi_median, 1.25, milliseconds)


HISTORY = b"GET /history.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def memory(miner, requests, more):
    """Peak memory after the first requests, growth of memory and descriptors over many more."""
    with bare() as reference:
        say(f"memory, bare: {requests} requests")
        load(reference.port, requests)
        bare_peak = reference.memory("VmHWM")
    with chi(miner) as one:
        # What it takes, chi would take with its first sample otherwise: at any time between the two figures.
        with pollers.connect(one.port) as connection:
            pollers.ask(connection, HISTORY)
        say(f"memory, chi: {requests} requests")
        load(one.port, requests)
        at_most(f"peak RSS, {requests:,} requests", bare_peak, one.memory("VmHWM"), 1.15, mebibytes)
        descriptors, rss = one.descriptors(), one.memory("VmRSS")
        say(f"growth: {more} requests")
        load(one.port, more)
        descriptors, rss = one.descriptors() - descriptors, one.memory("VmRSS") - rss
        row(f"RSS growth, {more:,} more", "", "", mebibytes(rss), "< 1 MiB", rss < MIB)
        row(f"descriptors, {more:,} more", "", "", f"{descriptors:+d}", "none", descriptors <= 0)


METRICS = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def scrape(rounds, requests):
    """One scrape, against the miner's own reply to what a scrape asks it for.

    The simulated miner takes its time, at times more, at times less; here its reply comes from the fast one.
    """
    say("scrape")
    request = json.dumps({"command": firmware.next_request({})}).encode()
    with contextlib.ExitStack() as stack:
        with simulated_miner() as port:
            reply = stack.enter_context(tempfile.NamedTemporaryFile())
            reply.write(exchange(port, request))
            reply.flush()
        miner = stack.enter_context(peer("--reply", reply.name))
        connection = stack.enter_context(pollers.connect(stack.enter_context(chi(miner)).port))
        for _ in range(5):
            if b"\ncgminer_up 1\n" not in pollers.ask(connection, METRICS):
                raise RuntimeError("a scrape without the miner")
        direct, scraped = [], []
        for _ in range(rounds):
            direct += timed(lambda: exchange(miner, request), requests)
            scraped += timed(lambda: pollers.ask(connection, METRICS), requests)
    direct, scraped = statistics.median(direct), statistics.median(scraped)
    more = scraped - direct
    figures = milliseconds(direct), milliseconds(scraped), f"+{more * 1e3:.2f} ms"
    row("median scrape (bare: the miner's own reply)", *figures, "<= +2 ms", more <= 0.002)


def turns(miner):
    """The dearest turn of the event loop, over every shape of request in shapes.py."""
    say("turns of the loop")
    done = subprocess.run(
        [sys.executable, "turns.py", str(miner)],
        cwd=HERE,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        check=True,
    )
    costs = sorted((seconds, shape) for shape, seconds in json.loads(done.stdout).items())
    worst, shape = costs[-1]
    what = f"CPU in one turn, {len(costs)} shapes of request"
    row(what, "", "", milliseconds(worst), "<= 20 ms", worst <= 0.020)
    row(f"  the dearest: {shape}")


# What chi.app has for monitoring and the page, by name of class and function. Its import needs none of it.
MONITORING = {
    "process_figures", "scrape_timeout", "accepted_age", "read_dashboard", "Monitor",
    "Handlers.metrics", "Handlers.status", "Handlers.history", "Handlers.dashboard",
}  # fmt: skip
IMPORT = """if True:
    import sys, time
    begin = time.process_time()
    import chi.app
    print(time.process_time() - begin)
    assert chi.__file__.startswith(sys.argv[1]), chi.__file__
    assert "chi.status" not in sys.modules, "serving imports what monitoring needs"
    if "metrics" in sys.argv:
        begin = time.process_time()
        from chi.status import firmware, history, prometheus
        print(time.process_time() - begin)
"""


class Without(ast.NodeTransformer):
    """Leaves functions and classes out of a module, and remembers which."""

    def __init__(self):
        self.left_out = set()
        self._inside = ""

    def visit_FunctionDef(self, node):
        name = f"{self._inside}{node.name}"
        if name in MONITORING:
            self.left_out.add(name)
            return None
        outside, self._inside = self._inside, f"{name}."
        node = self.generic_visit(node)
        self._inside = outside
        return node

    visit_ClassDef = visit_FunctionDef  # noqa: N815 - ast's name


def packages(folder):
    """Copy chi as it is, and as it would be without monitoring; return where the two are."""
    whole, without = folder / "whole", folder / "without"
    installed = Path(package.__file__).parent
    for copy in whole, without:
        shutil.copytree(installed, copy / "chi", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(without / "chi" / "status")
    (without / "chi" / "dashboard.html").unlink()
    module = without / "chi" / "app.py"
    transformer = Without()
    tree = transformer.visit(ast.parse(module.read_text(encoding="utf-8")))
    if transformer.left_out != MONITORING:
        raise RuntimeError(f"chi.app has no {', '.join(MONITORING - transformer.left_out)}")
    module.write_text(ast.unparse(tree), encoding="utf-8")
    return whole, without


def import_times(place, *options):
    """Return what IMPORT prints of the chi that is there."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(place)}
    command = [sys.executable, "-c", IMPORT, str(place), *options]
    done = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, check=True)
    return [float(line) for line in done.stdout.split()]


def imports(rounds):
    """Processor time to import chi.app, against one without monitoring; the clock would show others' work."""
    seconds = {"whole": [], "without": [], "metrics": []}
    with tempfile.TemporaryDirectory() as folder:
        whole, without = packages(Path(folder))
        for turn in range(rounds + 1):
            say(f"import {turn} of {rounds}")
            for name, place in ("without", without), ("whole", whole):
                times = import_times(place, *(["metrics"] if place is whole else []))
                if turn:  # the first import writes the bytecode
                    seconds[name].append(times[0])
                    seconds["metrics"] += times[1:]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    what = "import of chi.app (bare: without metrics)"
    at_most(what, medians["without"], medians["whole"], 1.05, milliseconds)
    row("  for comparison: metrics, at the first scrape", "", milliseconds(medians["metrics"]))


def main():
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="what chi costs, against a bare application")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    scale = 10 if parser.parse_args().quick else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit that ends the children, too
    header()
    rounds = 7 if scale == 1 else 1
    throughput("any cores", CORES, CORES, rounds)
    one, *others = sorted(CORES)
    if others:
        # Four threads that share the interpreter lock across cores are at times quick, at times slow: on one
        # core the bare application is always at its best, which is the steadier measure and the stricter one.
        throughput("server on one core", {one}, set(others), rounds)
    coalescing(8000 // scale)
    latency_rows("any cores", latency("any cores", CORES, 10, 500 // scale), judged=True)
    latency_rows("all on one core", latency("all on one core", {one}, 10, 500 // scale), judged=False)
    scrape(10, 200 // scale)
    imports(15 if scale == 1 else 5)
    with peer() as miner:
        turns(miner)
        start(miner, 15 if scale == 1 else 3)
        memory(miner, 20_000 // scale, 100_000 // scale)
    fleet(row, 60 // scale)


if __name__ == "__main__":
    main()
