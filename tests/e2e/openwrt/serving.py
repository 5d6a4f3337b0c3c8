"""What the init script told procd, running in the device's root; each method of Serving is a check."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from device import TREE, Device
from init import ADDRESSES, TOKEN, Init
from stdlib import DEPENDS, available, owner


def ask(path: str, method: str = "GET", body: bytes | None = None, **given: Any) -> tuple[int, Any]:
    """Make an HTTP request; return status and parsed body."""
    host, port, headers = given.get("host", "192.168.1.1"), given.get("port", 8080), given.get("headers", {})
    connection = http.client.HTTPConnection(host, port, timeout=15)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, data


@contextlib.contextmanager
def simulated_miner(port: int = 4028) -> Iterator[subprocess.Popen[str]]:
    """The demo's miner."""
    command = [sys.executable, str(TREE / "chi/demo.py"), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listens" in process.stderr.readline()
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def scripted_miner(port: int, reply: bytes) -> Iterator[None]:
    """One that always gives the same reply."""

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(8192)
                connection.sendall(reply + b"\0")

    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


class Serving:
    """What was recorded, started as procd does, in a root with the modules of the named packages alone."""

    def __init__(self, device: Device, init: Init) -> None:
        self.device, self.init = device, init

    def defaults(self) -> str:
        """Both addresses of the network and no other; as chi; reports only; nothing written."""
        record = self.init.start("")
        before = self.device.listing()
        with simulated_miner(), self.device.serve(record) as service:
            for host in ADDRESSES.split():
                status, reply = ask("/version", host=host)
                assert (status, reply["VERSION"][0]["API"][:2]) == (200, "3."), reply
            try:
                ask("/version", host="127.0.0.1")
                raise AssertionError("chi also serves on 127.0.0.1")
            except ConnectionRefusedError:
                pass
            status, page = ask("/dashboard")
            assert (status, page) == (200, (TREE / "chi/dashboard.html").read_bytes()), page
            assert ask("/status.json")[1]["rig"]["hashrate"] > 0
            assert ask("/history.json")[1]["minutes"] == 60
            assert ask("/restart")[0] == 403
            assert ask("/quit", "POST")[0] == 403
            status_file = service.status()
            assert status_file["Uid"].split() == ["32768"] * 4, status_file["Uid"]
            assert int(status_file["CapEff"], 16) == 0
            memory = status_file["VmRSS"].strip()
        assert self.device.listing() == before, "something was written"
        return f"{memory} resident"

    def verdict(self) -> str:
        """`/etc/init.d/chi verdict`, for LuCI's page: what /status.json says, wherever chi serves."""
        for config, addresses in (
            ("", ADDRESSES),
            ("", "fd00:1::1"),
            ("option interface '*'", ""),
            ("option http_port '8081'", ADDRESSES),
        ):
            record = self.init.start(config, addresses=addresses)
            with simulated_miner(), self.device.serve(record):
                said = self.device.run("verdict")
                assert said.returncode == 0, said.stderr
                status = json.loads(said.stdout)
            assert status["rig"]["hashrate"] > 0, status
            assert status["verdict"]["sentence"], status
        assert self.device.run("verdict").returncode != 0
        return f"4 of them: {status['verdict']['sentence']}"

    def fleet(self) -> str:
        """Sections miner: each below its name, and the sum is what LuCI's page is told."""
        sections = "config miner 'near'\n\toption host '127.0.0.1'\n\nconfig miner 'far'\n\toption host '::1'"
        record = self.init.start(f"\n\n{sections}")
        with simulated_miner(), self.device.serve(record):
            assert ask("/@near/version")[0] == 200
            assert ask("/@far/version")[0] == 502
            totals = json.loads(self.device.run("verdict").stdout)["totals"]
        assert (totals["miners"], set(totals) >= {"answering", "earning"}) == (2, True), totals
        return "2 miners"

    def everywhere(self) -> str:
        """With `*` every address, and a miner by its name."""
        named = "option api_host 'miner.lan'; list host 'rig.example.org'"
        record = self.init.start(f"option interface '*'; {named}")
        with simulated_miner(), self.device.serve(record):
            for host in ("127.0.0.1", "::1", "192.168.1.1"):
                assert ask("/summary", host=host)[0] == 200, host
            assert ask("/summary", headers={"Host": "rig.example.org"})[0] == 200
            assert ask("/summary", headers={"Host": "other.example.org"})[0] == 421
        return "IPv4 and IPv6"

    def tentative(self) -> str:
        """An IPv6 address that is tentative, as after each ifup: IPv4 is served meanwhile."""
        late = "fd00:7::1"
        for words in ("link add late type veth peer name peer", "link set peer up", "link set late up"):
            subprocess.run(["ip", *words.split()], check=True)
        record = self.init.start("", addresses=f"192.168.1.1 {late}")
        subprocess.run(["ip", "address", "add", f"{late}/64", "dev", "late"], check=True)
        with simulated_miner(), self.device.serve(record) as service:
            service.logged(f"{late} is not an address of this host yet")
            assert ask("/summary")[0] == 200
            until = time.monotonic() + 30
            while not self._answers(late):
                assert time.monotonic() < until, "it is never served"
                time.sleep(0.1)
        subprocess.run(["ip", "link", "delete", "late"], check=True)
        return "and IPv6 as soon as it is there"

    def _answers(self, host: str) -> bool:
        try:
            return ask("/summary", host=host)[0] == 200
        except OSError:
            return False

    def port_in_use(self) -> str:
        """Another has the port: one line, then quiet; and chi serves when it is free."""
        record = self.init.start("")
        with socket.create_server(("192.168.1.1", 8080)) as taken:
            service = self.device.serve(record)
            service.logged("Address already in use; chi waits until it is free\n")
            time.sleep(6)  # another look, of which nothing is told
            taken.close()
        with service, simulated_miner():
            assert ask("/summary")[0] == 200
        assert service.log.count("cannot serve") == 1, service.log
        return "one line"

    def token(self) -> str:
        """With read_only 0 and a token."""
        record = self.init.start("option read_only '0'; option token_file '/etc/chi.token'")
        basic = base64.b64encode(f"admin:{TOKEN}".encode()).decode()
        with simulated_miner(), self.device.serve(record):
            assert ask("/zero/all,false", "POST")[0] == 401
            for value in (f"Bearer {TOKEN}", f"Basic {basic}"):
                assert ask("/zero/all,false", "POST", headers={"Authorization": value})[0] == 200
        return "401 without it"

    def log(self) -> str:
        """The log has a line when the miner goes and one when it comes, and none per request."""
        record = self.init.start("")
        with self.device.serve(record) as service:
            for _ in range(5):
                assert ask("/version")[0] == 502
            position = service.logged("WARNING .*4028")
            with simulated_miner():
                for _ in range(5):
                    assert ask("/version")[0] == 200
                position = service.logged("INFO .*4028", position)
            for _ in range(5):
                assert ask("/version")[0] == 502
            position = service.logged("WARNING .*4028", position)
        lines = service.log.splitlines()
        assert len(lines) <= 9, service.log  # two addresses, the exposure, three changes, the end
        assert all(re.match("INFO|WARNING|.ended", line) for line in lines), service.log
        return f"{len(lines) - 1} lines for 15 requests"

    def no_miner(self) -> str:
        """Without a miner chi serves on, and does not end."""
        with self.device.serve(self.init.start("")) as service:
            assert ask("/healthz")[0] == 200
            assert ask("/readyz")[0] == 503
            assert service.process.poll() is None
        return "alive, not ready"

    def modules(self) -> str:
        """Every module that serving takes is in the packages of Depends, and each of these is needed."""
        record = self.init.start("option interface '*'; option api_host 'miner.lan'; option read_only '0'; "
                                 "option token_file '/etc/chi.token'")  # fmt: skip
        with simulated_miner(), self.device.serve(record, CHI_MODULES="1") as service:
            self._exercise()
            service.stop()
        found = re.search("^modules: (.*)$", service.log, re.MULTILINE)
        assert found, service.log
        own = re.compile(r"(chi|bottle|waitress|__main__|sitecustomize)(\.|$)")
        names = [name for name in found[1].split() if not own.match(name)]
        wrong = {name: owner(name) for name in names if not available(name)}
        assert not wrong, f"further packages: {wrong}"
        used = {owner(name) for name in names}
        assert used >= set(DEPENDS), f"not needed: {set(DEPENDS) - used}"
        return f"{len(names)} modules"

    def _exercise(self) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        own = "healthz readyz metrics status.json history.json dashboard favicon.ico robots.txt"
        for path in (*own.split(), "", "summary+pools/?pretty", "nonsense", "%zz"):
            ask(f"/{path}")
        ask("/", "POST", b'{"command":"zero","parameter":"all,false"}', headers=headers)
        ask("/", "POST", b"{")
        ask("/quit", "GET", headers={"User-Agent": "Mozilla/5.0"})
        with socket.create_connection(("192.168.1.1", 8080)) as client:
            client.sendall(b"nonsense\r\n\r\n")
            client.recv(4096)
        with socket.create_connection(("192.168.1.1", 8080)) as client:
            chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(chunked + b'15\r\n{"command":"version"}\r\n0\r\n\r\n')
            client.recv(4096)

    def deep(self) -> str:
        """JSON nested deep, in requests and in replies: 400 and 502, with stacks of 128 KiB."""
        record = self.init.start("option api_port '4029'")
        shapes = (b"[" * 1035, b"[" * 60_000, b'{"a":' * 12_000, b'[{"a":' * 9000)
        count = 0
        for stack in (0, 128 << 10):
            with self.device.serve(record, stack, CHI_MUSL="1") as service:
                for shape in shapes:
                    for body in (shape, b'{"command":"version","parameter":' + shape):
                        status, reply = ask("/", "POST", body)
                        assert status == 400, (status, reply)
                        count += 1
                for shape in (*shapes, b"[" * 500_000, b"[" * 1035 + b"]" * 1035, b"[," * 40_000 + b"nan"):
                    for reply in (shape, b'{"STATUS":[{"STATUS":"S"}],"id":' + shape, shape + b" " * 70_000):
                        with scripted_miner(4029, reply):
                            status, said = ask("/version")
                        assert status == 502, (status, said, reply[:40])
                        count += 1
                assert service.process.poll() is None
        return f"{count} of them"

    def starts(self) -> str:
        """How long until it serves; of this machine, for comparison only."""
        record = self.init.start("")
        began = time.monotonic()
        with self.device.serve(record):
            took = time.monotonic() - began
        return f"{took:.2f} s"
