"""The entry of `run`, inside its namespaces: build for a suite, or do the whole test on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import build
from report import Report


def make_package(work: Path, suite: str, target: str) -> int:
    """Build, and put what was built into a folder."""
    build.copy_tree(work / "tree")
    deb = build.BuildSystem(suite, work, work / "tree").build("/build/first")
    Path(target).mkdir(parents=True, exist_ok=True)
    shutil.copy(deb, target)
    print(Path(target) / deb.name)
    return 0


def main(folder: str, task: str, *arguments: str) -> int:
    """Return the exit status."""
    # All that is made is made here. It ends with the namespace: there is nothing to delete.
    work = Path(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", work], check=True)
    if task == "build":
        return make_package(work, *arguments)
    import lifecycle

    report = Report(*arguments)
    lifecycle.test(work, report)
    return report.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
