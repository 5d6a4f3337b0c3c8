"""A fleet of simulated miners in one process: each on an address of its own, all on one port.

miners.py COUNT [HUNG] prints a line `NAME = HOST:PORT` for each and serves until it is ended. The first HUNG
accept and never answer. All tell the same, which is made once.
"""

import json
import select
import socket
import sys

from chi import demo


def replies():
    """The replies of chi's simulated miner as it stands, by command; joined ones are made of these."""
    miner = demo.DemoMiner()
    found = {
        name: miner.respond(json.dumps({"command": name}).encode())[:-1]
        for name in ("version", "summary", "pools", "devs", "stats", "nonsense")
    }
    miner.close()
    return found


def respond(found, request):
    """Return the reply to a request, with its NUL."""
    command = json.loads(request)["command"]
    if "+" not in command:
        return found.get(command, found["nonsense"]) + b"\0"
    members = ((name.encode(), found.get(name, found["nonsense"])) for name in command.split("+"))
    parts = (b'"%s":[%s]' % member for member in members)
    return b"{" + b",".join(parts) + b',"id":1}\0'


def listen(count):
    """Sockets on addresses of their own, all on the port of the first."""
    port, listening = 0, []
    for number in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((f"127.77.{number // 250}.{number % 250 + 1}", port))
        sock.listen(128)
        sock.setblocking(False)
        port = sock.getsockname()[1]
        listening.append(sock)
    return listening


def main():
    """Serve."""
    count, hung = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found, listening = replies(), listen(count)
    silent = {sock.fileno() for sock in listening[:hung]}
    for number, sock in enumerate(listening):
        print("m{:03} = {}:{}".format(number, *sock.getsockname()))
    print("ready", flush=True)
    poll = select.epoll()
    sockets = {sock.fileno(): sock for sock in listening}
    servers, kept = set(sockets), []
    for descriptor in sockets:
        poll.register(descriptor, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in servers:
                client, _ = sockets[descriptor].accept()
                if descriptor in silent:
                    kept = [*kept[-300:], client]
                    continue
                sockets[client.fileno()] = client
                poll.register(client.fileno(), select.EPOLLIN)
                continue
            client = sockets.pop(descriptor)
            poll.unregister(descriptor)
            request = client.recv(65536)
            client.setblocking(True)
            if request:
                client.sendall(respond(found, request))
            client.close()


if __name__ == "__main__":
    main()
