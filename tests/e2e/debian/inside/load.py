"""Clients that ask without a pause, that ask every second on one connection, and that take a second to ask.

    load.py PORT [PLACE...]

They ask the miner at the root, or those at these places (/@NAME) in turn.

Prints the number of requests so far, a line every 0.1 s. Ends when standard input does, with a line of JSON:
for each kind of client its requests, how many failed, the slowest and some reasons.
"""

import http.client
import itertools
import json
import multiprocessing
import sys
import threading
import time

MOST_REASONS = 5
PATIENCE = 120  # seconds: only so that nothing hangs for ever
BODY = b'{"command":"summary"}'


def connect(port):
    """Return a connection to chi."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


def read(connection):
    """Read a response; ValueError if it is not what it should be."""
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status}: {body[:200]!r}")
    json.loads(body)["SUMMARY"][0]["Elapsed"]


def ask(connection, place):
    """Make one request."""
    connection.request("GET", f"{place}/summary/")
    read(connection)


def ask_anew(connection, place):
    """Make one request on a connection of its own."""
    ask(connection, place)
    connection.close()


def poll(connection, place):
    """Make one request, a second after the last."""
    time.sleep(1)
    ask(connection, place)


def send_slowly(connection, place):
    """Make one request whose body takes a second to be sent, on a connection of its own."""
    connection.putrequest("POST", f"{place}/")
    connection.putheader("Content-Length", str(len(BODY)))
    connection.endheaders(BODY[:1])
    for byte in BODY[1:]:
        time.sleep(1 / len(BODY))
        connection.send(bytes([byte]))
    read(connection)
    connection.close()


# Each kind, and how many of it.
KINDS = {"new": (ask_anew, 2), "kept": (ask, 2), "polling": (poll, 4), "slow": (send_slowly, 4)}


def client(port, places, kind, done, stop, results):
    """Ask until told to stop; a request is failed if it is not answered, whatever the reason: no retry."""
    work = KINDS[kind][0]
    end = {"kind": kind, "failed": 0, "slowest": 0.0, "reasons": []}
    connection, place = connect(port), itertools.cycle(places)
    while not stop.is_set():
        started = time.monotonic()
        try:
            work(connection, next(place))
        except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
            end["failed"] += 1
            end["reasons"] = [*end["reasons"], repr(error)][:MOST_REASONS]
            connection.close()
        end["slowest"] = max(end["slowest"], time.monotonic() - started)
        done.value += 1
    results.put(end)


def sum_up(ends, counts):
    """Return what the clients of each kind saw."""
    kinds = {}
    for kind in KINDS:
        of_kind = [end for end in ends if end["kind"] == kind]
        kinds[kind] = {
            "requests": sum(count.value for name, count in counts if name == kind),
            "failed": sum(end["failed"] for end in of_kind),
            "slowest": max(end["slowest"] for end in of_kind),
            "reasons": [reason for end in of_kind for reason in end["reasons"]],
        }
    return kinds


def main():
    """Run the clients."""
    port, places = int(sys.argv[1]), sys.argv[2:] or [""]
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    names = [kind for kind, (_, number) in KINDS.items() for _ in range(number)]
    counts = [(kind, multiprocessing.Value("L", 0, lock=False)) for kind in names]
    clients = [
        multiprocessing.Process(target=client, args=(port, places, kind, count, stop, results))
        for kind, count in counts
    ]
    for each in clients:
        each.start()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.wait(0.1):
        print(sum(count.value for _, count in counts), flush=True)
    print(json.dumps(sum_up([results.get() for _ in clients], counts)))


if __name__ == "__main__":
    main()
