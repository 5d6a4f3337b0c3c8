"""Keep-alive pollers: a load with an exact number of requests, and the client for single measurements.

    python pollers.py PORT --connections N (--requests N | --seconds S)

prints {"requests": …, "seconds": …, "errors": …}; an error is any answer but a complete 200. It is a program
so that its work is in a process of its own.
"""

import argparse
import json
import selectors
import socket
import time

SILENCE = 10  # seconds without any answer after which the server counts as hung


def get(path):
    """Return the bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


REQUEST = get("/summary")


def connect(port):
    """Open one connection, as quick as any client's."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def missing(response):
    """Return how many bytes are still to come: None when even that is not known yet."""
    head, separator, body = response.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return int(length) - len(body)


def ask(connection, request=REQUEST):
    """Send one request on an open connection and return the whole response."""
    connection.sendall(request)
    response = b""
    while missing(response) != 0:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("closed before the response was complete")
        response += chunk
    return response


def exchange(port, request):
    """Ask a miner as chi must: one connection, one send, read to the end."""
    with connect(port) as connection:
        connection.sendall(request)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    return reply


def count(port):
    """Ask the fast miner how many requests it has had."""
    return json.loads(exchange(port, b'{"command":"count"}').rstrip(b"\0"))["count"]


class Load:
    """Many pollers, each of which asks again as soon as it has its answer."""

    def __init__(self, port, requests, seconds):
        self.port = port
        self.unsent = requests
        self.end = time.monotonic() + seconds
        self.done = self.errors = 0
        self.selector = selectors.DefaultSelector()
        self.partial = {}

    def open(self):
        connection = connect(self.port)
        self.partial[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ)
        self.send(connection)

    def close(self, connection):
        self.selector.unregister(connection)
        del self.partial[connection]
        connection.close()

    def send(self, connection):
        if self.unsent > 0 and time.monotonic() < self.end:
            self.unsent -= 1
            connection.sendall(REQUEST)
        else:
            self.close(connection)

    def receive(self, connection):
        try:
            chunk = connection.recv(65536)
        except OSError:
            chunk = b""
        response = self.partial[connection] = self.partial[connection] + chunk
        if not chunk:
            self.errors += 1
            self.close(connection)
            self.open()
        elif missing(response) == 0:
            self.done += 1
            self.errors += not response.startswith(b"HTTP/1.1 200 ")
            self.partial[connection] = b""
            self.send(connection)

    def run(self, connections):
        for _ in range(connections):
            self.open()
        while self.partial:
            ready = self.selector.select(SILENCE)
            if not ready:
                raise TimeoutError(f"no answer for {SILENCE} s")
            for key, _ in ready:
                self.receive(key.fileobj)


def main():
    """Run one load and print what came of it."""
    parser = argparse.ArgumentParser(description="keep-alive pollers")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=120)
    arguments = parser.parse_args()
    load = Load(arguments.port, arguments.requests, arguments.seconds)
    begin = time.monotonic()
    load.run(arguments.connections)
    print(json.dumps({"requests": load.done, "seconds": time.monotonic() - begin, "errors": load.errors}))


if __name__ == "__main__":
    main()
