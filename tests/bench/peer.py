"""A fast miner for the benchmark: one thread and one request per connection, like the C miners, and no work.

    python peer.py [--delay SECONDS] [--reply FILE]

It prints its port, then answers every request with the same reply, a real `summary`. `{"command":"count"}` is
answered with how many others were answered before, and is not counted itself.
"""

import argparse
import contextlib
import socket
import time
from pathlib import Path

REPLY = Path(__file__).parent / "summary.reply"


def serve(listener, delay, reply):
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
                connection.sendall(reply)


def main():
    """Listen on a free port and say which."""
    parser = argparse.ArgumentParser(description="a fast miner for the benchmark")
    parser.add_argument("--delay", type=float, default=0, help="seconds that each reply takes")
    parser.add_argument("--reply", type=Path, default=REPLY, help="file with the bytes of each reply")
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, arguments.delay, arguments.reply.read_bytes())


if __name__ == "__main__":
    main()
