"""The drop-ins of the package's examples, installed as their comments say."""

from __future__ import annotations

from pathlib import Path

import network
from machine import UNPRIVILEGED, Machine, wait_until
from service import Service


def port_80(service: Service) -> str:
    """Without the drop-in the start fails and says what to do; with it, chi serves on port 80."""
    service.set_options("--http_port 80")
    assert not service.machine.succeeds("systemctl restart chi")
    assert service.show("ActiveState") == "failed", "it is tried again and again"
    assert "port-80.conf" in service.run("journalctl --unit chi --lines 20"), "no hint in the log"
    service.add_example("port-80.conf")
    assert service.is_up(80)
    service.restart("")
    service.drop_in("")
    assert service.is_up()
    return "refused with a hint; served with the drop-in"


def ip_filter(service: Service) -> str:
    """With it nothing comes from elsewhere, whatever chi is told to let in."""
    service.set_options("--allow 0.0.0.0/0 --allow ::/0")
    service.run("systemctl restart chi")
    assert network.reached_from(service, network.PUBLIC[0])
    service.add_example("ip-filter.conf")
    network.kept_out(service)
    service.set_options("")
    service.drop_in("")
    return "public addresses are dropped by the kernel"


def container(suite: str, work: Path, folder: Path, ran: set[str]) -> str:
    """In a container without CAP_SYS_ADMIN and BPF: with the drop-in it runs, and lets in whom it should."""
    machine = Machine(suite, work, folder, UNPRIVILEGED[suite])
    machine.ran = ran
    service = Service(machine)
    try:
        machine.boot()
        machine.run("apt install --yes /e2e/chi.deb")
        machine.run("systemctl enable --now chi", check=False)
        wait_until(lambda: "226/NAMESPACE" in machine.run("journalctl --unit chi"), "226/NAMESPACE")
        service.add_example("container.conf")
        wait_until(service.is_up, "it serves")
        user = machine.run("ps -o user= -p $(systemctl show --property=MainPID --value chi)").strip()
        assert user == "chi", user
        network.lay_wire(machine)
        network.kept_out(service)
        assert service.get("/restart/", "--request POST")[0] == 403
    finally:
        machine.power_off()
    return "226/NAMESPACE without; with it, only private networks and reports"
