"""What chi costs, as ratios against a bare Bottle application on waitress that returns the same bytes.

    make bench

Everything is measured in one run and in alternating rounds, so that other work on the machine hits all alike.
Only the ratios mean anything; the absolute figures are those of this machine. Linux only: memory and
descriptors are read from /proc.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pollers
from cpu import cpu
from fleet import fleet
from pollers import count, exchange
from running import ENVIRONMENT, HERE, NGINX, bare, chi, child, ended, nginx, peer, say, simulated_miner
from table import MIB, at_least, at_most, mebibytes, milliseconds, row

from chi.settings import Settings
from chi.status import firmware

POLLERS = 64
GOALS = 2.5, 3  # times bare's requests a second, fresh and with --max-age 0.1
CORES = os.sched_getaffinity(0)


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


def polled(port, seconds):
    """Return how many requests of 64 pollers in how many seconds: wrk's, which costs less, or our own's."""
    if not shutil.which("wrk"):
        result = run_pollers(port, "--seconds", str(seconds))
        return result["requests"], result["seconds"]
    command = ["wrk", "-t1", f"-c{POLLERS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/summary"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    requests, taken = re.search(r"(\d+) requests in ([\d.]+)s", output).groups()
    return int(requests), float(taken)


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


def throughput(where, server_cores, other_cores, rounds, goals=(None, None)):
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
        servers |= {"nginx, one process": nginx()} if NGINX else {}
        running = {name: stack.enter_context(manager) for name, manager in servers.items()}
        os.sched_setaffinity(0, other_cores)
        rates, per_cpu = ({name: [] for name in running} for _ in range(2))
        for turn in range(rounds + 1):
            say(f"throughput, {where}, round {turn} of {rounds}")
            for name, one in running.items():
                before = one.cpu()
                requests, taken = polled(one.port, 1)
                if turn:  # the first round warms up
                    rates[name].append(requests / taken)
                    per_cpu[name].append(requests / (one.cpu() - before))
        os.sched_setaffinity(0, CORES)
    row(f"requests/s, {POLLERS} pollers, {where}")
    throughput_rows(rates, (None, None))
    spread = [f"{min(rates[name]):,.0f}-{max(rates[name]):,.0f}" for name in ("bare", "chi")]
    row("  slowest and quickest round", *spread)
    row("the same, for a second of the server's CPU")
    throughput_rows(per_cpu, goals)


def throughput_rows(rates, goals):
    """Print ratios; for CPU they are steadier: on a busy core, four threads get more of it than one."""
    at_least("  fresh", rates["bare"], rates["chi"], goals[0])
    at_least("  --max-age 0.1", rates["bare"], rates["chi --max-age"], goals[1])
    for name in ("bare waitress", "bare, one thread", "nginx, one process"):
        if name in rates:
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
    at_most("start to first 200", seconds["bare"], seconds["chi"], 1.25, milliseconds)


def memory(miner, requests, more):
    """Peak memory after the first requests, growth of memory and descriptors over many more."""
    with bare() as reference:
        say(f"memory, bare: {requests} requests")
        load(reference.port, requests)
        bare_peak = reference.memory("VmHWM")
    with chi(miner) as one:
        # What it takes, chi would take with its first sample otherwise: at any time between the two figures.
        with pollers.connect(one.port) as connection:
            pollers.ask(connection, pollers.get("/history.json"))
        say(f"memory, chi: {requests} requests")
        load(one.port, requests)
        at_most(f"peak RSS, {requests:,} requests", [bare_peak], [one.memory("VmHWM")], 1.08, mebibytes)
        descriptors, rss = one.descriptors(), one.memory("VmRSS")
        say(f"growth: {more} requests")
        load(one.port, more)
        descriptors, rss = one.descriptors() - descriptors, one.memory("VmRSS") - rss
        row(f"RSS growth, {more:,} more", "", "", mebibytes(rss), "< 1 MiB", rss < MIB)
        row(f"descriptors, {more:,} more", "", "", f"{descriptors:+d}", "none", descriptors <= 0)


def scrape(rounds, requests):
    """One scrape, against the miner's own reply to what a scrape asks it for.

    The reply comes from the fast one: the simulated miner takes its time, at times more, at times less.
    """
    say("scrape")
    metrics = pollers.get("/metrics")
    request = json.dumps({"command": firmware.next_request({}, remembered="cgminer")}).encode()
    with contextlib.ExitStack() as stack:
        miner = stack.enter_context(simulated_miner())
        connection = stack.enter_context(pollers.connect(stack.enter_context(chi(miner)).port))
        for _ in range(5):
            if b"\ncgminer_up 1\n" not in pollers.ask(connection, metrics):
                raise RuntimeError("a scrape without the miner")
        direct, scraped = [], []
        for _ in range(rounds):
            direct += timed(lambda: exchange(miner, request), requests)
            scraped += timed(lambda: pollers.ask(connection, metrics), requests)
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


IMPORT = "import sys, chi.cli; sys.exit(any(name.startswith('chi.status') for name in sys.modules))"


def imports():
    """To serve reports, nothing of what monitoring needs is imported."""
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=HERE, env=ENVIRONMENT)
    row("modules of chi.status that a start imports", "", "", "", "none", done.returncode == 0)


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
        throughput("server on one core", {one}, set(others), rounds, GOALS)
    coalescing(8000 // scale)
    latency_rows("any cores", latency("any cores", CORES, 10, 500 // scale), judged=True)
    latency_rows("all on one core", latency("all on one core", {one}, 10, 500 // scale), judged=False)
    cpu({one}, set(others) or {one}, 5 if scale == 1 else 1, 1 / scale, 60 / scale)
    scrape(10, 200 // scale)
    imports()
    with peer() as miner:
        turns(miner)
        start(miner, 15 if scale == 1 else 3)
        memory(miner, 20_000 // scale, 100_000 // scale)
    fleet(row, 60 // scale)


if __name__ == "__main__":
    main()
