"""What is recorded for a bug report says nothing of who owns the miner, and is else as it was sent."""

from __future__ import annotations

import json
import re

import pytest

from chi.status.firmware import normalise, recognise
from chi.status.model import to_json
from chi.status.redact import Redactor, kind_of
from tests.status.golden import FIRMWARES, GOLDEN, NOW, replies_of

SECRETS = ("wallet", "worker1", "letmein", "pool.example.com", "backup.example.net", "last.example.org",
           "0201000000000001", "020000000001", "SERIAL0000000000")  # fmt: skip


def cleaned(*replies: bytes) -> list[bytes]:
    """The replies of one scrape, redacted."""
    redactor = Redactor()
    for reply in replies:
        redactor.learn(reply)
    return [redactor.clean(reply) for reply in replies]


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_no_secret_of_a_golden_reply_survives(firmware: str) -> None:
    """Users, hosts and serials are gone; the firmware is found and the figures are told as before."""
    paths = sorted((GOLDEN / firmware).glob("*.reply"))
    found = cleaned(*(path.read_bytes().rstrip(b"\0") for path in paths))
    text = b"".join(found).decode()
    assert not [secret for secret in SECRETS if secret in text]
    replies = {path.stem: json.loads(reply) for path, reply in zip(paths, found)}
    assert recognise(replies) == recognise(replies_of(firmware))
    told, expected = (to_json(normalise(each, NOW)) for each in (replies, replies_of(firmware)))
    for pool in (*told["pools"], *expected["pools"]):
        del pool["url"]
    assert told == expected


def test_stand_ins_are_the_same_everywhere() -> None:
    """A user and a host are replaced in every reply, in messages too; a port and a scheme stay."""
    pools = (
        b'{"POOLS":[{"POOL":0,"URL":"stratum+tcp://eu.pool.org:3333","User":"bc1qwallet.rig7","Pass":"x"},'
        b'{"POOL":1,"URL":"stratum+ssl://me:letmein@backup.io:443/","User":4711,'
        b'"Stratum URL":"backup.io"}]}'
    )
    said = b'{"STATUS":[{"Msg":"Switching to pool 0:\'stratum+tcp://eu.pool.org:3333\' as bc1qwallet.rig7"}]}'
    first, second = (reply.decode() for reply in cleaned(pools, said))
    assert "stratum+tcp://host1.example.net:3333" in first
    assert "host1.example.net:3333' as account1.rig1" in second
    for secret in ("bc1qwallet", "rig7", "letmein", "backup.io", "eu.pool.org", "4711", '"x"'):
        assert secret not in first + second
    assert json.loads(first)["POOLS"][1]["Stratum URL"] == "host2.example.net"


def test_addresses_and_versions() -> None:
    """Addresses of the network are gone, in any field; versions that look like one stay."""
    text = (
        b'{"Miner":"30.0.1.3","IPAddr":"10.1.2.3","MACAddr":"D4:33:B2:5D:E0:56","Msg":"from 10.1.2.3",'
        b'"Hostname":"attic-left","SerialNumber":"ABCDEF123","note":"d4:33:b2:5d:e0:56"}'
    )
    (found,) = (reply.decode() for reply in cleaned(text))
    assert json.loads(found)["Miner"] == "30.0.1.3"
    assert not re.search(r"10\.1\.2\.3|(?i:d4:33)|attic|ABCDEF123", found)


def test_what_is_not_json_stays_so() -> None:
    """A comma too many, a text protocol, Avalon's brackets: only the secrets change."""
    broken = (
        b'{"POOLS":[{"URL":"stratum+tcp://a.pool:1","User":"somebody.1",},],"MM ID0":"DNA[0203] Fan1[1200]"'
    )
    (found,) = cleaned(broken)
    assert found == (
        b'{"POOLS":[{"URL":"stratum+tcp://host1.example.net:1","User":"account1.rig1",},],'
        b'"MM ID0":"DNA[SERIAL00000001] Fan1[1200]"'
    )
    (found,) = cleaned(b"STATUS=S,When=1|POOL=0,URL=stratum+tcp://a.pool:1,User=somebody.1,Accepted=5|")
    assert found == (
        b"STATUS=S,When=1|POOL=0,URL=stratum+tcp://host1.example.net:1,User=account1.rig1,Accepted=5|"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("User", "user"), ("Worker", "user"), ("Passwd", "password"), ("URL", "host"), ("Stratum URL", "host"),
     ("PCB SN", "serial"), ("0 SN", "serial"), ("MAC", "mac"), ("Accepted", None), ("POOL", None),
     ("Pool Rejected%", None), ("Type", None), ("API", None)],
)  # fmt: skip
def test_fields(name: str, kind: str | None) -> None:
    """What a field is by its name; POOL is a pool's number."""
    assert kind_of(name) == kind


def test_a_reply_without_secrets_stays_as_it_is() -> None:
    """Nothing was learned, and nothing is replaced."""
    reply = b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":5}]}'
    assert Redactor().clean(reply) == reply
