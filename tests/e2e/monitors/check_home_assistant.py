"""The real Home Assistant with the files of packaging/monitoring: what it shows on good days and on bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import (
    PACKAGING,
    TOKEN,
    Sink,
    Stage,
    asleep,
    broken,
    end,
    fetch,
    private,
    recorded,
    staged,
    wait_until,
    well,
)

from tests.scripted import free_port

HASS = os.environ.get("HASS") or shutil.which("hass") or ""
pytestmark = pytest.mark.skipif(not HASS, reason="Home Assistant is not installed (HASS=.../bin/hass)")

KEY = "5f" * 64
POLL = 2  # seconds, in place of a minute
OWNER = "chi"
AUTH = {
    "version": 1, "minor_version": 1, "key": "auth",
    "data": {
        "users": [{"id": OWNER, "group_ids": ["system-admin"], "is_owner": True, "is_active": True,
                   "name": OWNER, "system_generated": False, "local_only": False}],
        "groups": [{"id": "system-admin", "name": "Administrators"}],
        "credentials": [],
        "refresh_tokens": [{
            "id": "token", "user_id": OWNER, "client_id": None, "client_name": OWNER, "client_icon": None,
            "token_type": "long_lived_access_token", "created_at": "2024-01-01T00:00:00.000000+00:00",
            "access_token_expiration": 315360000.0, "token": KEY, "jwt_key": KEY, "last_used_at": None,
            "last_used_ip": None, "expire_at": None, "credential_id": None, "version": "2024.1",
        }],
    },
}  # fmt: skip


def encoded(data: bytes) -> str:
    """As a JSON web token has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bearer() -> str:
    """A token of the owner's for the API."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": "token", "iat": now - 60, "exp": now + 86400})
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(KEY.encode(), text.encode(), hashlib.sha256).digest()
    return f"Bearer {text}.{encoded(signature)}"


class Home:
    """Home Assistant with a configuration's text; `log` is what it wrote so far."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.port = free_port()
        (folder / ".storage").mkdir(parents=True)
        (folder / ".storage" / "auth").write_text(json.dumps(AUTH))
        done = {"version": 4, "minor_version": 1, "key": "onboarding",
                "data": {"done": ["user", "core_config", "analytics", "integration"]}}  # fmt: skip
        (folder / ".storage" / "onboarding").write_text(json.dumps(done))
        (folder / "secrets.yaml").write_text(f"chi_authorization: Bearer {TOKEN}\n")
        head = f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\napi:\n"
        (folder / "configuration.yaml").write_text(head + configuration)
        self._log = folder / "out.log"
        self._authorization = bearer()
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [HASS, "--config", str(folder), "--skip-pip"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self._log.read_text(errors="replace"))

    def states(self) -> dict[str, dict[str, Any]]:
        """State and attributes of each entity; none while it does not answer."""
        assert self.process.poll() is None, self.log
        try:
            status, body = fetch(
                f"http://127.0.0.1:{self.port}/api/states", Authorization=self._authorization
            )
        except OSError:
            return {}
        return {each["entity_id"]: each for each in json.loads(body)} if status == 200 else {}

    def state(self, entity: str) -> str | None:
        """An entity's state."""
        found = self.states().get(entity)
        return found["state"] if found else None

    def ours(self) -> dict[str, str]:
        """The states of all entities of the snippet."""
        return {
            name: each["state"]
            for name, each in self.states().items()
            if re.match(r"(binary_)?sensor\.(miner|fleet)_", name)
        }


def snippet(url: str, sink: str, name: str = "home-assistant.yaml") -> str:
    """The file as a user would change it; with the token, and every POLL seconds."""
    text = (PACKAGING / name).read_text(encoding="utf-8")
    text = re.sub(r"http://(miner|controller)\.lan:8080/", f"{url}/", text, count=1)
    text = re.sub(r"    # (headers:)\n    # (  Authorization: .*)", r"    \1\n    \2", text)
    text = text.replace("scan_interval: 60", f"scan_interval: {POLL}").replace(
        "for: {minutes: 5}", "for: {seconds: 1}"
    )
    notify = (
        f"notify:\n  - platform: rest\n    name: notify\n    method: POST_JSON\n    resource: {sink}/notify\n"
    )
    return text + (notify if "notify.notify" in text else "")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """LuxOS, behind a chi that wants a token."""
    with staged(*private(tmp_path_factory.mktemp("chi"))) as found:
        found.show(well("luxos"))
        yield found


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """Whom the automation tells."""
    with Sink() as found:
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def home(stage: Stage, sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Home Assistant, which has seen the miner."""
    found = Home(tmp_path_factory.mktemp("home"), snippet(stage.url, sink.url))
    try:
        wait_until(
            lambda: found.state("sensor.miner_hashrate") not in (None, "unknown"), "it shows a hashrate", 300
        )
        yield found
    finally:
        end(found.process)


UNAVAILABLE = {"unavailable"}
DERIVED = {"sensor.miner_energy"}  # Home Assistant's own helper


def shown(home: Home, entity: str, state: str) -> None:
    """Wait until an entity has a state."""
    wait_until(lambda: home.state(entity) == state, f"{entity} is {state}; {home.ours()}", 60)


def test_luxos(home: Home) -> None:
    """Values are those of the recorded replies; the temperature also where no chip tells its own."""
    shown(home, "sensor.miner_hashrate", "59.756")
    found = home.ours()
    expected = {
        "sensor.miner_power": "1234", "sensor.miner_efficiency": "20.65", "sensor.miner_temperature": "59",
        "sensor.miner_accepted_shares": "1483", "binary_sensor.miner_hashing": "on",
        "sensor.miner_pool": "stratum+tcp://pool.example.com:3333",
        "sensor.miner_hashrate_mh_s": "unavailable", "sensor.miner_hashrate_h_s": "unavailable",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert float(found["sensor.miner_slowest_fan"]) > 0
    assert home.states()["sensor.miner_power"]["attributes"]["device_class"] == "power"


def test_energy(home: Home) -> None:
    """The helper makes of the power what the Energy dashboard takes."""
    wait_until(
        lambda: (home.state("sensor.miner_energy") or "u")[0] in "0123456789", "there is an energy", 60
    )
    attributes = home.states()["sensor.miner_energy"]["attributes"]
    assert (attributes["unit_of_measurement"], attributes["device_class"]) == ("kWh", "energy")
    assert attributes["state_class"] in ("total", "total_increasing")


def test_start_is_steady(home: Home) -> None:
    """The time of the start is one state, not a new one with each look."""
    before = home.states()["sensor.miner_started"]["last_changed"]
    time.sleep(3 * POLL)
    assert home.states()["sensor.miner_started"]["last_changed"] == before


def test_miner_down(home: Home, stage: Stage, sink: Sink) -> None:
    """Without a miner everything is unavailable, nothing off or none, and nothing is an error in the log."""
    seen = len(home.log)
    stage.stop_miner()
    wait_until(
        lambda: {v for k, v in home.ours().items() if k not in DERIVED} == UNAVAILABLE, "unavailable", 60
    )
    assert "sensor.miner_pool" in home.ours()
    wait_until(lambda: any("does not answer" in body for _, body in sink.bodies), "the user is told", 60)
    time.sleep(2 * POLL)
    assert not re.findall(r" (?:ERROR|WARNING) .*", home.log[seen:])


def test_chi_down(home: Home, stage: Stage) -> None:
    """Without chi as well; the log has Home Assistant's own two lines for a poll, and no template's."""
    seen = len(home.log)
    stage.stop_chi()
    wait_until(lambda: "Error fetching data" in home.log[seen:], "it notices", 60)
    time.sleep(2 * POLL)
    assert {v for k, v in home.ours().items() if k not in DERIVED} == UNAVAILABLE
    said = re.findall(r" (?:ERROR|WARNING) .*", home.log[seen:])
    polls = sum("Error fetching data" in line for line in said)
    assert len(said) <= 2 * polls + 1, said
    assert not [line for line in said if "emplate" in line]
    assert TOKEN not in home.log


def test_paused(home: Home, stage: Stage) -> None:
    """A miner that sleeps is no problem: it does not hash, which is not the same as unavailable."""
    stage.show(well("bitmain-s19"))
    shown(home, "binary_sensor.miner_hashing", "on")
    stage.play(asleep())
    shown(home, "binary_sensor.miner_hashing", "off")
    shown(home, "binary_sensor.miner_problem", "off")
    attributes = home.states()["binary_sensor.miner_problem"]["attributes"]
    wait_until(
        lambda: home.state("sensor.miner_verdict") == "Not earning. The miner sleeps.", "it sleeps", 60
    )
    attributes = home.states()["binary_sensor.miner_problem"]["attributes"]
    assert attributes["earning"] is False
    assert [each["code"] for each in attributes["problems"]] == ["sleeping"]
    assert home.state("binary_sensor.miner_problem") == "off"
    assert home.state("sensor.miner_hashrate") == "0.0"
    assert home.state("sensor.miner_slowest_fan") == "unavailable"


def test_broken(home: Home, stage: Stage, sink: Sink) -> None:
    """A board without chips: the verdict is on, and tells it; the user is told."""
    stage.show(broken())
    shown(home, "binary_sensor.miner_problem", "on")
    problems = home.states()["binary_sensor.miner_problem"]["attributes"]["problems"]
    assert "board-without-chips" in {each["code"] for each in problems}
    wait_until(
        lambda: any("6" in body and "chips" in body for _, body in sink.bodies), "the user is told", 60
    )


def test_small_miner(home: Home, stage: Stage) -> None:
    """A hashrate is shown in the unit that suits it."""
    stage.show(recorded("sgminer-5.1.1"))
    shown(home, "sensor.miner_hashrate_h_s", "2900.0")
    found = home.ours()
    assert {found[f"sensor.miner_hashrate{size}"] for size in ("", "_mh_s")} == UNAVAILABLE


def test_fleet(sink: Sink, tmp_path: Path) -> None:
    """The section for a fleet: its totals, and who is in trouble."""
    options = private(tmp_path)
    with staged(*options) as first:
        first.show(well("luxos"))
        first.stop_chi()
        miners = tmp_path / "miners"
        miners.write_text(f"good = 127.0.0.1:{first.miner_port}\ngone = 127.0.0.1:{free_port()}\n")
        with staged(*options, "--miners", str(miners)) as fleet:
            fleet.start_chi()
            home = Home(tmp_path / "home", snippet(fleet.url, sink.url, "home-assistant-fleet.yaml"))
            try:
                wait_until(lambda: home.state("sensor.fleet_miners_answering") == "1", "one answers", 300)
                shown(home, "sensor.fleet_miners_in_trouble", "gone")
                shown(home, "binary_sensor.fleet_problem", "on")
                shown(home, "sensor.fleet_hashrate", "59.76")
                fleet.stop_chi()
                wait_until(lambda: set(home.ours().values()) == UNAVAILABLE, "unavailable", 60)
            finally:
                end(home.process)
