"""The checks; see `run`, which calls this in namespaces of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from device import HERE, Device
from init import Init
from packaged import Package
from serving import Serving

sys.path.insert(0, str(HERE.parent / "debian"))

from report import Report


def main(folder: str, *words: str) -> int:
    """Run the checks, or those whose name has one of the words; return the exit status."""
    work = Path(folder)
    for command in ("link set lo up", "address add 192.168.1.1/24 dev lo", "address add fd00:1::1/64 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    (ipk,) = (work / "first").glob("chi_*")
    device = Device(work / "root", ipk)
    package, init = Package(work, device, ipk), Init(device)
    serving = Serving(device, init)
    report = Report("openwrt")
    for subject in (package, init, serving):
        for name, member in vars(type(subject)).items():
            wanted = not words or any(word in name for word in words)
            if wanted and not name.startswith("_") and name != "start":
                report.check(f"{type(subject).__name__}: {member.__doc__}", getattr(subject, name))
    return report.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
