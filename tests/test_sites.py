"""The miners of one chi: names and paths, a list that changes, and what one costs the others."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chi.errors import ChiError
from chi.places import Place
from chi.settings import Settings
from chi.sites import Sites, places_of, split_path
from tests.client import Background
from tests.conftest import Chi, StillClock
from tests.scripted import HEALTHY, HOLD, ScriptedMiner

Serve = Callable[..., Chi]


def told(name: str) -> bytes:
    """A reply that tells who sent it."""
    return b'{"who":"' + name.encode() + b'"}\0'


def write(path: Path, **miners: ScriptedMiner) -> None:
    """A --miners file of these."""
    path.write_text("".join(f"{name} = {each.host}:{each.port}\n" for name, each in miners.items()))


def reload(chi: Chi, caplog: pytest.LogCaptureFixture, said: str) -> None:
    """Have the file read again, and wait for the line that says what came of it."""
    before = len(caplog.records)
    chi.loop.reload()
    for _ in range(6000):
        if said in "\n".join(record.getMessage() for record in caplog.records[before:]):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{said!r} is not in the log")


@pytest.mark.parametrize(
    ("path", "name", "rest"),
    [
        ("/summary", None, "/summary"),
        ("/", None, "/"),
        ("/x/@a/y", None, "/x/@a/y"),
        ("/@a", "a", "/"),
        ("/@a/", "a", "/"),
        ("/@a/summary+devs/1/2", "a", "/summary+devs/1/2"),
        ("/@a//summary", "a", "/summary"),
        ("/@", "", "/"),
        ("/@/x", "", "/x"),
        ("/@a/@b/x", "a/@b/x", "/@b/x"),
        ("/@a//@b", "a//@b", "/@b"),
        ("/@a/x/@b", "a", "/x/@b"),
    ],
)
def test_a_path_is_split(path: str, name: str | None, rest: str) -> None:
    """None is the root; a name that none has is a name all the same."""
    assert split_path(path) == (name, rest)


def test_the_port_of_those_without_one() -> None:
    """-p says it; the same miner with the port in its line is the same."""
    settings = Settings(api_port=4029, miner=(Place("a", "h"), Place("b", "h", 4028)))
    assert places_of(settings) == (Place("a", "h", 4029), Place("b", "h", 4028))


def test_a_reload(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Miners come, go and move; who stays keeps all that is known, and its requests under way."""
    caplog.set_level(logging.INFO, "chi")
    path, gate = tmp_path / "miners", threading.Event()
    with ScriptedMiner() as one, ScriptedMiner() as two, ScriptedMiner([told("three")]) as three:
        one.script = lambda request: [gate, told("one")] if b"stats" in request else [told("one")]
        two.script = lambda request: [HOLD] if b"stats" in request else [told("two")]
        write(path, stays=one, goes=two, moves=two)
        chi = serve(0, miners=str(path), timeout=20)
        sites = {site.name: site for site in chi.loop.sites}
        assert list(sites) == ["stays", "goes", "moves"]
        waiting = {name: Background(chi.get, f"/@{name}/stats") for name in sites}
        one.asked(1)
        two.asked(2)
        write(path, comes=three, moves=three, stays=one)
        reload(chi, caplog, "3 miners: 1 came, 1 went, 1 moved")
        for name in ("goes", "moves"):
            response = waiting[name].result()
            assert (response.status, "was removed from the list" in response.message) == (503, True)
        assert chi.get("/@moves/summary").json == {"who": "three"}
        assert chi.get("/@comes/summary").json == {"who": "three"}
        assert chi.get("/@goes/summary").status == 404
        gate.set()
        assert waiting["stays"].result().json == {"who": "one"}
        now = {site.name: site for site in chi.loop.sites}
        assert list(now) == ["comes", "moves", "stays"]
        assert now["stays"] is sites["stays"]
        assert now["moves"] is not sites["moves"]


def test_what_has_left_is_let_go(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hung miner that is taken off the list keeps no connection beyond its time, and is not asked again."""
    caplog.set_level(logging.INFO, "chi")
    path = tmp_path / "miners"
    with ScriptedMiner([HOLD]) as hung, ScriptedMiner() as well:
        write(path, hung=hung, well=well)
        chi = serve(0, miners=str(path), timeout=0.5)
        waiting = Background(chi.get, "/@hung/stats")
        hung.asked(2)  # a sample, and this
        write(path, well=well)
        reload(chi, caplog, "1 went")
        assert waiting.result().status == 503
        for _ in range(200):
            if not chi.loop.sites._leaving:
                break
            threading.Event().wait(0.05)
        assert chi.loop.sites._leaving == []
        assert chi.get("/@well/summary").status == 200
        assert len(hung.requests) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = 127.0.0.1\nb\n", "line 2: 'b' is not NAME=HOST"),
        ("a = 127.0.0.1\na = 127.0.0.2\n", "there is a miner called a already"),
        (None, "No such file or directory"),
    ],
)
def test_a_reload_of_a_bad_file(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None, why: str
) -> None:
    """One line of the log, and the old list goes on."""
    caplog.set_level(logging.INFO, "chi")
    path = tmp_path / "miners"
    with ScriptedMiner() as miner:
        write(path, a=miner)
        chi = serve(0, miners=str(path))
        (site,) = chi.loop.sites
        path.unlink() if text is None else path.write_text(text)
        reload(chi, caplog, why)
        assert caplog.text.count("the miners stay as they are") == 1
        assert list(chi.loop.sites) == [site]
        assert chi.get("/@a/summary").body == HEALTHY[:-1]


def test_a_fault_while_reloading(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong, the old list goes on."""
    path = tmp_path / "miners"
    with ScriptedMiner() as miner:
        write(path, a=miner)
        chi = serve(0, miners=str(path))
        (site,) = chi.loop.sites
        monkeypatch.setattr("chi.sites.places_of", lambda settings: 1 / 0)
        reload(chi, caplog, "fault while reading the list of miners again")
        assert list(chi.loop.sites) == [site]
        assert chi.get("/@a/summary").body == HEALTHY[:-1]


def test_a_command_by_one_name_ends_what_is_held_for_another(serve: Serve) -> None:
    """With --max-age, however the miner is called: by name, by address, or at the root."""
    with ScriptedMiner() as miner, ScriptedMiner() as other:
        places = (
            *(Place(name, host, miner.port) for name, host in (("a", "127.0.0.1"), ("b", "localhost"))),
            Place("other", "127.0.0.1", other.port),
        )
        chi = serve(0, miner=places, max_age=3600)
        for name in ("a", "b", "other"):
            assert chi.get(f"/@{name}/coin").status == 200
        for changed, asked in (("a", "b"), ("b", "a")):
            before = miner.commands.count("coin")
            assert chi.request(f"/@{changed}/restart", "POST").status == 200
            assert chi.get(f"/@{asked}/coin").status == 200
            assert chi.get("/@other/coin").status == 200
            assert miner.commands.count("coin") == before + 1
        assert other.commands.count("coin") == 1


def test_remembered_verdicts_are_the_sites_own(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same bytes again are judged once, for one miner alone, and anew after its name has moved."""
    caplog.set_level(logging.INFO, "chi")
    path = tmp_path / "miners"
    with ScriptedMiner([told("one")]) as one, ScriptedMiner([told("two")]) as two:
        write(path, a=one, b=two)
        chi = serve(0, miners=str(path))
        judged: list[str] = []
        judge = chi.policy.judge
        chi.policy.judge = lambda environ, members: (  # type: ignore[method-assign]
            judged.append(environ["SCRIPT_NAME"]), judge(environ, members))[1]  # fmt: skip
        for _ in range(3):
            assert chi.get("/@a/summary").json == {"who": "one"}
            assert chi.get("/@b/summary").json == {"who": "two"}
        assert judged == ["/@a", "/@b"]
        write(path, a=two, b=two)
        reload(chi, caplog, "1 moved")
        for _ in range(2):
            assert chi.get("/@a/summary").json == {"who": "two"}
            assert chi.get("/@b/summary").json == {"who": "two"}
        assert judged == ["/@a", "/@b", "/@a"]


def test_samples_are_spread(serve: Serve) -> None:
    """Of many miners over the whole interval, of a few within a second; none waits longer than that."""
    for count, last in ((200, 15.0), (4, 1.0)):
        places = tuple(Place(f"m{number}", "127.0.0.1", 1) for number in range(count))
        clock = StillClock()
        chi = serve(0, miner=places, clock=clock.clock)
        due = [site.monitor.sample_at - clock.seconds for site in list(chi.loop.sites)[1:]]
        gaps = [later - one for one, later in itertools.pairwise(due)]
        assert max(gaps) - min(gaps) < 1e-6
        assert last * (1 - 1 / count) - 1e-6 <= due[-1] <= last


def test_a_miner_that_nobody_asks_is_left_until_its_sample_is_due(serve: Serve) -> None:
    """It costs the loop nothing until then, however many there are."""
    places = tuple(Place(f"m{number}", "127.0.0.1", 1) for number in range(4))
    clock = StillClock()
    for site in list(serve(0, miner=places, clock=clock.clock).loop.sites)[1:]:  # the first has its first now
        due = site.turn(clock.seconds)
        assert due == site.monitor.sample_at
        assert site.turn(due - 0.001) == due


def test_the_line_for_systemd(serve: Serve) -> None:
    """How many answer, of those that are served now."""
    with ScriptedMiner() as up:
        chi = serve(0, miner=(Place("a", up.host, up.port), Place("b", "127.0.0.1", 1)), timeout=1)
        chi.get("/@a/summary")
        chi.get("/@b/summary")
        sites: Sites = chi.loop.sites
        assert sites.condition == "1 of 2 miners answer"
        assert sites.description == "2 miners below /@NAME/"
        with pytest.raises(ChiError, match='No miner is named "c"'):
            sites.find("c")
