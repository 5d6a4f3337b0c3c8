"""The real Zabbix, server, frontend and PostgreSQL, with packaging/monitoring/zabbix-template.yaml."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import PACKAGING, TOKEN, Stage, asleep, broken, end, fetch, private, staged, wait_until, well

from tests.scripted import free_port

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())
FRONTEND = Path("/usr/share/zabbix")
SCHEMA = Path("/usr/share/zabbix-server-pgsql")
NEEDED = (
    shutil.which("zabbix_server"),
    shutil.which("php"),
    FRONTEND.is_dir(),
    SCHEMA.is_dir(),
    BINARIES.name,
)
pytestmark = pytest.mark.skipif(
    not all(NEEDED) or os.geteuid() != 0,
    reason="needs zabbix-server-pgsql, zabbix-frontend-php, php-cli, postgresql and root",
)
POLL = "2s"  # in place of a minute


def as_postgres(*command: str | Path, **popen: Any) -> subprocess.Popen[bytes]:
    """Start a command as PostgreSQL's user, which it insists on."""
    return subprocess.Popen([*map(str, command)], user="postgres", group="postgres", extra_groups=[], **popen)


def checked(process: subprocess.Popen[bytes], said: bytes | None = None) -> None:
    """Wait for its end; AssertionError if that is a failure."""
    out, _ = process.communicate(said, timeout=300)
    assert process.returncode == 0, out


def low_port() -> int:
    """A port on which nothing listens, of those that Zabbix takes: the system's own are above."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Zabbix:
    """Zabbix in a folder of its own; `call` is its API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self._counter = itertools.count(1)
        self._session = ""
        try:
            self._start_database()
            self._start_server()
            self._start_frontend()
            name = "username" if self.version >= (6, 4) else "user"
            self._session = self.call("user.login", **{name: "Admin", "password": "zabbix"})
        except BaseException:
            self.stop()
            raise

    def _start_database(self) -> None:
        self.folder.chmod(0o755)
        data = self.folder / "postgres"
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "cwd": data}
        files = data / "files"
        checked(
            as_postgres(
                BINARIES / "initdb",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                files,
                **pipes,
            )
        )
        self._database = free_port()
        settings = (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={data}",
            "fsync=off",
            "full_page_writes=off",
        )
        options = [part for setting in settings for part in ("-c", setting)]
        with open(self.folder / "postgres.log", "wb") as log:
            self.started.append(as_postgres(
                BINARIES / "postgres", "-D", files, "-p", str(self._database), *options,
                stdout=log, stderr=log, cwd=data,
            ))  # fmt: skip
        where = ("--host=127.0.0.1", f"--port={self._database}", "--username=postgres")
        ready = [BINARIES / "pg_isready", *where[:2]]
        wait_until(
            lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "PostgreSQL"
        )
        checked(as_postgres(BINARIES / "createdb", *where, "zabbix", **pipes))
        load = (BINARIES / "psql", *where, "--dbname=zabbix", "--quiet", "--set=ON_ERROR_STOP=1")
        for name in ("schema", "images", "data"):
            text = subprocess.run(["zcat", SCHEMA / f"{name}.sql.gz"], capture_output=True, check=True).stdout
            checked(as_postgres(*load, stdin=subprocess.PIPE, **pipes), text)

    def _start_server(self) -> None:
        run = self.folder / "server"
        run.mkdir()
        shutil.chown(run, "zabbix", "zabbix")
        file = self.folder / "zabbix_server.conf"
        file.write_text("\n".join((
            f"ListenIP=127.0.0.1\nListenPort={low_port()}\nLogFile={run}/log\nPidFile={run}/pid\nSocketDir={run}",
            f"DBHost=127.0.0.1\nDBPort={self._database}\nDBName=zabbix\nDBUser=postgres\nDBPassword=x",
            "CacheUpdateFrequency=2\nStartPollers=1\nStartPreprocessors=1\nStartDiscoverers=0\nStartTrappers=1",
            "StartHTTPPollers=1\nStartPingers=0\nStartEscalators=1\nStartAlerters=1\nStartPollersUnreachable=1",
        )))  # fmt: skip
        self._log = run / "log"
        self.started.append(subprocess.Popen(
            ["zabbix_server", "--foreground", "--config", str(file)],
            user="zabbix", group="zabbix", extra_groups=[], cwd=run,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ))  # fmt: skip

    def _start_frontend(self) -> None:
        web = self.folder / "web"
        shutil.copytree(FRONTEND, web, ignore=shutil.ignore_patterns("conf", "locale"))
        (web / "conf").mkdir()
        shutil.copy(FRONTEND / "conf" / "maintenance.inc.php", web / "conf")
        configuration = web / "conf" / "zabbix.conf.php"
        # Debian's frontend has its configuration where all of a machine's would.
        reader = web / "include" / "classes" / "core" / "CConfigFile.php"
        reader.write_text(reader.read_text().replace("/etc/zabbix/zabbix.conf.php", str(configuration)))
        configuration.write_text(
            "<?php\nglobal $DB, $HISTORY;\n"
            f"$DB = ['TYPE' => 'POSTGRESQL', 'SERVER' => '127.0.0.1', 'PORT' => '{self._database}', "
            "'DATABASE' => 'zabbix', 'USER' => 'postgres', 'PASSWORD' => 'x', 'SCHEMA' => '', "
            "'ENCRYPTION' => false, 'KEY_FILE' => '', 'CERT_FILE' => '', 'CA_FILE' => '', "
            "'VERIFY_HOST' => false, 'CIPHER_LIST' => '', 'DOUBLE_IEEE754' => true];\n"
            "$IMAGE_FORMAT_DEFAULT = IMAGE_FORMAT_PNG;\n"
        )
        port = free_port()
        self._api = f"http://127.0.0.1:{port}/api_jsonrpc.php"
        wanted = ("post_max_size=16M", "max_execution_time=300", "max_input_time=300", "date.timezone=UTC")
        options = [part for each in wanted for part in ("-d", each)]
        with open(self.folder / "web.log", "wb") as log:
            self.started.append(subprocess.Popen(
                ["php", *options, "-S", f"127.0.0.1:{port}", "-t", str(web)], stdout=log, stderr=log,
            ))  # fmt: skip

        def version() -> str:
            for process in self.started:
                assert process.poll() is None, (process.args, self.log)
            try:
                return str(self.call("apiinfo.version"))
            except OSError:
                return ""

        self.version = tuple(map(int, wait_until(version, "the API").split(".")[:2]))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a call; AssertionError where it is an error."""
        body = {"jsonrpc": "2.0", "method": method, "params": parameters or [], "id": next(self._counter)}
        if self._session:
            body["auth"] = self._session
        _, said = fetch(self._api, body)
        answer = json.loads(said)
        assert "result" in answer, answer
        return answer["result"]

    def stop(self) -> None:
        """End what was started, the last first."""
        for process in reversed(self.started):
            end(process)


class Host:
    """A host in Zabbix with the template, on a Stage."""

    def __init__(self, zabbix: Zabbix, stage: Stage) -> None:
        self.zabbix = zabbix
        text = (
            (PACKAGING / "zabbix-template.yaml")
            .read_text(encoding="utf-8")
            .replace("delay: 1m", f"delay: {POLL}")
        )
        # Minutes of the triggers are seconds here.
        text = text.replace(",5m)", ",10s)").replace(",15m,", ",6s,")
        rules = {"createMissing": True, "updateExisting": True}
        groups = "groups" if zabbix.version < (6, 2) else "template_groups"
        kinds = ("templates", "items", "triggers", "discoveryRules", "valueMaps", groups)
        assert (
            zabbix.call("configuration.import", format="yaml", source=text, rules=dict.fromkeys(kinds, rules))
            is True
        )
        (template,) = zabbix.call("template.get", filter={"host": ["Miner by chi"]})
        (group,) = zabbix.call("hostgroup.get", filter={"name": ["Discovered hosts"]})
        interface = {"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": "10050"}
        macros = [
            {"macro": "{$CHI.PORT}", "value": str(stage.port)},
            {"macro": "{$CHI.TOKEN}", "value": TOKEN},
        ]
        found = zabbix.call(
            "host.create", host="miner", interfaces=[interface], groups=[{"groupid": group["groupid"]}],
            templates=[{"templateid": template["templateid"]}], macros=macros,
        )  # fmt: skip
        self.id = found["hostids"][0]

    def items(self) -> dict[str, dict[str, str]]:
        """All items by their key."""
        fields = ["key_", "name", "lastvalue", "lastclock", "state", "error"]
        return {each["key_"]: each for each in self.zabbix.call("item.get", hostids=[self.id], output=fields)}

    def value(self, key: str) -> str | None:
        """The last value of an item; None where it has none."""
        found = self.items().get(key)
        return found["lastvalue"] if found and found["lastclock"] != "0" else None

    def problems(self) -> set[str]:
        """The names of the triggers that Zabbix shows as problems: less those that depend on another."""
        found = self.zabbix.call(
            "trigger.get", hostids=[self.id], output=["description"], only_true=True, skipDependent=True,
            filter={"value": 1}, monitored=True,
        )  # fmt: skip
        return {each["description"] for each in found}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """LuxOS, behind a chi that wants a token."""
    with staged(*private(tmp_path_factory.mktemp("chi"))) as found:
        found.show(well("luxos"))
        yield found


@pytest.fixture(scope="module")
def host(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Zabbix, which knows the host."""
    # Below /tmp itself, as other users than root have to get there.
    folder = Path("/tmp") / f"chi-zabbix-{os.getpid()}"
    folder.mkdir()
    try:
        zabbix = Zabbix(folder)
        try:
            yield Host(zabbix, stage)
        finally:
            zabbix.stop()
    finally:
        shutil.rmtree(folder)


def test_values(host: Host) -> None:
    """Values are those of the recorded replies, with the token; the temperature too."""
    wait_until(lambda: host.value("cgminer.hashrate"), f"there is a hashrate: {host.items()}", 180)
    expected = {
        "cgminer.up": 1.0, "cgminer.hashrate": 59.75606e12, "cgminer.power": 1234, "cgminer.temperature": 59,
        "cgminer.efficiency": 20.65062525,
    }  # fmt: skip
    assert {key: float(host.value(key) or "nan") for key in expected} == pytest.approx(expected)
    assert host.value("chi.problems") is not None


def test_discovery(host: Host) -> None:
    """Fans, boards and pools are discovered, pools with their URL."""
    wait_until(lambda: host.value("cgminer.pool[0]") == "1", "pools are discovered", 180)
    items = host.items()
    assert items["cgminer.pool[0]"]["name"] == "Pool 0 (stratum+tcp://pool.example.com:3333) answers"
    assert any(key.startswith("cgminer.fan[") for key in items)
    assert any(key.startswith("cgminer.chain.temperature[") for key in items)


def test_no_item_is_unsupported(host: Host) -> None:
    """Nor is any trigger; without an error in the log."""
    assert {key: each["error"] for key, each in host.items().items() if each["error"]} == {}
    triggers = host.zabbix.call("trigger.get", hostids=[host.id], output=["description", "error"])
    assert len(triggers) >= 6
    assert {each["description"]: each["error"] for each in triggers if each["error"]} == {}


def test_miner_down(host: Host, stage: Stage) -> None:
    """One trigger says so, and no other."""
    stage.stop_miner()
    wait_until(lambda: host.problems() == {"The miner does not answer"}, f"{host.problems()}", 120)
    wait_until(lambda: host.value("chi.earning") == "2", "whether it earns is not known", 180)


def test_chi_down(host: Host, stage: Stage) -> None:
    """Likewise: the triggers that depend on it are not shown."""
    stage.stop_chi()
    wait_until(lambda: host.problems() == {"chi cannot be reached"}, "chi cannot be reached", 180)


def test_paused(host: Host, stage: Stage) -> None:
    """A miner that sleeps raises no alarm, neither of its fans nor of anything else."""
    stage.show(well("bitmain-s19"))
    wait_until(lambda: not host.problems(), "all is well", 180)
    wait_until(lambda: float(host.value("cgminer.fan[1]") or 0) > 0, "its fans turn", 180)
    stage.play(asleep())
    wait_until(lambda: "sleeping" in (host.value("chi.problems") or ""), "it sleeps", 120)
    wait_until(lambda: host.value("chi.earning") == "0", "it does not earn", 60)
    wait_until(lambda: not host.problems(), "no problem is left", 120)
    time.sleep(10)
    assert host.problems() == set()
    assert host.value("cgminer.state") == "sleeping"


def test_broken(host: Host, stage: Stage) -> None:
    """A board without chips is a problem as long as it lasts, and a while longer."""
    stage.show(broken())
    wait_until(lambda: "The miner is damaged, or soon will be" in host.problems(), "a broken board", 120)
    assert re.search(r"board-without-chips \(board 6\)", host.value("chi.problems") or "")
    time.sleep(15)
    assert "The miner is damaged, or soon will be" in host.problems()


def test_log(host: Host) -> None:
    """No item failed but for want of chi, and the token is not in the log."""
    failed = [
        line for line in host.zabbix.log.splitlines() if 'item "miner:' in line and "not supported" in line
    ]
    assert [line for line in failed if "Cannot perform request" not in line] == []
    assert TOKEN not in host.zabbix.log
