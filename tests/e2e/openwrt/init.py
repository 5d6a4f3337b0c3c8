"""The init script, told configurations and a device; each method of Init is a check of what procd learns."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

from device import HERE, PACKAGING, Device, Record

ADDRESSES = "192.168.1.1 fd00:1::1"
TOKEN = "correct-horse-battery"
NETWORKS = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 fe80::/10 fc00::/7"
PRIVATE = [f"--allow={network}" for network in NETWORKS.split()]
DEFAULTS = [
    "/usr/bin/python3", "/usr/lib/chi/chi-server", "--service",
    "--http_port=8080", "--api_host=127.0.0.1", "--api_port=4028", "--protocol=auto",
    "--timeout=4", "--threads=4",
    "--max-age=0", "--history=60", "--read-only", *PRIVATE, "--log-level=info",
    "--listen=192.168.1.1", "--listen=fd00:1::1",
]  # fmt: skip
LISTS = ("report", "host", "cors_origin", "allow")
# Values that are good and bad: for chi-server, for the init script and for LuCI's page.
VALUES = HERE / "values.json"
ONCE_LOGGED = r"daemon\.err chi: [^\n]+\n"


def quoted(text: str) -> str:
    """A value as it is written in UCI."""
    return "'" + text.replace("'", "'\\''") + "'"


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
            "option protocol 'text'": "--protocol=text",
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

    def access(self) -> str:
        """Nothing opens by itself: without read_only a token or `open` is needed; who may connect is said."""
        for lost in ("", "option read_only '0'", "option raed_only '0'", "option open ''", "#"):
            command = self.start(lost).command
            assert command[2] == "--service", command
            assert "--open" not in command
            assert [word for word in command if word.startswith("--allow")] == PRIVATE, command
        assert "--open" in self.start("option read_only '0'; option open '1'").command
        for lines, wanted in (
            ("list allow 'private'; list allow '100.64.0.0/10'", [*PRIVATE, "--allow=100.64.0.0/10"]),
            ("list allow '192.168.1.7'", ["--allow=192.168.1.7"]),
        ):
            command = self.start(lines).command
            assert [word for word in command if word.startswith("--allow")] == wanted, command
        self._refused("option open '1'", "read_only 1 and open 1 cannot be combined")
        both = "option read_only '0'; option open '1'; option token_file '/etc/passwd'"
        self._refused(both, "open 1 and token_file cannot be combined")
        return "9 configurations"

    def miners(self) -> str:
        """Sections miner become miners, by name or by the section's name, in place of api_host."""
        sections = {
            "config miner 'garage'\n\toption host '192.168.1.50'": "garage=192.168.1.50:4028",
            "config miner\n\toption name 'a-1.b'\n\toption host 'rig.lan'\n\toption port '4029'":
                "a-1.b=rig.lan:4029",
            "config miner six\n\toption name 'v6'\n\toption host 'fe80::1%br-lan'":
                "v6=[fe80::1%br-lan]:4028",
        }  # fmt: skip
        record = self.start("option api_host '192.168.1.9'\n\n" + "\n\n".join(sections))
        assert not record.log, record.log
        assert [word for word in record.command if "api_" in word or "--miner" in word] == [
            f"--miner={miner}" for miner in sections.values()
        ], record.command
        assert record.parameter("file")[-2:] == ["/etc/hosts", "/etc/resolv.conf"], "rig.lan is looked up"
        literal = self.start("option api_host 'rig.lan'\n\nconfig miner a\n\toption host 'fd00::1'")
        assert not literal.all("trigger", "raw")
        rows = {
            "config miner a": "section miner a, option host '' is not valid",
            "config miner\n\toption host 'rig'": "option name '' is not valid",
            "config miner a\n\toption host '300.1.1.1'": "option host '300.1.1.1' is not valid",
            "config miner a\n\toption host 'rig'\n\toption port '0'": "option port '0' is not valid",
            "config miner a\n\toption host 'rig'\n\toption name 'b c'": "option name 'b c' is not valid",
            "config miner a\n\toption host 'x'\n\nconfig miner\n\toption name 'a'\n\toption host 'y'":
                "option name 'a' is that of another as well",
        }  # fmt: skip
        for config, wanted in rows.items():
            self._refused(config, wanted)
        return f"{len(sections)} miners, {len(rows)} bad sections"

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
        idle = self.device.root / "var/run/chi.idle"  # is there after a stop, see restarts()
        idle.touch()
        stopped = self.start(config, **given)
        assert re.fullmatch(ONCE_LOGGED, stopped.log), (config, stopped.log)
        assert why in stopped.log, (config, stopped.log)
        assert "chi is not started" in stopped.log, stopped.log
        assert stopped.status != 0
        assert stopped.told, stopped.calls
        assert not stopped.all("open"), stopped.calls
        assert ["trigger", "config", "chi"] in stopped.calls, stopped.calls
        idle.unlink()
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
            ((32768, 0), 0o600, "x" * 4097, "longer than 4096 characters"),
            ((32768, 0), 0o600, "correct horse battery", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "correct-horse\0battery", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "correct-horse-bättery", "not one word of printable ASCII"),
            ((32768, 0), 0o600, "correct-horse\nbattery-staple", "not one word of printable ASCII"),
        ):
            file.write_text(text + "\n")
            file.chmod(mode)
            os.chown(file, *owner_)
            self._refused(good, why)
        for owner_, mode in (((32768, 0), 0o600), ((32768, 32768), 0o400), ((0, 32768), 0o640)):
            file.write_bytes(f" {TOKEN}\r\n".encode())
            file.chmod(mode)
            os.chown(file, *owner_)
            record = self.start(good)
            assert "--token-file=/etc/chi.token" in record.command, record.log
            assert "/etc/chi.token" in record.parameter("file")
            assert ["mount", "/etc/chi.token"] in record.calls
            assert TOKEN not in str(record.calls) + record.log
        self._refused("option token_file '/etc/chi.token'", "is not used with read_only 1")
        os.chown(file, 32768, 0)
        odd = self.device.root / "etc/chi token"
        odd.write_text(TOKEN)
        self._refused("option read_only '0'; option token_file '/etc/chi token'", "must be a plain path")
        odd.unlink()
        return "3 good ones, 13 that are not"

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
