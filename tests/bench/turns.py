"""What one turn of the event loop costs at the most, by the shape of a client's request.

Run by bench.py. Comes in: the port of a miner. Goes out: a line of JSON, seconds of CPU by shape. chi runs
here, in a thread; only that thread's CPU counts, whatever else the machine does.
"""

import json
import socket
import sys
import threading
import time

from shapes import BODIES, SHAPES, posted

from chi.access import Policy
from chi.bounds import MAX_BODY
from chi.cli import build
from chi.server.listening import open_sockets
from chi.settings import Settings

SIZE, ROUNDS = 31_800, 5  # bytes of a head, just below the limit; the least of so many rounds counts


class Turns:
    """A chi that notes what each turn of its loop costs."""

    def __init__(self, miner):
        settings = Settings(http_port=0, listen=("127.0.0.1",), api_port=miner, history=0)
        self.loop = build(settings, Policy(settings), open_sockets(settings))
        self.port = int(self.loop.servers[0].effective_port)
        self.worst, turn = 0.0, self.loop.turn

        def timed(timeout):
            begun = time.thread_time()
            try:
                return turn(timeout)
            finally:
                self.worst = max(self.worst, time.thread_time() - begun)

        self.loop.turn = timed
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def cost(self, data):
        """Seconds of the dearest turn while this is answered, or refused."""
        self.worst = 0.0
        with socket.create_connection(("127.0.0.1", self.port), 30) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except ConnectionError:
                pass
        return self.worst

    def stop(self):
        """End it."""
        self.loop.stop()
        self._thread.join(10)


def main():
    """Print what each shape costs."""
    turns = Turns(int(sys.argv[1]))
    requests = {name: make(SIZE) for name, make in SHAPES.items()}
    requests |= {f"body: {name}": posted(make(MAX_BODY - 2)) for name, make in BODIES.items()}
    costs = {name: min(turns.cost(data) for _ in range(ROUNDS)) for name, data in requests.items()}
    turns.stop()
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
