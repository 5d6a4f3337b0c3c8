"""The checks; see `run`, which calls this in namespaces of its own."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent.parent
PACKAGING = TREE / "packaging/openwrt"
sys.path.insert(0, str(HERE.parent / "debian"))

from device import Device, Record  # noqa: E402
from report import Report  # noqa: E402
from stdlib import DEPENDS, available, owner  # noqa: E402

MOST_BYTES = 320_000
ADDRESSES = "192.168.1.1 fd00:1::1"
TOKEN = "correct-horse-battery"
DEFAULTS = [
    "/usr/bin/python3", "/usr/lib/chi/chi-server",
    "--http_port=8080", "--api_host=127.0.0.1", "--api_port=4028", "--timeout=4", "--threads=4",
    "--max-age=0", "--history=60", "--read-only", "--log-level=info",
    "--listen=192.168.1.1", "--listen=fd00:1::1",
]  # fmt: skip
LISTS = ("report", "host", "cors_origin")
# Values that are good and bad: for chi-server, for the init script and for LuCI's page.
VALUES = HERE / "values.json"
ONCE_LOGGED = r"daemon\.err chi: [^\n]+\n"


def quoted(text: str) -> str:
    """A value as it is written in UCI."""
    return "'" + text.replace("'", "'\\''") + "'"


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


# --- The package -----------------------------------------------------------------------------------


class Package:
    """What is in the .ipk."""

    def __init__(self, work: Path, device: Device, ipk: Path) -> None:
        self.work, self.device, self.ipk = work, device, ipk
        self.control = device.package / "control"

    def scripts(self) -> str:
        """Every shell script of the package and of these tests is read by shellcheck and busybox ash."""
        files = [path for folder in (PACKAGING, HERE) for path in folder.rglob("*") if path.is_file()]
        scripts = [path for path in files if path.suffix == ".sh" or path.read_bytes()[:9] == b"#!/bin/sh"]
        installed = [self.control / "postinst", self.control / "prerm"]
        subprocess.run(["shellcheck", *scripts], check=True, capture_output=True, text=True)
        for path in scripts + installed:
            subprocess.run(["busybox", "ash", "-n", path], check=True, capture_output=True, text=True)
        # OpenWrt's own text, which shellcheck would have otherwise: quotes, and no shell given for $@.
        subprocess.run(["shellcheck", "-e", "SC1090,SC1091,SC2068,SC2086,SC3037", *installed],
                       check=True, capture_output=True, text=True)  # fmt: skip
        return f"{len(scripts)} scripts"

    def fields(self) -> str:
        """The control fields, one by one."""
        text = (self.control / "control").read_text()
        fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))
        version = re.search('^__version__ = "(.+)"$', (TREE / "chi/__init__.py").read_text(), re.MULTILINE)
        release = re.match(r"\d+(\.\d+)*", version[1] if version else "")
        assert version, "no version"
        assert release, version[1]
        wanted = {
            "Package": "chi",
            "Version": f"{release[0]}-r{1 if release[0] == version[1] else 0}",
            "Depends": ", ".join(DEPENDS),
            "Architecture": "all",
            "Require-User": "chi:chi",
            "Section": "net",
        }
        assert {name: fields[name] for name in wanted} == wanted, text
        assert self.ipk.name == f"chi_{fields['Version']}_all.ipk", self.ipk
        assert re.search(r"^ \S", text, re.MULTILINE), text
        return fields["Version"]

    def format(self) -> str:
        """Three members in a gzip'd tar; everything is root's; the modes; the scripts; the conffiles."""
        assert gzip.decompress(self.ipk.read_bytes())[257:262] == b"ustar"
        with tarfile.open(self.ipk) as archive:
            assert archive.getnames() == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        assert (self.device.package / "debian-binary").read_text() == "2.0\n"
        modes = {}
        for name in ("data", "control"):
            with tarfile.open(self.device.package / f"{name}.tar.gz") as archive:
                for member in archive:
                    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
                    modes[f"{name}{member.name[1:]}"] = (member.type, oct(member.mode))
        folder, file, link = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
        assert "data/usr/lib/chi/chi/dashboard.html" in modes, modes
        wanted = {
            "data/etc/config/chi": (file, "0o600"),
            "data/etc/init.d/chi": (file, "0o755"),
            "data/usr/bin/chi-server": (link, "0o777"),
            "data/usr/lib/chi/chi-server": (file, "0o755"),
            "control/postinst": (file, "0o755"),
            "control/prerm": (file, "0o755"),
        }
        for name, (kind, mode) in modes.items():
            default = (folder, "0o755") if kind == folder else (file, "0o644")
            assert (kind, mode) == wanted.pop(name, default), (name, mode)
        assert not wanted, wanted
        assert (self.control / "conffiles").read_text() == "/etc/config/chi\n"
        assert (self.control / "postinst").read_text().endswith("\ndefault_postinst $0 $@\n")
        assert (self.control / "prerm").read_text().endswith("\ndefault_prerm $0 $@\n")
        return f"{len(modes)} members"

    def files(self) -> str:
        """Every module of chi as byte code, the files of the feed, and no module twice or from elsewhere."""
        with tarfile.open(self.device.package / "data.tar.gz") as archive:
            names = {member.name for member in archive if not member.isdir()}
        modules = {name for name in names if name.startswith("./usr/lib/chi/chi/")}
        found = (path for path in (TREE / "chi").rglob("*.*") if path.suffix in (".py", ".html"))
        sources = {str(path.relative_to(TREE)) for path in found} - {"chi/demo.py"}
        assert modules == {f"./usr/lib/chi/{re.sub('py$', 'pyc', name)}" for name in sources}, modules
        assert not [name for name in names if name.endswith(".py")]
        feed = PACKAGING / "chi/files"
        for name, place in (("chi.init", "etc/init.d/chi"), ("chi.config", "etc/config/chi")):
            assert (self.device.root / place).read_bytes() == (feed / name).read_bytes(), name
        return f"{len(names)} files"

    def small(self) -> str:
        """The byte code is without docstrings and columns, by the Makefile's exported variables."""
        code = (self.device.root / "usr/lib/chi/chi/settings.pyc").read_bytes()
        source = (TREE / "chi/settings.py").read_text()
        assert source[3:30].encode() not in code, "the docstring is there"
        variables = ("PYTHONNODEBUGRANGES:=1", "PYTHONOPTIMIZE:=2")
        makefile = (PACKAGING / "chi/Makefile").read_text()
        assert all(f"export {variable}\n" in makefile for variable in variables)
        return f"settings.pyc has {len(code)} bytes"

    def again(self) -> str:
        """Built with another mask, time zone and folder: the same bytes."""
        (other,) = (self.work / "second").iterdir()
        assert other.read_bytes() == self.ipk.read_bytes(), "the packages differ"
        return hashlib.sha256(other.read_bytes()).hexdigest()[:16]

    def size(self) -> str:
        """What it takes of the flash, compressed."""
        size = self.ipk.stat().st_size
        assert size <= MOST_BYTES, f"{size} bytes, of {MOST_BYTES}"
        return f"{size} bytes, of {MOST_BYTES}"

    def command(self) -> str:
        """`chi-server --version`, which the feed's CI looks for the version in, and the feed's own test."""
        said = subprocess.run(["chroot", self.device.root, "/usr/bin/chi-server", "--version"],
                              capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
        version = self.ipk.name.split("_")[1].partition("-")[0]
        assert version in said, said
        script = self.device.root / "test.sh"
        shutil.copy(PACKAGING / "chi/test.sh", script)
        subprocess.run(
            ["chroot", self.device.root, "/bin/busybox", "ash", "/test.sh"], capture_output=True, check=True,
            text=True, env={"PATH": "/usr/bin:/usr/sbin", "PKG_NAME": "chi", "PKG_VERSION": version},
        )  # fmt: skip
        script.unlink()
        return said


# --- The init script -------------------------------------------------------------------------------


class Init:
    """The init script over the table of configurations."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.shipped = (device.root / "etc/config/chi").read_text()

    def start(self, config: str | None = "", addresses: str = ADDRESSES, **given: Any) -> Record:
        """Run it with a configuration (None: no file), and a device that has or has not."""
        root = self.device.root
        file = root / "etc/config/chi"
        file.unlink(missing_ok=True)
        if config is not None:
            lines = "".join(f"\t{line.strip()}\n" for line in config.split(";"))
            file.write_text(f"config chi 'main'\n{lines}" if config != "(shipped)" else self.shipped)
        (root / "addresses/lan").write_text(addresses)
        (root / "addresses/guest").write_text("192.168.2.1 fd00:1::1")
        self.device.users(given.get("user", True))
        for name, key, default in (("sbin/ujail", "jail", True), ("running", "running", False)):
            (root / name).unlink(missing_ok=True)
            if given.get(key, default):
                (root / name).touch(0o755)
        return self.device.init(given.get("action", "start"))

    def shipped_configuration(self) -> str:
        """The file as it is shipped is the same as an empty one: the defaults."""
        shipped, empty = self.start("(shipped)"), self.start("")
        assert shipped.command == DEFAULTS, shipped.command
        assert shipped.calls == empty.calls
        assert not shipped.log + empty.log, shipped.log
        return " ".join(shipped.command[2:])

    def instance(self) -> str:
        """Everything else that procd is told."""
        record = self.start("")
        files = record.parameter("file")
        assert {"/usr/lib/chi/chi/__init__.pyc", "/usr/lib/chi/chi/dashboard.html"} <= {*files}, files
        assert all((self.device.root / name[1:]).exists() for name in files), files
        wanted = [
            ["set", "env", "PYTHONDONTWRITEBYTECODE=1"],
            ["set", "user", "chi"],
            ["set", "group", "chi"],
            ["set", "limits", "core=0", "nofile=1024"],
            ["set", "respawn", "3600", "5", "0"],
            ["set", "stderr", "1"],
            ["mdns", "http", "tcp", "8080", "daemon=chi", "path=/dashboard"],
            ["trigger", "config", "chi"],
            ["trigger", "interface", "lan"],
        ]
        missing = [call for call in wanted if call not in record.calls]
        assert not missing, missing
        assert record.calls[0] == ["open"]
        assert [call[0] for call in record.calls[-4:]] == ["close", "trigger", "trigger", "sent"]
        return f"{len(record.calls)} calls"

    def jail(self) -> str:
        """With ujail: a read-only root of /usr/lib and the token."""
        record = self.start("")
        assert record.all("jail") == [["chi", "log", "ronly"]], record.calls
        assert record.all("mount") == [["/usr/lib"]]
        assert record.all("set", "no_new_privs") == [["1"]]
        assert self.start("option api_host 'fd00:1::2'").all("mount") == [["/usr/lib"]]
        bare = self.start("", jail=False)
        assert bare.command == DEFAULTS, bare.calls
        assert not bare.all("jail") + bare.all("mount") + bare.all("set", "no_new_privs")
        return "and none without it"

    def resolver(self) -> str:
        """For a miner with a name: the resolver's files in the jail, and a restart when they have changed."""
        files = ["/etc/hosts", "/etc/resolv.conf"]
        for jail in (True, False):
            named = self.start("option api_host 'miner.lan'", jail=jail)
            assert named.all("mount") == ([["/usr/lib"], files] if jail else []), named.calls
            assert named.parameter("file")[-2:] == files
            reload = ["interface.*.up", "2000", "/etc/init.d/chi", "reload"]
            assert named.all("trigger", "raw") == [reload], named.calls
        assert not self.start("").all("trigger", "raw")
        return "also without a jail"

    def values(self) -> str:
        """Good values become the options of that name."""
        rows = {
            "option http_port '1024'": "--http_port=1024",
            "option http_port '65535'": "--http_port=65535",
            "option api_host 'miner.lan'": "--api_host=miner.lan",
            "option api_host 'fd00:1::2'": "--api_host=fd00:1::2",
            "option api_port '1'": "--api_port=1",
            "option timeout '3600'": "--timeout=3600",
            "option timeout '1.5'": "--timeout=1.5",
            "option threads '64'": "--threads=64",
            "option max_age '0.5'": "--max-age=0.5",
            "option log_level 'debug'": "--log-level=debug",
            "option metrics_pool_user 'on'": "--metrics-pool-user",
            "list cors_origin 'http://grafana.lan:3000'; list cors_origin 'https://[fd00::1]'":
                "--cors-origin=http://grafana.lan:3000 --cors-origin=https://[fd00::1]",
            "option api_host 'fe80::1%br-lan'": "--api_host=fe80::1%br-lan",
            "option history '0'": "--history=0",
            "option history '1440'": "--history=1440",
            "list report 'temps'; list report 'x-1.y_2'": "--report=temps --report=x-1.y_2",
            "option report 'temps'": "--report=temps",
            "list host 'rig.example.org'; list host '*'": "--host=rig.example.org --host=*",
            "option interface 'lan guest'": "--listen=192.168.1.1 --listen=192.168.2.1 --listen=fd00:1::1",
            "list interface 'guest'; list interface 'lan'": "--listen=192.168.1.1 --listen=192.168.2.1",
            # Not said twice, and not a comment.
            "option http_port '8081'; option http_port '8082' # '": "--http_port=8082",
            "option read_only 'yes'": "--read-only",
            "option http_port ''": "--http_port=8080",
        }
        for config, wanted in rows.items():
            record = self.start(config)
            words = wanted.split()
            assert [word for word in record.command if word in words] == words, (config, record.command)
            assert not record.log, record.log
        everywhere = self.start("option interface '*'")
        assert everywhere.command == [word for word in DEFAULTS if "--listen" not in word], everywhere.command
        assert everywhere.all("trigger") == [["config", "chi"]], everywhere.calls
        assert "--read-only" not in self.start("option read_only '0'").command
        assert self.start("option interface 'lan guest'").all("trigger", "interface") == [["lan"], ["guest"]]
        return f"{len(rows) + 3} configurations"

    def bad_values(self) -> str:
        """One line in the log; what runs goes on, and what does not run learns its triggers."""
        rows = {
            "option enabled 'maybe'": "option enabled 'maybe' is neither 0 nor 1",
            "option read_only 'TRUE'": "option read_only 'TRUE' is neither 0 nor 1",
            "option interface 'lan&reboot'": "option interface 'lan&reboot' is not valid",
            "list host 'http://rig'": "list host 'http://rig' is not valid: it must be a single name or *",
            "list report 'a+b'; list report 'c'": "list report 'a+b' is not valid: it must be a single name",
            "option read_only '0'; option token_file '/none'": "option token_file '/none' is not a file",
            "list http_port '8080'; list http_port '8081'": "option http_port '8080 8081' is not valid",
            "option http_port '80'": "option http_port '80' is not valid: it must be a whole number",
            "option log_level 'INFO'": "must be one of debug info warning error",
        }
        for name, (_, bad) in self._cases().items():
            what = "list" if name in LISTS else "option"
            for value in bad:
                rows[f"{what} {name} {quoted(value)}"] = f"{what} {name} '{value}' is not valid"
        rows = {config: wanted.replace("\n", " ") for config, wanted in rows.items()}
        for config, wanted in rows.items():
            self._refused(config, wanted)
        self._refused(None, "/etc/config/chi cannot be read")
        self._refused("", "the user chi does not exist", user=False)
        return f"{len(rows) + 2} configurations"

    def same_as_chi_server(self) -> str:
        """What chi-server takes of a table of values this takes, and nothing that it does not."""
        count = 0
        for name, (good, _) in self._cases().items():
            for value in good:
                what, option = "list" if name in LISTS else "option", f"--{name.replace('_', '-')}"
                if name in ("http_port", "api_host", "api_port"):
                    option = f"--{name}"
                record = self.start(f"{what} {name} {quoted(value)}")
                assert f"{option}={value}" in record.command, (name, value, record.log)
                count += 1
        return f"{count} values; chi-server is asked about the same table by tests/test_openwrt.py"

    def _cases(self) -> dict[str, tuple[list[str], list[str]]]:
        """Option: good and bad values."""
        return {name: (each["good"], each["bad"]) for name, each in json.loads(VALUES.read_text()).items()}

    def syntax(self) -> str:
        """What UCI cannot read is called that, with the line; nothing starts with the defaults instead."""
        rows = {
            "option http_port 9000 x y": "too many arguments: option http_port 9000 x y",
            "option api_host 'rig; option api_port '1'": "EOF with unterminated ': option api_host 'rig",
            "option api_host \"rig": "EOF with unterminated \": option api_host \"rig",
            "optoin http_port '9000'": "invalid command: optoin http_port '9000'",
            "option http-port '9000'": "invalid character in name field: option http-port '9000'",
            "option": "insufficient arguments: option",
        }
        for config, wanted in rows.items():
            self._refused(config.replace("rig; ", "rig\n\t"), f"/etc/config/chi: UCI parse error, {wanted}")
        return f"{len(rows)} of them"

    def ignored(self) -> str:
        """A section or an option without a meaning is said to be ignored, and chi starts."""
        other = self.start("option hist '5'\n\nconfig chi 'other'\n\toption http_port '9000'\n\nconfig chi")
        assert other.command == DEFAULTS, other.log
        lines = other.log.splitlines()
        assert len(lines) == 3, other.log
        for line, what in zip(lines, ("option hist", "section other", r"section @chi\[2\]")):
            assert re.search(rf"daemon\.warn chi: /etc/config/chi: ({what}) is ignored", line), line
        return "3 lines"

    def restarts(self) -> str:
        """A bad configuration at a restart or after a stop, while for procd what ends still runs."""
        bad = "option http_port 'abc'"
        self.start("", running=True)
        for actions in (["restart"], ["stop", "start"], ["stop", "reload"]):
            self.start("", running=True)
            for action in actions:
                record = self.start(bad, running=True, action=action)
            assert "chi is not started" in record.log, record.log
            assert record.status != 0
            assert record.told
            assert ["trigger", "config", "chi"] in record.calls, record.calls
            mended = self.start("", running=True, action="reload")
            assert mended.command == DEFAULTS, mended.calls
            assert "goes on" in self.start(bad, running=True, action="reload").log
        return "and it starts when that is mended"

    def _refused(self, config: str | None, why: str, **given: Any) -> None:
        self.start("", action="stop")
        stopped = self.start(config, **given)
        assert re.fullmatch(ONCE_LOGGED, stopped.log), (config, stopped.log)
        assert why in stopped.log, (config, stopped.log)
        assert "chi is not started" in stopped.log, stopped.log
        assert stopped.status != 0
        assert stopped.told, stopped.calls
        assert not stopped.all("open"), stopped.calls
        assert ["trigger", "config", "chi"] in stopped.calls, stopped.calls
        self.start("")
        running = self.start(config, running=True, action="reload", **given)
        assert re.fullmatch(ONCE_LOGGED, running.log), (config, running.log)
        assert "goes on as it was" in running.log, running.log
        assert running.status != 0
        assert why in running.log, running.log
        assert not running.calls, (config, running.calls)

    def tokens(self) -> str:
        """A token file that chi could not use, or that others can read, does not stop what runs."""
        file = self.device.root / "etc/chi.token"
        good = "option read_only '0'; option token_file '/etc/chi.token'"
        for owner_, mode, text, why in (
            ((0, 0), 0o600, TOKEN, "cannot be read by chi"),
            ((32768, 0), 0o044, TOKEN, "others may read"),
            ((32768, 0), 0o602, TOKEN, "others may read"),
            ((32768, 0), 0o060, TOKEN, "cannot be read by chi"),
            ((32768, 0), 0o600, "short", "shorter than 16 characters"),
            ((32768, 0), 0o600, "x" * 1025, "longer than 1024 characters"),
            ((32768, 0), 0o600, "correct horse battery", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "correct-horse-bättery", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "correct-horse\nbattery-staple", "not one word of printable ASCII"),
        ):
            file.write_text(text + "\n")
            file.chmod(mode)
            os.chown(file, *owner_)
            self._refused(good, why)
        for owner_, mode in (((32768, 0), 0o600), ((32768, 32768), 0o400), ((0, 32768), 0o640)):
            file.write_text(TOKEN + "\n")
            file.chmod(mode)
            os.chown(file, *owner_)
            record = self.start(good)
            assert "--token-file=/etc/chi.token" in record.command, record.log
            assert "/etc/chi.token" in record.parameter("file")
            assert ["mount", "/etc/chi.token"] in record.calls
            assert TOKEN not in str(record.calls) + record.log
        self._refused("option token_file '/etc/chi.token'", "no use with read_only 1")
        os.chown(file, 32768, 0)
        odd = self.device.root / "etc/chi token"
        odd.write_text(TOKEN)
        self._refused("option read_only '0'; option token_file '/etc/chi token'", "must be a plain path")
        odd.unlink()
        return "3 good ones, 11 that are not"

    def off(self) -> str:
        """`enabled` 0 stops chi, whatever else is wrong."""
        for config in ("option enabled '0'", "option enabled 'off'; option http_port 'abc'"):
            for running in (False, True):
                record = self.start(config, running=running)
                assert record.told, record.calls
                assert not record.all("open"), record.calls
                assert not record.log, record.log
        return "also beside a bad value"

    def no_address(self) -> str:
        """A network without an address: chi waits, and is started by the trigger when it has one."""
        for running in (False, True):
            record = self.start("", addresses="", running=running)
            assert record.told, record.calls
            assert not record.all("open"), record.calls
            assert ["trigger", "interface", "lan"] in record.calls
            line = r"daemon\.notice chi: network lan has no address[^\n]*\n"
            assert re.fullmatch(line, record.log), record.log
        later = self.start("", action="reload")
        assert later.command == DEFAULTS, later.calls
        return "and starts at the next reload"

    def follows(self) -> str:
        """Another address makes another command, which procd restarts; another order of them does not."""
        first, same = self.start(""), self.start("", addresses="fd00:1::1 192.168.1.1 fd00:1::1")
        other = self.start("", addresses="192.168.7.1")
        assert first.calls == same.calls
        assert "--listen=192.168.7.1" in other.command
        return "by the command line"

    def image_builder(self) -> str:
        """The file does nothing when it is read, as ImageBuilder does with bash on the build machine."""
        script = '. "$0"; echo "$START $USE_PROCD $-"'
        said = subprocess.run(
            ["bash", "-euc", script, PACKAGING / "chi/files/chi.init"], capture_output=True,
            check=True, text=True,
        )  # fmt: skip
        assert said.stdout.startswith("95 1 "), said.stdout
        assert not said.stderr, said.stderr
        return "START=95"


# --- The service -----------------------------------------------------------------------------------


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


def main(folder: str) -> int:
    """Return the exit status."""
    work = Path(folder)
    for words in ("link set lo up", "address add 192.168.1.1/24 dev lo", "address add fd00:1::1/64 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    (ipk,) = (work / "first").iterdir()
    device = Device(work / "root", ipk)
    package, init = Package(work, device, ipk), Init(device)
    serving = Serving(device, init)
    report = Report("openwrt")
    for subject in (package, init, serving):
        for name, member in vars(type(subject)).items():
            if not name.startswith("_") and name != "start":
                report.check(f"{type(subject).__name__}: {member.__doc__}", getattr(subject, name))
    return report.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
