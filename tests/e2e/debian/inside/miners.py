"""Simulated miners FIRST to LAST, each at 127.0.7.NUMBER, port 4028, until it is ended."""

import sys
import threading

from miner import DemoMiner

for number in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
    DemoMiner(f"127.0.7.{number}", 4028).start()
threading.Event().wait()
