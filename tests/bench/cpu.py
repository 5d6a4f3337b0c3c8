"""What a request costs the server's processor, in bare requests of the same run; and what rest costs.

Comes in: cores and durations. Goes out: rows of the table. The server has one core and one client, which asks
again when it has its answer: so nothing is shared between clients.
"""

import contextlib
import json
import os
import time

import pollers
from running import NGINX, bare, chi, fleet, nginx, say, simulated_miner
from table import at_most, microseconds, milliseconds, row

FLEET = 100  # miners
START = 60  # seconds within which all of them must have been asked
# What is asked of which server, how it is called, and the most that it may cost in bare requests
REQUESTS = (
    ("chi", "/healthz", "/healthz", None),
    ("chi", "/summary", "a report, fresh", None),
    ("chi --max-age", "/summary", "a report, --max-age 0.1", None),
    ("chi", "/summary+devs+pools+stats", "four joined reports", None),
    ("chi", "/status.json", "/status.json", 5),
    ("chi", "/metrics", "/metrics", 5),
    ("fleet", "/fleet.json", f"/fleet.json, {FLEET} miners", None),
    ("nginx", "/summary", "for comparison: nginx, the bare bytes", None),
)
SAMPLE, WAKEUPS, IDLE = 3, 1, 0.001  # at most: bare requests, a second, seconds of CPU a second


def cost(one, connection, path, seconds):
    """Return the server's seconds of CPU for a request, of those that it answers in so many seconds."""
    request, asked, before, end = pollers.get(path), 0, one.cpu(), time.monotonic() + seconds
    while time.monotonic() < end:
        if not pollers.ask(connection, request).startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{path} was not answered with 200")
        asked += 1
    return (one.cpu() - before) / asked


def all_answer(one):
    """Wait until each miner of the fleet has answered."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        with pollers.connect(one.port) as connection:
            reply = pollers.ask(connection, pollers.get("/fleet.json"))
        if json.loads(reply.partition(b"\r\n\r\n")[2])["totals"]["answering"] == FLEET:
            return
        time.sleep(1)
    raise RuntimeError(f"not all of {FLEET} miners answer within {START} s")


def started(stack, server_cores, other_cores):
    """Start miners and servers on their cores; return servers by name, and the port of the fleet's miner."""
    os.sched_setaffinity(0, other_cores)  # what a process is started with, it inherits
    miner, many = (stack.enter_context(simulated_miner()) for _ in range(2))
    os.sched_setaffinity(0, server_cores)
    managers = {"bare": bare(), "chi": chi(miner), "chi --max-age": chi(miner, "--max-age", "0.1")}
    managers |= {"nginx": nginx()} if NGINX else {}
    managers |= {"fleet": fleet(many, FLEET)}
    servers = {name: stack.enter_context(manager) for name, manager in managers.items()}
    os.sched_setaffinity(0, other_cores)
    return servers, many


def requests_rows(servers, bare_costs, rounds, seconds):
    """Measure each request beside a bare one, in rounds, and print what it costs."""
    wanted = [one for one in REQUESTS if one[0] in servers]
    costs = {what: [] for _, _, what, _ in wanted}
    connections = {name: pollers.connect(one.port) for name, one in servers.items()}
    with contextlib.ExitStack() as stack:
        for connection in connections.values():
            stack.enter_context(connection)
        for turn in range(rounds + 1):
            say(f"CPU, round {turn} of {rounds}")
            measured = {
                what: cost(servers[on], connections[on], path, seconds) for on, path, what, _ in wanted
            }
            reference = cost(servers["bare"], connections["bare"], "/summary", seconds)
            if turn:  # the first round warms up
                bare_costs.append(reference)
                for what, each in measured.items():
                    costs[what].append(each)
    row("CPU a request, user and kernel, one client")
    for _, _, what, target in wanted:
        at_most(f"  {what}", bare_costs, costs[what], target, microseconds)


def rest_rows(servers, many, bare_costs, seconds):
    """Leave all alone for some time, and print what chi takes then: alone, and for each sample of a fleet."""
    say(f"idle, {seconds} s")
    watched = {name: servers[name] for name in ("bare", "chi", "fleet")}
    before = {name: (one.cpu(), one.wakeups()) for name, one in watched.items()}
    asked = pollers.count(many)
    time.sleep(seconds)
    spent = {
        name: tuple(now - then for now, then in zip((one.cpu(), one.wakeups()), before[name]))
        for name, one in watched.items()
    }
    samples = pollers.count(many) - asked
    sample = [spent["fleet"][0] / samples] * len(bare_costs)
    at_most(f"  a sample of the history, of {samples}", bare_costs, sample, SAMPLE, microseconds)
    cpu, wakeups = (figure / seconds for figure in spent["chi"])
    bare_cpu, bare_wakeups = (figure / seconds for figure in spent["bare"])
    row("idle: CPU a second", milliseconds(bare_cpu), milliseconds(cpu), "", "<= 1 ms", cpu <= IDLE)
    row("idle: wake-ups a second", f"{bare_wakeups:.2f}", f"{wakeups:.2f}", "", "<= 1", wakeups <= WAKEUPS)


def cpu(server_cores, other_cores, rounds, seconds, idle):
    """Measure all of it, with the servers on some cores and everything else on others."""
    with contextlib.ExitStack() as stack:
        servers, many = started(stack, server_cores, other_cores)
        say("the fleet's first samples")
        all_answer(servers["fleet"])
        bare_costs = []
        requests_rows(servers, bare_costs, rounds, seconds)
        rest_rows(servers, many, bare_costs, idle)
    os.sched_setaffinity(0, server_cores | other_cores)
