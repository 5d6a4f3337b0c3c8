"""A fast miner for the benchmark: one thread and one request per connection, like the C miners, and no work.

    python peer.py [--delay SECONDS]

It prints its port, then answers every request with the same real `summary` reply. `{"command":"count"}` is
answered with how many others were answered before, and is not counted itself.
"""

import argparse
import contextlib
import socket
import time
from pathlib import Path

REPLY = (Path(__file__).parent / "summary.reply").read_bytes()


def serve(listener, delay):
    """Answer until killed."""
    count = 0
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)  # the rest of the benchmark must not hang on one silent client
            request = connection.recv(8192)
            if b'"count"' in request:
                connection.sendall(b'{"count":%d}\0' % count)
            elif request:
                if delay:
                    time.sleep(delay)
                count += 1
                connection.sendall(REPLY)


def main():
    """Listen on a free port and say which."""
    parser = argparse.ArgumentParser(description="a fast miner for the benchmark")
    parser.add_argument("--delay", type=float, default=0, help="seconds that each reply takes")
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, arguments.delay)


if __name__ == "__main__":
    main()
