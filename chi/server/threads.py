"""Threads for calls that would block the event loop: name lookups.

Comes in: a function to call in a thread. Goes out: its result, to a function that the event loop calls.
Each call has a thread of its own, so that a name whose server is silent delays no other.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable
from typing import Any

from chi.bounds import MAX_THREADS
from chi.faults import guarded


class Threads:
    """Threads that end with what they were started for; at most `most` at once, and the rest waits."""

    def __init__(self, wake: Callable[[], None], most: int = MAX_THREADS) -> None:
        self._wake = wake
        self._most = most
        self._running = 0
        self._jobs: collections.deque[Any] = collections.deque()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Have a thread call `work`, then the loop call `done` with its result, or its Exception."""
        self._jobs.append((work, done))
        self._start()

    def deliver(self) -> None:
        """Call what waits for results; in the event loop."""
        while not self._results.empty():
            done, result = self._results.get()
            self._running -= 1
            guarded("taking what a thread found", done, result)
            self._start()

    def _start(self) -> None:
        while self._jobs and self._running < self._most:
            work, done = self._jobs.popleft()
            self._running += 1
            try:
                threading.Thread(target=self._run, args=(work, done), daemon=True).start()
            except RuntimeError as error:  # the system has no thread to give
                self._results.put((done, error))
                self._wake()

    def _run(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        try:
            result = work()
        except Exception as error:
            result = error
        self._results.put((done, result))
        self._wake()
