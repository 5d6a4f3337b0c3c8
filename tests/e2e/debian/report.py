"""What the checks print: a line each, as it ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


class Report:
    """Runs the checks of one suite and remembers what failed."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.failed: list[str] = []
        self.passed = 0
        self._started = time.monotonic()

    def line(self, verdict: str, text: str, seconds: float = 0.0) -> None:
        """Print one line."""
        print(f"{self.suite:8} {verdict:4} {seconds:6.1f} s  {text}", flush=True)

    def check(self, name: str, function: Callable[[], object]) -> bool:
        """Run one check: it returns what to print beside its name, and raises if it fails."""
        started = time.monotonic()
        try:
            detail = function()
        except (AssertionError, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            self.failed.append(name)
            text = str(error)
            if isinstance(error, subprocess.CalledProcessError):
                text = f"{error}\n{error.stdout or ''}{error.stderr or ''}"
            self.line("FAIL", f"{name}: {text.strip() or repr(error)}", time.monotonic() - started)
            return False
        self.passed += 1
        self.line("ok", f"{name}{f': {detail}' if detail else ''}", time.monotonic() - started)
        return True

    def end(self) -> int:
        """Print the sum; return the exit status."""
        took = time.monotonic() - self._started
        verdict = "FAIL" if self.failed else "ok"
        self.line(verdict, f"{self.passed} checks passed, {len(self.failed)} failed", took)
        return bool(self.failed)
