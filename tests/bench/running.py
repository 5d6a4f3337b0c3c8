"""The processes of the benchmark: miners, chi, the bare application and nginx, each on a free port.

Comes in: options. Goes out: a port, or a Server that tells what its process has taken. Each ends with its
with block. Linux only: memory and descriptors are read from /proc.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pollers
from bare import BODY, CONTENT_TYPE

from chi.settings import Settings

HERE = Path(__file__).resolve().parent
# Child processes use the installed chi, and may keep their bytecode, as a service's do.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NGINX_SETTINGS = """
daemon off; master_process off; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type "{content_type}";
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def say(text):
    """Report progress where it does not end up in the table."""
    print(text, file=sys.stderr, flush=True)


def child(*arguments, **options):
    """Start a Python program that is one of ours."""
    return subprocess.Popen([sys.executable, *arguments], cwd=HERE, env=ENVIRONMENT, **options)


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
    """Run the fast miner and yield its port."""
    process = child("peer.py", *options, stdout=subprocess.PIPE, text=True)
    with ended(process), process.stdout:
        yield int(process.stdout.readline())


@contextlib.contextmanager
def simulated_miner():
    """Run a fast miner that says what chi's simulated one said at first, and yield its port."""
    process = child("-m", "chi.demo", "--port", "0", stderr=subprocess.PIPE, text=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(ended(process))
        port = stack.enter_context(process.stderr).readline().rpartition(":")[2].strip()
        yield stack.enter_context(peer("--of", port))


class Server:
    """A running HTTP server: its port, its process and how long it took to give the first answer."""

    def __init__(self, process, port, seconds):
        self.process, self.port, self.seconds = process, port, seconds

    def memory(self, field):
        """Return VmHWM or VmRSS in KiB."""
        return self._told("status", field)

    def cpu(self):
        """Return its seconds of processor time, of all threads, as user and in the kernel."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # clock_getcpuclockid() of the C library

    def wakeups(self):
        """Count how often its threads have slept."""
        threads = os.listdir(f"/proc/{self.process.pid}/task")
        return sum(self._told(f"task/{thread}/status", "voluntary_ctxt_switches") for thread in threads)

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

    def _told(self, file, field):
        status = Path(f"/proc/{self.process.pid}/{file}").read_text()
        return int(re.search(rf"^{field}:\s+(\d+)( kB)?$", status, re.MULTILINE).group(1))


def free_port():
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command, port, path="/summary"):
    """Run the command, which serves on this port, until the with block ends."""
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=HERE, env=ENVIRONMENT, stdout=output, stderr=output)
        with ended(process):
            while not answers(port, path):
                if process.poll() is not None or time.perf_counter() - begin > 10:
                    output.seek(0)
                    raise RuntimeError(f"{command} does not start: {output.read().decode(errors='replace')}")
                time.sleep(0.002)
            yield Server(process, port, time.perf_counter() - begin)


def answers(port, path):
    """Tell whether a first request is answered with 200."""
    try:
        with pollers.connect(port) as connection:
            return pollers.ask(connection, pollers.get(path)).startswith(b"HTTP/1.1 200 ")
    except ConnectionError:
        return False


def chi(miner, *options):
    """Run chi in front of the miner at this port."""
    port = free_port()
    command = ["-m", "chi", "--listen", "127.0.0.1", "--http_port", str(port), "--api_port", str(miner)]
    return server([sys.executable, *command, *options], port)


def fleet(miner, size):
    """Run chi in front of so many miners, all of them at this port."""
    port = free_port()
    command = ["-m", "chi", "--listen", "127.0.0.1", "--http_port", str(port)]
    for number in range(size):
        command += ["--miner", f"rig{number:03}=127.0.0.1:{miner}"]
    return server([sys.executable, *command], port, "/healthz")


def bare(kind="bottle", threads=None):
    """Run the bare application with as many threads as chi has."""
    port, threads = free_port(), str(threads or Settings().threads)
    return server([sys.executable, "-m", "bare", kind, "--threads", threads, "--http_port", str(port)], port)


@contextlib.contextmanager
def nginx():
    """Run nginx, one process, with the bare application's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        Path(folder, "summary").write_bytes(BODY)
        text = NGINX_SETTINGS.format(folder=folder, port=port, content_type=CONTENT_TYPE)
        settings = Path(folder, "nginx.conf")
        settings.write_text(text)
        Path(folder).chmod(0o755)  # it may serve as another user
        with server([NGINX, "-p", folder, "-c", settings, "-e", "stderr"], port) as one:
            yield one
