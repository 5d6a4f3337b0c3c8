"""What run-all does inside its namespaces: the tests, then chi-server --demo and a bare Python beside it.

    measure.py ROOT

ROOT is a root file system of another architecture, with the tree in /chi. Figures of memory are those of the
emulated processes, so they have qemu's own in them: the difference to a bare Python is chi's.
"""

import http.client
import json
import re
import subprocess
import sys
import time

PORT = 8080
# Pure rooms: bytes and numbers in, bytes and numbers out.
TESTS = (
    *("tests/status", "tests/miner/test_replies.py", "tests/miner/test_text.py"),
    *("tests/miner/test_cgminer_text.py", "tests/test_places.py"),
)
REQUESTS = {
    "/healthz": 200,
    "/summary": 200,
    "/history.json": 100,
    "/status.json": 40,
    "/metrics": 40,
    "/dashboard": 40,
}
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": "/chi",
}


def inside(root, *command, **options):
    """Start a command of the other architecture."""
    return subprocess.Popen(["chroot", root, *command], env=ENVIRONMENT, **options)


def memory(process):
    """MiB of memory that a process has now."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"(?m)^VmRSS:\s+(\d+) kB$", status.read())[1]) / 1024


def processor(process):
    """Seconds of processor time that a process has taken."""
    return time.clock_gettime((~process.pid << 3) | 2)  # clock_getcpuclockid() of the C library


def ask(connection, path):
    """Make a request; the body of its 200."""
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
    return body


def connect():
    """Return a connection to chi once it serves."""
    for _ in range(3000):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
            ask(connection, "/healthz")
            return connection
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("chi-server does not start")


def run_tests(root):
    """Run the tests of the pure rooms; return pytest's exit status."""
    began = time.monotonic()
    line = f"cd /chi && exec python3 -m pytest -q -n 2 -p no:cacheprovider -m 'not heavy' {' '.join(TESTS)}"
    with inside(root, "sh", "-c", line, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate()
    summary = re.search(r"(?m)^=*\s*(\d+ passed.*?)\s*=*$", output)
    print(output if process.returncode or summary is None else f"tests: {summary[1]}")
    print(f"       {time.monotonic() - began:.0f} s with two at once")
    return process.returncode


def measure(root):
    """Print what chi-server takes on the simulated miner, of memory and of the processor."""
    miner = inside(root, "python3", "-m", "chi.demo", "--port", "4028", stderr=subprocess.DEVNULL)
    bare = inside(root, "python3", "-c", "import time; time.sleep(3600)")
    began = time.monotonic()
    options = ("--listen", "127.0.0.1", "-w", str(PORT))
    chi = inside(root, "python3", "-m", "chi", *options, stderr=subprocess.DEVNULL)
    try:
        connection = connect()
        print(f"start to the first answer: {time.monotonic() - began:.1f} s")
        taken = {}
        for path, count in REQUESTS.items():
            ask(connection, path)
            before = processor(chi)
            for _ in range(count):
                ask(connection, path)
            taken[path] = (processor(chi) - before) / count
        for path, seconds in taken.items():
            print(f"{path}: {seconds * 1000:.2f} ms of CPU, {seconds / taken['/healthz']:.1f} times /healthz")
        print(f"memory: {memory(chi):.1f} MiB, of which a bare Python has {memory(bare):.1f} MiB")
    finally:
        for process in (chi, bare, miner):
            process.kill()
            process.wait()


def demo(root):
    """Start chi-server --demo, and have it say that its miner earns."""
    options = ("--demo", "--listen", "127.0.0.1", "-w", str(PORT))
    chi = inside(root, "python3", "-m", "chi", *options, stderr=subprocess.DEVNULL)
    try:
        connection = connect()
        ask(connection, "/status.json")
        print(f"--demo: {json.loads(ask(connection, '/status.json'))['verdict']['sentence']}")
    finally:
        chi.kill()
        chi.wait()


if __name__ == "__main__":
    place = sys.argv[1]
    told = "import os, sys; print(os.uname().machine, 'Python', sys.version.split()[0], sys.maxsize)"
    inside(place, "python3", "-c", told).wait()
    measure(place)
    demo(place)
    sys.exit(run_tests(place))
