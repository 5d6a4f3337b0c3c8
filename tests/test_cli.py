"""The command line: every option, what is wrong with a value, --help, --check, --demo, and what is logged."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chi as package
from chi import __version__, cli
from chi.demo_text import TextMiner
from chi.places import Place
from chi.settings import Settings
from tests.client import Wire
from tests.conftest import Process, Response
from tests.scripted import HEALTHY, HOLD, ScriptedMiner, Step, capture, envelope, free_port
from tests.test_monitor import miner_like

LOOPBACK = ("--listen", "127.0.0.1", "-w", "0")
SOFTWARE = ("cgminer-4.11.1", "bfgminer-5.5.0", "sgminer-5.1.1")
DEFAULTS = Settings()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real chi-server to its end."""
    command = [sys.executable, "-m", "chi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment or None)


def parse(*arguments: str) -> Settings:
    """The settings that a command line leads to."""
    return cli.read_settings(cli.make_parser().parse_args(arguments))


# --- Good values ----------------------------------------------------------------------------------

GOOD = [
    ([], {}),
    (["-w", "8081"], {"http_port": 8081}),
    (["-w8081"], {"http_port": 8081}),
    (["--http_port", "8081"], {"http_port": 8081}),
    (["--http_port=8081"], {"http_port": 8081}),
    (["--http-port", "8081"], {"http_port": 8081}),
    (["-w", "0"], {"http_port": 0}),
    (["-w", "65535"], {"http_port": 65535}),
    (["-w", "1", "-w", "2"], {"http_port": 2}),
    (["-p", "4029"], {"api_port": 4029}),
    (["-p4029"], {"api_port": 4029}),
    (["--api_port", "1"], {"api_port": 1}),
    (["--api-port=65535"], {"api_port": 65535}),
    (["-a", "rig.lan"], {"api_host": "rig.lan"}),
    (["-arig.lan"], {"api_host": "rig.lan"}),
    (["--api_host", "::1"], {"api_host": "::1"}),
    (["--api-host=192.0.2.1"], {"api_host": "192.0.2.1"}),
    (["-w", "8081", "-p", "4029", "-a", "rig"], {"http_port": 8081, "api_port": 4029, "api_host": "rig"}),
    (["--miner", "rig1=192.0.2.1"], {"miner": (Place("rig1", "192.0.2.1"),)}),
    (
        ["--miner", "a=rig.lan:4029", "--miner=b=[::1]:4030"],
        {"miner": (Place("a", "rig.lan", 4029), Place("b", "::1", 4030))},
    ),
    (["--miners", "/etc/chi/miners"], {"miners": "/etc/chi/miners"}),
    (["--listen", "127.0.0.1"], {"listen": ("127.0.0.1",)}),
    (["--listen", "127.0.0.1", "--listen=::1"], {"listen": ("127.0.0.1", "::1")}),
    (["--allow", "::1"], {"allow": (ipaddress.ip_network("::1/128"),)}),
    (
        ["--allow", "192.168.1.7/16", "--allow=::ffff:10.0.0.0/104"],
        {"allow": (ipaddress.ip_network("192.168.0.0/16"), ipaddress.ip_network("10.0.0.0/8"))},
    ),
    (["--protocol", "auto"], {}),
    (["--protocol", "json"], {"protocol": "json"}),
    (["--protocol=text"], {"protocol": "text"}),
    (["--timeout", "0.1"], {"timeout": 0.1}),
    (["--timeout=3600"], {"timeout": 3600.0}),
    (["--threads", "1"], {"threads": 1}),
    (["--threads=64"], {"threads": 64}),
    (["--max-age", "0"], {"max_age": 0.0}),
    (["--max-age=0.5"], {"max_age": 0.5}),
    (["--max-age", "3600"], {"max_age": 3600.0}),
    (["--history", "60"], {"history": 60}),
    (["--history=0"], {"history": 0}),
    (["--history", "1440"], {"history": 1440}),
    (["--read-only"], {"read_only": True}),
    (["--service"], {"service": True}),
    (["--open"], {"open": True}),
    (["--report", "litestats2"], {"report": ("litestats2",)}),
    (["--report", "a", "--report", "b-c.d_e"], {"report": ("a", "b-c.d_e")}),
    (["--token-file", "/etc/chi.token"], {"token_file": "/etc/chi.token"}),
    (["--private"], {"private": True}),
    (["--host", "rig.example.com"], {"host": ("rig.example.com",)}),
    (["--host", "a", "--host", "*"], {"host": ("a", "*")}),
    (["--cors-origin", "http://grafana.lan:3000"], {"cors_origin": ("http://grafana.lan:3000",)}),
    (["--metrics-pool-user"], {"metrics_pool_user": True}),
    (["--log-level", "debug"], {"log_level": "debug"}),
    (["--log-level", "info"], {"log_level": "info"}),
    (["--log-level=warning"], {"log_level": "warning"}),
    (["--log-level", "error"], {"log_level": "error"}),
    (["--access-log"], {"access_log": True}),
    (["--demo"], {}),
    (["--check"], {}),
    (["--record", "folder"], {}),
    (["--scan", "192.168.1.0/24"], {}),
]


@pytest.mark.parametrize(("arguments", "settings"), GOOD, ids=lambda value: " ".join(value))
def test_options_are_understood(arguments: list[str], settings: dict[str, Any]) -> None:
    """Each spelling of an option sets what it says, and nothing else."""
    assert parse(*arguments) == Settings(**settings)


def test_every_option_is_in_the_table() -> None:
    """No option is without a test of its good values, by each of its names."""
    given = " ".join(argument for arguments, _ in GOOD for argument in arguments)
    for action in cli.make_parser()._actions:
        if action.dest not in ("help", "version"):
            for name in action.option_strings:
                assert re.search(rf"(^| ){name}", given), f"{name} is not in GOOD"


# --- Bad values -----------------------------------------------------------------------------------

PORTS = ("-1", "65536", "http", "80.5", "", " ", "0x50", "1e3", "8_080", "٨٠", "9" * 5000)
DURATIONS = ("-1", "3601", "nan", "inf", "4s", "", "1e999", "1_0", "1.2.3")
NAMES = ("", " ", "a b", "a+b", "a/0", "a,b", "http://a", "a:80")
BAD = [
    *(("-w", value) for value in PORTS),
    *(("--http_port", value) for value in ("-1", "65536")),
    *(("--http-port", value) for value in ("-1", "65536")),
    *(("-p", value) for value in ("0", *PORTS)),
    ("--api_port", "0"),
    ("--api-port", "0"),
    *((name, value) for name in ("-a", "--api_host", "--api-host", "--listen") for value in ("", " ")),
    *(("--timeout", value) for value in ("0", "0.09", *DURATIONS)),
    *(("--max-age", value) for value in ("-0.1", *DURATIONS)),
    *(("--history", value) for value in ("-1", "1441", "x", "1.5", "", "nan", "1e3", "1_0")),
    *(("--threads", value) for value in ("0", "65", "-1", "2.5", "many", "")),
    *(("--log-level", value) for value in ("verbose", "INFO", "", "2")),
    *((name, value) for name in ("--report", "--host") for value in NAMES),
    *(
        ("--allow", value)
        for value in ("", "*", "lan", "10/8", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.1 ", "010.0.0.1")
    ),
    *(
        ("--cors-origin", value)
        for value in ("", "grafana.lan", "http://", "http://a/", "http://a b", "ftp://a", "*", "null")
    ),
    *(("--token-file", value) for value in ("", " ", "/nowhere/at/all", "/")),
]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"chi-server: error: [^\n]+ \(see chi-server --help\)\n", err)
    return str(err)


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_ends_the_start(capsys: pytest.CaptureFixture[str], name: str, value: str) -> None:
    """A bad value is status 2 and one line with the option, the value and what is wrong."""
    line = complaint(capsys, f"{name}={value}" if name.startswith("--") else f"{name}{value}" or name)
    assert name in line
    assert value.strip()[:50] in line


@pytest.mark.parametrize("name", [name for name, _ in BAD if not name.startswith("--")])
def test_bad_value_may_be_an_argument_of_its_own(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It makes no difference whether the value is joined to its option."""
    assert name in complaint(capsys, name, " ")


@pytest.mark.parametrize(
    "name",
    [name for action in cli.make_parser()._actions if action.nargs is None for name in action.option_strings],
)
def test_missing_value_ends_the_start(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """An option without its value is status 2 and one line."""
    line = complaint(capsys, name)
    assert name in line
    assert "expected one argument" in line


@pytest.mark.parametrize("name", ["-w", "--http_port", "--api-port", "--timeout", "--threads", "--history"])
def test_dashes_are_no_value(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Also where argparse takes -- for the end of the options, and the value for an empty list."""
    assert "argument -" in complaint(capsys, f"{name}=--")


def test_a_list_has_no_empty_value() -> None:
    """What argparse makes of --listen=--, before Python 3.13."""
    with pytest.raises(ValueError, match="argument --listen: expected one argument"):
        cli.read_settings(argparse.Namespace(listen=[[]]))


@pytest.mark.parametrize(
    "argument",
    [
        "--port", "-x", "-W", "8080", "summary", "", "--", "--http", "--http_por", "--api", "--api-h",
        "--lis", "--time", "--thread", "--max", "--read", "--log", "--access", "--ver", "--hel",
        "--dem", "--chec",
        "--HTTP_PORT", "--http-port8080", "--read-only=yes", "--access-log=1", "--demo=1", "--version=1",
    ],
)  # fmt: skip
def test_unknown_option_ends_the_start(capsys: pytest.CaptureFixture[str], argument: str) -> None:
    """What is no option, an abbreviation of one, or one with a value that it does not have, is refused."""
    arguments = ("--", "x") if argument == "--" else (argument,)
    name, _, value = arguments[-1].partition("=")
    line = complaint(capsys, *arguments)
    assert name in line
    assert value in line


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("--read-onyl", "--read-only"), ("--timout=3", "--timeout"), ("--READ-ONLY", "--read-only"),
        ("--tokenfile", "--token-file"), ("--chek", "--check"), ("--acess-log", "--access-log"),
        ("--xyz", ""),
    ],
)  # fmt: skip
def test_misspelt_option_suggests_the_right_one(
    capsys: pytest.CaptureFixture[str], argument: str, meant: str
) -> None:
    """What is nearly an option is told which; what is near none is not."""
    line = complaint(capsys, argument)
    assert f"{argument}; did you mean {meant}? (see" in line if meant else "did you mean" not in line


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("192.168.1.5:4028", "-a 192.168.1.5 -p 4028"),
        ("rig.lan:4029", "-a rig.lan -p 4029"),
        ("[fe80::1%eth0]:4028", "-a fe80::1%eth0 -p 4028"),
    ],
)
def test_port_of_the_miner_has_its_option(capsys: pytest.CaptureFixture[str], value: str, told: str) -> None:
    """Who gives the port with the host is told where it goes."""
    assert f"has a port, which goes to -p: {told} (see" in complaint(capsys, "-a", value)


@pytest.mark.parametrize("arguments", [("--http", "8080"), ("-w", "web"), ("--log-level",), ("--private",)])
def test_real_process_says_one_line_and_ends_with_2(arguments: tuple[str, ...]) -> None:
    """The real process says no more than that line, and its status is 2."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"chi-server: error: [^\n]*{arguments[0]}[^\n]*\n", done.stderr)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 70, "127.0.0.256", "192.0.2.1", "::ffff"])
def test_address_that_is_not_here_ends_the_start(host: str) -> None:
    """An address of --listen that cannot be served is one line with the address and the reason."""
    done = run("--listen", host, "-w", "0")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert re.fullmatch(rf"chi-server: error: [^\n]*{re.escape(host)}[^\n]*\n", done.stderr)


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "rig lan", "nowhere.invalid", "-"])
def test_miner_of_an_impossible_name_is_told_of(chi_server: Callable[..., Process], host: str) -> None:
    """A name of the miner's host that cannot be is refused at the start, or told to clients; no traceback."""
    chi = chi_server(f"--api_host={host}", *LOOPBACK)
    try:
        port = chi.port
    except AssertionError:
        assert chi.wait() == 2
        assert re.fullmatch(rf"chi-server: error: [^\n]*{host}[^\n]*\n", chi.log)
        return
    with Wire(port) as wire:
        response = wire.ask("GET /summary")
    assert (response.status, host in response.message) == (502, True)
    assert chi.stop() == 0
    assert "Traceback" not in chi.log


@pytest.mark.parametrize("arguments", [["--listen", "127.0.0.1"], []], ids=["one address", "every interface"])
def test_port_in_use_ends_the_start(arguments: list[str]) -> None:
    """A port that another program serves is status 1 and one line with the port and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(*arguments, "-w", str(port))
    assert done.returncode == 1
    assert done.stdout == ""
    said = rf"chi-server: error: [^\n]*{port}[^\n]*Address already in use[^\n]*sport = :{port}[^\n]*\n"
    assert re.fullmatch(said, done.stderr)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv here, which gives root's capabilities up")
def test_a_port_that_is_not_allowed_is_a_wrong_option() -> None:
    """It is status 2, with which a service is not started again, and one line that says what to do."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("anybody may serve on port 80 here")
    without = [] if os.geteuid() else ["setpriv", "--bounding-set=-net_bind_service"]
    command = [*without, sys.executable, "-m", "chi", "--listen", "127.0.0.1", "-w", "80"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"chi-server: error: [^\n]*80[^\n]*Permission denied[^\n]*port-80\.conf[^\n]*\n", done.stderr
    )


def test_an_address_of_another_machine_is_named() -> None:
    """It may come with an interface later: status 1, and one line that says so."""
    done = run("--listen", "192.0.2.1", "-w", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"chi-server: error: [^\n]*192\.0\.2\.1[^\n]*that address yet\n", done.stderr)


def test_demo_where_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenWrt's package has no simulated miner: --demo says so in a line."""
    monkeypatch.setitem(sys.modules, "chi.demo", None)
    with pytest.raises(SystemExit, match="--demo: this package does not include the simulated miner"):
        cli.main(["--demo"])


def test_service_waits_for_its_port(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that procd runs says once that another has its port, and serves when it is free."""
    waits: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(http_port=taken.getsockname()[1], listen=("127.0.0.1",), service=True)

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                taken.close()

        monkeypatch.setattr("chi.cli.time.sleep", sleep)
        (sock,) = cli.find_sockets(settings)
    with sock:
        assert sock.getsockname()[1] == settings.http_port
    assert waits == [cli.WAIT] * 3
    (line,) = caplog.messages
    assert (
        line == f"cannot serve on {settings.serving_on}: Address already in use; chi waits until it is free"
    )


@pytest.mark.parametrize(("service", "notify"), [(False, False), (True, True)])
def test_port_in_use_ends_what_is_not_procds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], service: bool, notify: bool
) -> None:
    """A person, and systemd, learn that a port is in use by an end."""
    if notify:
        monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ["-w", str(port), "--listen", "127.0.0.1", *(["--service"] if service else [])]
        assert cli.main(options) == 1
    assert f"cannot serve on port {port} of 127.0.0.1: Address already in use" in capsys.readouterr().err


def test_second_chi_on_a_port_ends(chi_server: Callable[..., Process]) -> None:
    """Of two on the same port the first serves on, and the second says why it does not."""
    first = chi_server("-p", str(free_port()), *LOOPBACK)
    done = run("--listen", "127.0.0.1", "-w", str(first.port))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert first.get("/healthz").status == 200
    assert first.stop() == 0


def test_port_is_free_again_after_the_end(chi_server: Callable[..., Process]) -> None:
    """It can be started again on the port that it has just left, with connections and all."""
    first = chi_server("-p", str(free_port()), *LOOPBACK)
    port = first.port
    with Wire(port) as wire:
        assert wire.ask("GET /healthz").status == 200
        assert first.stop() == 0
        second = chi_server("-p", str(free_port()), "--listen", "127.0.0.1", "-w", str(port))
        assert second.port == port
    assert second.stop() == 0


# --- What it says of itself -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-h", "--help"])
def test_help_has_every_option_and_its_real_default(name: str) -> None:
    """--help prints each option with all its names, and the default that is in force."""
    done = run(name, PYTHON_COLORS="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: chi-server [-h] [-w HTTP_PORT] [-p API_PORT] [-a API_HOST]")
    blocks = [" ".join(block.split()) for block in re.split(r"\n(?=  -)", done.stdout)[1:]]
    for action in cli.make_parser()._actions:
        pattern = "[^-]*, ".join(map(re.escape, action.option_strings))
        (block,) = (block for block in blocks if re.match(rf"{pattern} ", block))
        default = getattr(DEFAULTS, action.dest, None)
        if isinstance(default, (int, float, str)) and default is not False and default != "":
            assert block.endswith(f"(default: {default})")
        else:
            assert block.replace("(default: every interface)", "").count("(default:") == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and version."""
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"chi-server {__version__}\n", "")
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == done.stdout


@pytest.mark.parametrize("first", ["--help", "--version"])
def test_help_and_version_need_nothing_else(first: str) -> None:
    """--help and --version neither serve nor ask."""
    done = run(first, "--demo", "--check")
    assert (done.returncode, done.stderr) == (0, "")


# --- Every option in a real process ---------------------------------------------------------------


def test_real_process_takes_every_option(chi_server: Callable[..., Process], miner: ScriptedMiner) -> None:
    """With all options at once, the real chi-server serves as they say."""
    chi = chi_server(
        "-w", "0", "-p", str(miner.port), "-a", "127.0.0.1", "--listen", "127.0.0.1", "--timeout", "2.5",
        "--threads", "2", "--max-age", "60", "--read-only", "--report", "extra", "--host", "rig.example.com",
        "--cors-origin", "http://grafana.lan:3000", "--log-level", "debug", "--access-log",
    )  # fmt: skip
    assert {chi.get("/extra").status for _ in range(3)} == {200}
    assert miner.commands == ["extra"]  # a report, held for a minute
    assert chi.stop() == 0
    assert re.search(r"^INFO 127\.0\.0\.1 GET /extra 200 \d\.\d{4} s$", chi.log, re.MULTILINE)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_miner_is_found_by_name_and_address(chi_server: Callable[..., Process], name: str) -> None:
    """The miner may be told by name, or by address of either kind."""
    if name == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with ScriptedMiner(host="::1" if name == "::1" else "127.0.0.1") as miner:
        chi = chi_server("-a", name, "-p", str(miner.port), *LOOPBACK)
        assert chi.get("/summary").body == HEALTHY[:-1]
        assert chi.stop() == 0
    shown = f"[{name}]" if name == "::1" else name
    assert f"for the miner at {shown}:{miner.port}\n" in chi.log
    assert f"INFO miner {shown}:{miner.port} answers\n" in chi.log


def test_timeout_is_kept(chi_server: Callable[..., Process], miner: ScriptedMiner) -> None:
    """--timeout bounds the wait for the miner."""
    miner.script = [HOLD]
    chi = chi_server("-p", str(miner.port), "--timeout", "0.2", *LOOPBACK)
    response = chi.get("/summary")
    assert response.status == 504
    assert "within 0.2 s" in response.message
    assert chi.stop() == 0


# --- --demo ---------------------------------------------------------------------------------------


def test_demo_serves_a_simulated_miner(chi_server: Callable[..., Process]) -> None:
    """--demo needs no miner, and has one's answers."""
    chi = chi_server("--demo", *LOOPBACK)
    reply = chi.get("/").json
    assert reply["summary"][0]["SUMMARY"][0]["Elapsed"] > 0
    assert len(reply["devs"][0]["DEVS"]) == 3
    assert chi.get("/nonsense").json["STATUS"][0]["Code"] == 14
    assert chi.get("/readyz").status == 200
    assert chi.stop() == 0
    assert "Traceback" not in chi.log


# --- --record -------------------------------------------------------------------------------------

PRIVATE = {
    "version": b'{"STATUS":[{"STATUS":"S","Description":"cgminer 4.9.0"}],"VERSION":[{"CGMiner":"4.9.0"}]}',
    "summary": b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":5,}]}',
    "pools": b'{"STATUS":[{"STATUS":"S"}],"POOLS":[{"URL":"stratum+tcp://eu.mypool.org:3333",'
    b'"User":"bc1qmywallet.attic"}]}',
    "stats": b'{"STATS":[{"MAC":"d4:33:b2:5d:e0:56","Note":"mypool eu.mypool.org bc1qmywallet"}]}',
}


def test_record(miner: ScriptedMiner, tmp_path: Path) -> None:
    """Each reply of a scrape is a file for its owner alone, as it was sent but for what is private."""

    def script(request: bytes) -> list[Step]:
        return [PRIVATE.get(json.loads(request)["command"], DENIED.rstrip(b"\0")) + b"\0"]

    miner.script = script
    done = run("--record", str(tmp_path / "new"), "-p", str(miner.port))
    assert (done.returncode, done.stderr) == (0, "")
    files = {path.name: path for path in (tmp_path / "new").iterdir()}
    assert sorted(files) == ["devs.json", "pools.json", "stats.json", "summary.json", "version.json"]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert files["summary.json"].read_bytes() == PRIVATE["summary"]
    text = b"".join(path.read_bytes() for path in files.values()).decode()
    for secret in ("mypool.org", "bc1qmywallet", "attic", "d4:33"):
        assert secret not in text
    assert miner.commands == ["version", "summary", "pools", "devs", "stats"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "broken link"])
def test_record_needs_a_new_folder(miner: ScriptedMiner, tmp_path: Path, kind: str) -> None:
    """What is there already is not touched, and the miner is not asked; no link is followed."""
    place, other = tmp_path / "there", tmp_path / "other"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        if kind == "link":
            other.mkdir()
        place.symlink_to(other)
    done = run("--record", str(place), "-p", str(miner.port))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"chi-server: error: cannot make the folder \S+: File exists\n", done.stderr)
    assert miner.requests == []
    assert not other.exists() or not list(other.iterdir())


def test_record_without_a_miner(tmp_path: Path) -> None:
    """Where nobody answers there is no folder, and it says so."""
    done = run("--record", str(tmp_path / "new"), "-p", str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer" in done.stderr
    assert not (tmp_path / "new").exists()


# --- --check --------------------------------------------------------------------------------------


def check(*arguments: str) -> tuple[int, str]:
    """Exit status and output of chi-server --check; it says nothing on standard error."""
    done = run("--check", *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout


def answering(**replies: bytes) -> Callable[[bytes], list[bytes]]:
    """A script that answers by command."""
    return lambda request: [] if request == b"summary" else [replies[json.loads(request)["command"]]]


def like(software: str, **others: bytes) -> Callable[[bytes], list[bytes]]:
    """A script that answers as a real miner did."""
    replies = {name: capture(name, software) for name in ("version", "pools", "privileged")}
    return answering(**{**replies, **others})


DENIED = b'{"STATUS":[{"STATUS":"E","When":1,"Code":45,"Msg":"Access denied"}],"id":1}\0'


def test_check_of_the_demo() -> None:
    """--check with --demo finds a healthy miner."""
    status, text = check("--demo")
    assert status == 0
    miner, pools, access, chi, *_ = text.splitlines()
    assert re.fullmatch(r"Miner:  127\.0\.0\.1:\d+ answers: CGMiner 4\.11\.1, API 3\.\d+", miner)
    assert pools == "Pools:  2 of 2 alive"
    assert access == "Access: the API gives this host write access"
    assert chi.startswith("chi:    would serve on port 8080 of every interface: every command")


@pytest.mark.parametrize("protocol", ["auto", "text"])
def test_check_of_a_text_miner(protocol: str) -> None:
    """--check says what the miner speaks, found out or told."""
    demo = TextMiner()
    demo.start()
    status, text = check("-p", str(demo.address[1]), "--protocol", protocol)
    demo.close()
    assert status == 0
    miner, pools, access, *_ = text.splitlines()
    assert miner.endswith(" answers, and speaks the text protocol: ccminer 2.3.1, API 1.9")
    assert pools == "Pools:  2 told, that in use is alive"
    assert access == "Access: the API does not tell whether this host has write access"


def test_check_of_the_text_demo() -> None:
    """--demo with --protocol text is a miner that speaks only text."""
    status, text = check("--demo", "--protocol", "text")
    assert (status, "speaks the text protocol: ccminer" in text) == (0, True)


@pytest.mark.parametrize("software", SOFTWARE)
def test_check_names_the_software(miner: ScriptedMiner, software: str) -> None:
    """--check tells software and API version of each of the C miners, and asks for reports only."""
    miner.script = like(software)
    status, text = check("-p", str(miner.port), "-w", "80", "--listen", "127.0.0.1", "--read-only")
    name, _, version = software.partition("-")
    (line,) = re.findall(r"^Miner:  (.*)$", text, re.MULTILINE)
    assert status == 0
    assert re.fullmatch(
        rf"127\.0\.0\.1:{miner.port} answers: .*{name} {version}.*, API \d\.\d", line, re.IGNORECASE
    )
    assert "Pools:  1 of 1 alive\n" in text
    assert "Access: the API gives this host write access\n" in text
    assert "chi:    would serve on port 80 of 127.0.0.1: reports only (--read-only)\n" in text
    assert miner.commands == ["version", "pools", "privileged"]


CHECKS = {
    "no write access": (
        {"privileged": DENIED},
        0,
        ["Access: the API lets this host read only\n", "the API lets this host read only, and so whoever"],
    ),
    "access not told": (
        {"privileged": capture("nonsense")},
        0,
        ["Access: the API does not tell whether this host has write access\n"],
    ),
    "access garbled": ({"privileged": b"no\0"}, 0, ["Access: the API does not tell"]),
    "dead pools": (
        {"pools": envelope(POOLS=[{"Status": "Dead"}, {"Status": "Alive"}, {"Status": "Disabled"}, {}])},
        0,
        ["Pools:  1 of 4 alive\n"],
    ),
    "no pools": ({"pools": envelope()}, 0, ["Pools:  0 of 0 alive\n"]),
    "odd pools": ({"pools": b'{"POOLS":{"Status":"Alive"}}\0'}, 0, ["Pools:  0 of 0 alive\n"]),
    "pools garbled": ({"pools": b'{"POOLS":['}, 0, ["Pools:  The miner's reply was cut off"]),
    "version unknown": ({"version": capture("nonsense")}, 0, ["unknown software, API unknown\n"]),
    "version odd": ({"version": b"[1]\0"}, 0, ["unknown software, API unknown\n"]),
    "API alone": ({"version": envelope(VERSION=[{"API": "3.7"}])}, 0, ["unknown software, API 3.7\n"]),
    "BFGMiner": (
        {"version": capture("version", "bfgminer-5.5.0")},
        0,
        [" answers: BFGMiner 5.5.0, API 3.1\n"],
    ),
    "Antminer": (
        {
            "version": envelope(
                VERSION=[{"BMMiner": "2.0.0", "API": "3.1", "Miner": "26", "Type": "Antminer S9"}]
            )
        },
        0,
        [" answers: BMMiner 2.0.0 on Antminer S9, API 3.1\n"],
    ),
    "garbage": ({"version": b"garbage\0"}, 1, ["Miner:  The miner's reply is not JSON"]),
    "cgminer's text": (
        {"version": b"STATUS=S,When=1|VERSION,CGMiner=4.11.1,API=3.7|\0"},
        0,
        [" answers: CGMiner 4.11.1, API 3.7\n"],
    ),
    "half of a text": ({"version": b"STATUS=S,When=1\0"}, 1, ["Miner:  ", "text protocol"]),
    "closed": ({"version": b""}, 1, ["Miner:  ", "api-allow"]),
}


@pytest.mark.parametrize(("replies", "expected", "words"), CHECKS.values(), ids=CHECKS)
def test_check_says_what_is_there(
    miner: ScriptedMiner, replies: dict[str, bytes], expected: int, words: list[str]
) -> None:
    """--check tells what it finds, and what it cannot find, in words; its status is 1 without a miner."""
    miner.script = like("cgminer-4.11.1", **replies)
    status, text = check("-p", str(miner.port))
    assert status == expected
    for part in words:
        assert part in text
    if expected:
        assert text.count("\n") == 1
        assert len(miner.requests) == 1 + (replies["version"] == b"")  # in text as well, if nothing came


ODD = r"\u001b]0;owned\u0007\u001b[2J\r\n\u009b31m\u202e\ud800\udfff\udc80" + "x" * 5000


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize(
    "version",
    [
        '{"STATUS":[{"STATUS":"S","Description":"ODD"}],"VERSION":[{"CGMiner":"ODD","API":"ODD","PROD":"AvalonODD"}]}',
        '{"STATUS":[{"STATUS":"S"}],"VERSION":[{"ODD":"ODD","API":' + "9" * 5000 + "}]}",
        "STATUS=E,When=1,Code=14,Msg=ODD|",
        "ODD",
    ],
)
def test_check_prints_only_what_is_printable(
    miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch, version: str, encoding: str
) -> None:
    """Whatever a miner says of itself, a terminal gets short lines of printable characters."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    odd = version.replace("ODD", ODD)
    plain = odd.encode().decode("unicode_escape").encode("utf-8", "surrogatepass")
    for reply in (odd.encode(), plain):
        miner.script = like("cgminer-4.11.1", version=reply + b"\0", pools=reply + b"\0")
        status, text = check("-p", str(miner.port))
        assert status in (0, 1)
        assert all(line.isprintable() and len(line) < 300 for line in text.split("\n"))
        assert text.startswith("Miner:  ")


def test_check_of_no_miner() -> None:
    """--check is 1 where nothing listens, and says where it looked."""
    port = free_port()
    status, text = check("-p", str(port))
    assert (status, text.count("\n")) == (1, 1)
    assert f"127.0.0.1:{port} refuses connections" in text


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 70])
def test_check_of_an_unknown_host(host: str) -> None:
    """--check is 1 where the name is unknown, and says so."""
    done = run("--check", "-a", host)
    assert done.returncode in (1, 2)
    assert (done.stdout + done.stderr).count("\n") == 1
    assert host in done.stdout + done.stderr


def test_check_of_a_hung_miner(miner: ScriptedMiner) -> None:
    """--check waits no longer than --timeout."""
    miner.script = [HOLD]
    status, text = check("-p", str(miner.port), "--timeout", "0.2")
    assert (status, text.count("\n")) == (1, 1)
    assert "did not answer within 0.2 s" in text


def test_check_of_a_miner_that_leaves_the_connection_open(miner: ScriptedMiner) -> None:
    """--check understands a miner that sends no NUL, does not close, and needs repair."""
    answer = like("cgminer-4.11.1")
    miner.script = lambda request: [answer(request)[0].replace(b',"id":1}\0', b',"id":1,}'), HOLD]
    assert check("-p", str(miner.port), "--timeout", "20")[0] == 0


def test_check_of_a_miner_by_ipv6() -> None:
    """--check writes an IPv6 address as URLs have it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with ScriptedMiner(like("sgminer-5.1.1"), host="::1") as miner:
        status, text = check("-a", "::1", "-p", str(miner.port))
    assert status == 0
    assert f"Miner:  [::1]:{miner.port} answers: " in text


def test_check_does_not_serve(miner: ScriptedMiner) -> None:
    """--check needs no free port."""
    miner.script = like("cgminer-4.11.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _ = check("-p", str(miner.port), "-w", str(taken.getsockname()[1]))
    assert status == 0


# --- The log --------------------------------------------------------------------------------------

SECRET = "s3cret-passw0rd"
SECRETS = [  # first line of a request, and body
    (f"GET /addpool/stratum+tcp://pool.example.com:3333,user,{SECRET}", b""),
    (f"GET /addpool%2Fstratum,user,{SECRET}", b""),
    (f"GET /addpool%7Cstratum,user,{SECRET}", b""),
    (f"GET /addpool,{SECRET}", b""),
    (f"HEAD /addpool/url,user,{SECRET}", b""),
    (f"PUT /addpool/url,user,{SECRET}", b""),
    (f"GET //addpool/url,user,{SECRET}", b""),
    (f"GET /addpool/{SECRET}%ff", b""),
    (f"GET /addpool/{SECRET}%zz", b""),
    (f"GET /summary?token={SECRET}", b""),
    (f"GET /healthz?token={SECRET}", b""),
    (f"GET http://user:{SECRET}@127.0.0.1/summary", b""),
    (f"GET http://[{SECRET}/", b""),
    (f"GET addpool/{SECRET}", b""),
    (f"GET {SECRET}", b""),
    (f"POST /addpool/url,user,{SECRET}", b""),
    (f"POST /addpool/url,user,{SECRET}", b"{}"),
    ("POST /", f'{{"command":"addpool","parameter":"url,user,{SECRET}"}}'.encode()),
    ("POST /", f'{{"command":"addpool","parameter":"url,user,{SECRET}"'.encode()),
    ("POST /", f'{{"cmd":"reboot","token":"{SECRET}"}}'.encode()),
    ("POST /", f'{{"command":["{SECRET}"]}}'.encode()),
    ("POST /", f'{{"command":"addpool|url,user,{SECRET}"}}'.encode()),
    (f"GET /{SECRET} x", b""),
    (f"{SECRET}", b""),
]


@pytest.mark.parametrize("access", [(), ("--read-only",)], ids=["open", "read-only"])
def test_no_secret_is_ever_logged(
    chi_server: Callable[..., Process], miner: ScriptedMiner, access: tuple[str, ...]
) -> None:
    """No parameter, password, token or body is in the log, though all is logged and much goes wrong."""
    chi = chi_server("-p", str(miner.port), "--log-level", "debug", "--access-log", *access, *LOOPBACK)
    port = chi.port
    scripts: list[Any] = [
        [HEALTHY],
        [f"no JSON {SECRET}\0".encode()],
        [envelope(POOLS=[{"User": SECRET}])[:-30]],
        [f"STATUS=E,Msg={SECRET}|\0".encode()],
        [],
    ]
    for script in scripts:
        miner.script = script
        for start, body in SECRETS:
            with Wire(port) as wire:
                field = f"Authorization: Bearer {SECRET}"
                wire.request(start, field, f"Cookie: {SECRET}", f"Referer: http://x/{SECRET}", body=body)
            assert chi.get("/healthz").status == 200
    assert chi.stop() == 0
    assert SECRET not in chi.log
    assert chi.log.count(" GET /healthz ") >= len(SECRETS) * len(scripts)


LOGGED = {
    "GET /summary": "GET /summary 200",
    "GET /": "GET / 200",
    "GET /gpu/0": "GET /gpu 200",
    "GET /gpu/0/1?x=y": "GET /gpu 200",
    "HEAD /summary": "HEAD /summary 200",
    "POST /quit": "POST /quit 200",
    "POST /": "POST / 400",
    "PUT /summary": "PUT /summary 405",
    "GET /healthz": "GET /healthz 200",
    "GET /%": "GET / 400",
    "GET /a%20b/c": "GET (odd) 200",
    "GET /summary+pools-x.y_z": "GET /summary+pools-x.y_z 200",
    "GET /%0Aforged": "GET (odd) 200",
    "GET /%C3%A4": "GET (odd) 200",
    "GET /%1B%5B2J": "GET (odd) 200",
}


def test_access_log_has_a_line_for_each_request(
    chi_server: Callable[..., Process], miner: ScriptedMiner
) -> None:
    """--access-log writes client, method, command, status and duration of each request, and nothing else."""
    chi = chi_server("-p", str(miner.port), "--access-log", *LOOPBACK)
    with Wire(chi.port) as wire:
        for start in LOGGED:
            wire.ask(start)
    with Wire(chi.port) as wire:
        wire.send(b"nonsense\r\n\r\n")
        assert wire.read().status == 400
    assert chi.stop() == 0
    lines = re.findall(r"^INFO 127\.0\.0\.1 (.*) \d+\.\d{4} s$", chi.log, re.MULTILINE)
    assert lines == [
        *(
            line.replace("GET / 400", "GET (odd) 400") if "%" in start else line
            for start, line in LOGGED.items()
        ),
        "- / 400",
    ]


def test_requests_are_logged_only_if_asked_for(
    chi_server: Callable[..., Process], miner: ScriptedMiner
) -> None:
    """Without --access-log, not even at the debug level, is there a line for a request."""
    chi = chi_server("-p", str(miner.port), "--log-level", "debug", *LOOPBACK)
    for _ in range(3):
        assert chi.get("/summary").status == 200
    assert chi.stop() == 0
    assert "/summary" not in chi.log


def wait_for(port: int) -> Response:
    """The answer to /summary, as soon as there is one."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError), Wire(port) as wire:
            return wire.ask("GET /summary")
        time.sleep(0.02)
    raise AssertionError("nothing listens")


@pytest.mark.parametrize(
    ("level", "serving", "refused"),
    [("debug", True, True), ("info", True, True), ("warning", False, True), ("error", False, False)],
)
def test_log_level(chi_server: Callable[..., Process], level: str, serving: bool, refused: bool) -> None:
    """--log-level leaves out what is of less weight."""
    port = free_port()
    chi = chi_server("-p", str(free_port()), "--listen", "127.0.0.1", "-w", str(port), "--log-level", level)
    assert wait_for(port).status == 502
    assert chi.stop() == 0
    assert ("INFO serving" in chi.log, "INFO stopped" in chi.log) == (serving, serving)
    assert ("WARNING The miner's API" in chi.log) == refused
    assert level == "debug" or "DEBUG" not in chi.log


def test_log_goes_to_standard_error(chi_server: Callable[..., Process], miner: ScriptedMiner) -> None:
    """Standard output stays empty."""
    chi = chi_server("-p", str(miner.port), "--access-log", *LOOPBACK)
    assert chi.get("/summary").status == 200
    assert chi.stop() == 0
    assert chi.process.stdout is not None
    assert chi.process.stdout.read() == ""


def test_defaults_are_those_of_the_original() -> None:
    """The original's three options have the original's defaults, and every default is a good value."""
    assert (DEFAULTS.http_port, DEFAULTS.api_port, DEFAULTS.api_host) == (8080, 4028, "127.0.0.1")
    assert DEFAULTS.listen == ()
    assert parse() == DEFAULTS
    for field in dataclasses.fields(Settings):
        if isinstance(field.default, (int, float)) and "type" in field.metadata:
            assert field.metadata["type"](str(field.default)) == field.default


def test_this_is_the_source_tree() -> None:
    """What the processes run is what the tests import."""
    done = subprocess.run(
        [sys.executable, "-c", "import chi; print(chi.__file__)"], capture_output=True, text=True, timeout=30
    )
    assert Path(done.stdout.strip()).resolve() == Path(package.__file__).with_name("__init__.py").resolve()


def test_tables_of_unicode_host_names_are_not_loaded(
    chi_server: Callable[..., Process], miner: ScriptedMiner
) -> None:
    """They take 0.4 MB, of which names in ASCII need nothing."""
    chi = chi_server("-p", str(miner.port), *LOOPBACK, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert chi.get("/readyz").status == 200
    assert chi.stop() == 0
    assert "argparse" in chi.log
    assert "stringprep" not in chi.log


# --- What may go wrong with a recording, and with --check -----------------------------------------


def test_record_of_an_unknown_host(tmp_path: Path) -> None:
    """One line says so."""
    done = run("--record", str(tmp_path / "new"), "-a", "nowhere.invalid")
    assert done.returncode == 1
    assert "nowhere.invalid" in done.stderr
    assert done.stderr.count("\n") == 1


def test_record_of_a_silent_miner(miner: ScriptedMiner, tmp_path: Path) -> None:
    """It ends with --timeout."""
    miner.script = lambda request: [HOLD]
    done = run("--record", str(tmp_path / "new"), "-p", str(miner.port), "--timeout", "0.3")
    assert done.returncode == 1
    assert done.stderr == f"chi-server: error: the miner at 127.0.0.1:{miner.port} does not answer\n"


def test_record_of_a_reply_without_an_end(miner: ScriptedMiner, tmp_path: Path) -> None:
    """A whole reply on a connection that is left open, without its NUL, is taken once nothing follows."""
    miner.script = lambda request: [HEALTHY[:-1], HOLD]
    done = run("--record", str(tmp_path / "new"), "-p", str(miner.port))
    assert done.returncode == 0
    assert (tmp_path / "new/summary.json").read_bytes() == HEALTHY[:-1]


def test_check_of_a_whatsminer(miner: ScriptedMiner) -> None:
    """It knows no version, and says what it is otherwise."""
    miner.script = miner_like("whatsminer")
    done = run("--check", "-p", str(miner.port))
    assert done.returncode == 0
    assert re.search(r"answers: .*btminer|answers: .*whatsminer", done.stdout, re.IGNORECASE), done.stdout


def test_own_address_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the page is at 127.0.0.1."""

    class NoRoute(socket.socket):
        def connect(self, address: Any) -> None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("socket.socket", NoRoute)
    assert cli.own_address() == "127.0.0.1"
