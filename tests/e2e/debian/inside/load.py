"""Four clients that ask for a report without a pause, two with a new connection each time, two with one kept.

Prints the number of requests so far, a line every 0.1 s. Ends when standard input does, with a line of JSON.
"""

import http.client
import json
import multiprocessing
import sys
import threading
import time

CLIENTS = 4
MOST_REASONS = 5


def ask(connection):
    """Make one request; ValueError if the answer is not what it should be."""
    connection.request("GET", "/summary/")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status}: {body[:200]!r}")
    json.loads(body)["SUMMARY"][0]["Elapsed"]


def client(port, keep, done, stop, results):
    """Ask until told to stop; a request is failed if it is not answered, whatever the reason: no retry."""
    failed, slowest, reasons = 0, 0.0, []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.is_set():
        started = time.monotonic()
        try:
            ask(connection)
        except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
            failed += 1
            reasons.append(f"{'kept' if keep else 'new'} connection: {error!r}")
            connection.close()
        slowest = max(slowest, time.monotonic() - started)
        done.value += 1
        if not keep:
            connection.close()
    results.put((failed, slowest, reasons[:MOST_REASONS]))


def main():
    """Run the clients."""
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    counts = [multiprocessing.Value("L", 0, lock=False) for _ in range(CLIENTS)]
    clients = [
        multiprocessing.Process(target=client, args=(int(sys.argv[1]), number % 2 == 1, count, stop, results))
        for number, count in enumerate(counts)
    ]
    for each in clients:
        each.start()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.wait(0.1):
        print(sum(count.value for count in counts), flush=True)
    ends = [results.get() for _ in clients]
    print(
        json.dumps(
            {
                "requests": sum(count.value for count in counts),
                "failed": sum(end[0] for end in ends),
                "slowest": max(end[1] for end in ends),
                "reasons": [reason for end in ends for reason in end[2]],
            }
        )
    )


if __name__ == "__main__":
    main()
