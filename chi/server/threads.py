"""Threads for what would hold up the event loop: looking names up.

Comes in: a function to call in a thread. Goes out: its result, to a function that the event loop calls.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from chi.guard import guarded


class Threads:
    """Threads for what would hold up the event loop; started when first needed."""

    def __init__(self, count: int, wake: Callable[[], None]) -> None:
        self._count = count
        self._wake = wake
        self._threads = self._pending = 0
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Have a thread call `work`, then the loop call `done` with its result, or its Exception."""
        self._pending += 1
        self._jobs.put((work, done))
        if self._threads < min(self._pending, self._count):
            try:
                threading.Thread(target=self._run, daemon=True).start()
                self._threads += 1
            except RuntimeError as error:  # the system has no thread to give
                if not self._threads:
                    self._jobs.get()
                    self._results.put((done, error))

    def deliver(self) -> None:
        """Call what waits for results; in the event loop."""
        while not self._results.empty():
            done, result = self._results.get()
            self._pending -= 1
            guarded("taking what a thread found", done, result)

    def _run(self) -> None:
        while True:
            work, done = self._jobs.get()
            try:
                result = work()
            except Exception as error:
                result = error
            self._results.put((done, result))
            self._wake()
