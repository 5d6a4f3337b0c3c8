"""A fast miner for the benchmark: one thread and one request per connection, like the C miners, and no work.

    python peer.py [--delay SECONDS] [--of PORT]

It prints its port, then answers every request with a real `summary`; or with what the miner at PORT said when
it was asked the same for the first time. `{"command":"count"}` is answered with how many others were answered
before, and is not counted itself.
"""

import argparse
import contextlib
import functools
import socket
import time
from pathlib import Path

from pollers import exchange

REPLY = (Path(__file__).parent / "summary.reply").read_bytes()


def serve(listener, delay, known):
    """Answer until killed; `known` returns the reply to a request."""
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
                connection.sendall(known(request))


def main():
    """Listen on a free port and say which."""
    parser = argparse.ArgumentParser(description="a fast miner for the benchmark")
    parser.add_argument("--delay", type=float, default=0, help="seconds that each reply takes")
    parser.add_argument("--of", type=int, help="port of the miner whose replies are given")
    arguments = parser.parse_args()
    known = functools.cache(functools.partial(exchange, arguments.of)) if arguments.of else lambda _: REPLY
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, arguments.delay, known)


if __name__ == "__main__":
    main()
