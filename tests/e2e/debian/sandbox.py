"""What each line of the unit's sandbox prevents, and the probe (inside/probe.py) that shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from machine import Machine

UNIT = "/usr/lib/systemd/system/chi.service"
# With these a probe cannot do anything that a privileged directive is about: it must begin as another user.
AS_NOBODY = ("User=nobody",)
# Lines of the unit: the probe that fails with this line alone, and what the probe needs to succeed without.
SHOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "DynamicUser": ("be-root", ()),
    "CapabilityBoundingSet": ("chown", ()),
    "NoNewPrivileges": ("gain-privilege", AS_NOBODY),
    "PrivateUsers": ("other-user", ()),
    "RestrictSUIDSGID": ("set-id-bit", ()),
    "ProtectSystem": ("write-var", ()),
    "ProtectHome": ("read-home", ()),
    "PrivateTmp": ("see-tmp", ()),
    "PrivateDevices": ("see-device", ()),
    "DevicePolicy": ("make-device", ()),
    "NoExecPaths": ("run-own-program", ()),
    "UMask": ("own-file-mode", ()),
    "ProtectProc": ("see-process-1", AS_NOBODY),
    "ProcSubset": ("see-cpuinfo", ()),
    "ProtectControlGroups": ("make-cgroup", ()),
    "ProtectHostname": ("set-host-name", ()),
    "ProtectKernelLogs": ("kernel-log", ()),
    "ProtectKernelModules": ("see-modules", ()),
    "ProtectKernelTunables": ("tune-kernel", ()),
    "PrivateIPC": ("shared-memory", ()),
    "LockPersonality": ("personality", ()),
    "MemoryDenyWriteExecute": ("write-and-execute", ()),
    "RestrictNamespaces": ("namespace", ()),
    "RestrictRealtime": ("realtime", ()),
    "SystemCallArchitectures": ("other-architecture", ()),
    "SystemCallFilter=@system-service": ("unmount", ()),
    "SystemCallFilter=~@privileged @resources": ("privileged-call", ()),
    "RestrictAddressFamilies": ("netlink", ()),
    "SocketBindDeny": ("bind-low-port", ()),
}
# These go with another line, which shows nothing without them.
TOGETHER = {
    "NoExecPaths": ("ExecPaths",),
    "SystemCallFilter=@system-service": ("SystemCallErrorNumber",),
    "SystemCallFilter=~@privileged @resources": ("SystemCallErrorNumber",),
    "SocketBindDeny": ("SocketBindAllow",),
}
# What the container forbids by itself, so that nothing is seen of it.
UNSEEN = {"ProtectClock": "the container cannot set the clock"}
UNSEEN_ON = {"bookworm": {"SocketBindDeny": "its systemd is built without it"}}
OTHER = {
    "Type", "EnvironmentFile", "ExecStart", "ExecReload", "LoadCredential", "FileDescriptorStoreMax",
    "WatchdogSec", "Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec", "LimitNOFILE",
}  # fmt: skip

PREPARE = """
set -e
mkdir -p /opt/chi-probe /home/chi-probe /tmp/chi-probe /usr/lib/modules/chi-probe
cp /usr/bin/id /opt/chi-probe/id && chmod 4755 /opt/chi-probe/id
touch /opt/chi-probe/owned && chown 1000:1000 /opt/chi-probe/owned
touch /dev/chi-probe && echo probe >/dev/kmsg
python3 -c 'import ctypes; assert ctypes.CDLL(None).shmget(0x636869, 4096, 0o1666) >= 0'
"""
CLEAN = """
rm -rf /opt/chi-probe /home/chi-probe /tmp/chi-probe /usr/lib/modules /dev/chi-probe /dev/kmsg
"""


def directives(unit: str) -> list[str]:
    """The lines of a unit's [Service] section."""
    section = re.split(r"(?m)^\[", unit)[2]
    return [line for line in section.splitlines() if re.match(r"\w+=", line)]


def name_of(line: str) -> str:
    """What a line of the unit is called in the tables."""
    return line if line.startswith("SystemCallFilter=") else line.partition("=")[0]


class Sandbox:
    """The sandbox of the unit on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.lines = [
            line for line in directives(machine.run(f"cat {UNIT}")) if line.partition("=")[0] not in OTHER
        ]

    def unseen(self) -> dict[str, str]:
        """Lines that cannot be shown here, and why."""
        foreign = {} if os.uname().machine == "x86_64" else {"SystemCallArchitectures": "this is no x86"}
        return {**UNSEEN, **UNSEEN_ON.get(self.machine.suite, {}), **foreign}

    def probe(self, trials: dict[str, tuple[Sequence[str], Sequence[str]]]) -> dict[str, list[str]]:
        """Run each trial, lines of a unit and the probes to run under them; return what they print."""
        for name, (lines, probes) in trials.items():
            text = "\n".join(
                [
                    "[Service]", "Type=oneshot", *lines, f"StandardOutput=truncate:/var/tmp/{name}",
                    f"ExecStart=/usr/bin/python3 /e2e/probe.py {' '.join(probes)}", "",
                ]
            )  # fmt: skip
            self.machine.write(f"/run/systemd/system/{name}.service", text)
        self.machine.run("systemctl daemon-reload")
        self.machine.run(f"systemctl start {' '.join(trials)}", check=False)
        return {name: self.machine.run(f"cat /var/tmp/{name}").splitlines() for name in trials}

    def each_alone(self) -> str:
        """Each line by itself makes its probe fail, which without it succeeds."""
        by_name = {name_of(line): line for line in self.lines}
        partners = {partner for together in TOGETHER.values() for partner in together}
        unknown = set(by_name) - set(SHOWN) - partners - set(UNSEEN)
        assert not unknown, f"no probe for {unknown}"
        missing = set(SHOWN) - set(by_name)
        assert not missing, f"probes for lines that the unit does not have: {missing}"
        shown = [name for name in SHOWN if name not in self.unseen()]
        trials: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
        for number, name in enumerate(shown):
            probe, base = SHOWN[name]
            together = [by_name[partner] for partner in TOGETHER.get(name, ())]
            trials[f"chi-probe-without-{number}"] = (base, [probe])
            trials[f"chi-probe-with-{number}"] = ([*base, *together, by_name[name]], [probe])
        said = self.probe(trials)
        wrong = []
        for number, name in enumerate(shown):
            done = [f"{SHOWN[name][0]}: done"]
            without, alone = said[f"chi-probe-without-{number}"], said[f"chi-probe-with-{number}"]
            if without != done:
                wrong.append(f"without {name}: {without}")
            if alone == done:  # nothing at all if the filter kills
                wrong.append(f"with {by_name[name]}: {alone}")
        assert not wrong, "\n".join(wrong)
        unseen = "; ".join(f"not {name}: {why}" for name, why in self.unseen().items())
        return f"{len(shown)} lines; {unseen}"

    def together(self) -> str:
        """Under the whole unit every probe fails."""
        unseen = {SHOWN[name][0] for name in self.unseen() if name in SHOWN}
        probes = sorted({probe for probe, _ in SHOWN.values()} - unseen)
        said = self.probe({"chi-probe-whole": (self.lines, probes)})["chi-probe-whole"]
        assert len(said) == len(probes), said
        wrong = [line for line in said if ": no: " not in line]
        assert not wrong, "\n".join(wrong)
        return f"{len(said)} probes"
