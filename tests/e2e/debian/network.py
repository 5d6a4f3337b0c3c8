"""The network around a machine: who is let in, and what is announced there."""

from __future__ import annotations

import re

from machine import Machine, wait_until
from service import Service

# Both ends are on the machine: what is announced goes through the wire all the same.
WIRE = """
set -e
ip link add veth0 type veth peer name veth1
ip link set veth0 up
ip link set veth1 up
ip address add 192.168.77.1/24 dev veth0
ip address add 203.0.113.1/24 dev veth0
ip -6 address add fd00:77::1/64 dev veth0 nodad
ip -6 address add 2001:db8:77::1/64 dev veth0 nodad
systemctl restart avahi-daemon
"""
PRIVATE = ("127.0.0.1", "[::1]", "192.168.77.1", "[fd00:77::1]")
PUBLIC = ("203.0.113.1", "[2001:db8:77::1]")
BROWSE = "timeout 30 avahi-browse --parsable --resolve --terminate _http._tcp"


def lay_wire(machine: Machine) -> None:
    """Give a machine private and public addresses."""
    machine.run(WIRE)


def reached_from(service: Service, address: str, port: int = 8080) -> bool:
    """Whether a client with this address gets an answer; it asks the same address."""
    source = f"--interface {address.strip('[]')} --connect-timeout 2 --globoff"
    return service.get("/healthz", source, host=address, port=port)[0] == 200


def let_in(service: Service) -> str:
    """Private networks are let in, public ones are not; an option adds one."""
    kept_out(service)
    service.restart("--allow 203.0.113.0/24")
    assert reached_from(service, PUBLIC[0]), "what --allow names is refused"
    assert not reached_from(service, PUBLIC[1]), "more than --allow names is let in"
    service.restart("")
    kept_out(service)
    return f"{', '.join(PRIVATE)}; not {', '.join(PUBLIC)}"


def kept_out(service: Service) -> None:
    """Only private networks reach it."""
    refused = [address for address in PRIVATE if not reached_from(service, address)]
    assert not refused, f"private addresses are refused: {refused}"
    answered = [address for address in PUBLIC if reached_from(service, address)]
    assert not answered, f"public addresses are answered: {answered}"


def announced(service: Service) -> set[tuple[str, str]]:
    """The addresses and ports that avahi-browse finds for chi."""
    said = service.run(BROWSE, check=False)
    return set(re.findall(r"(?m)^=;[^;]*;[^;]*;Miner\\032rig;[^;]*;[^;]*;[^;]*;([^;]*);(\d+);", said))


def announcement(service: Service) -> str:
    """It is there while chi runs, under private addresses alone, and at no other time."""
    service.run("apt install --yes avahi-utils")  # it is there; but so the documents say
    assert not announced(service), "it is announced before it runs"
    service.run("systemctl start chi")
    wait_until(lambda: announced(service), "avahi-browse finds it")
    resolve = "timeout 30 avahi-resolve -{} -n rig-chi.local"
    resolved = {service.run(resolve.format(family)).split()[1] for family in (4, 6)}
    found = {address for address, _ in announced(service)} | resolved
    assert found == {"192.168.77.1", "fd00:77::1"}, found
    service.restart("--http_port 8082")
    wait_until(lambda: {port for _, port in announced(service)} == {"8082"}, "the new port is announced")
    service.run("ip address add 192.168.78.1/24 dev veth0; ip address del 192.168.77.1/24 dev veth0")
    wait_until(lambda: "192.168.78.1" in str(announced(service)), "the new address is announced")
    service.run("ip address add 192.168.77.1/24 dev veth0; ip address del 192.168.78.1/24 dev veth0")
    service.restart("--listen 127.0.0.1")
    wait_until(lambda: not announced(service), "what only this machine reaches is not announced")
    service.restart("")
    wait_until(lambda: announced(service), "it is announced again")
    service.set_options("--nonsense")
    service.run("systemctl restart chi", check=False)
    wait_until(lambda: not announced(service), "it is withdrawn when chi fails")
    service.restart("")
    wait_until(lambda: announced(service), "it is announced again")
    service.run("systemctl mask --now chi-announce")
    wait_until(lambda: not announced(service), "it is withdrawn when that is asked for")
    service.run("systemctl unmask chi-announce; systemctl restart chi")
    wait_until(lambda: announced(service), "it is announced again")
    service.run("systemctl stop chi")
    wait_until(lambda: not announced(service), "it is withdrawn when chi stops")
    service.run("systemctl start chi")
    return f"Miner rig at {', '.join(sorted(found))} while it runs"
