"""The page of a whole fleet in a real browser: 300 miners on a phone and a wide screen, and bad days."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chi.places import Place
from tests.conftest import Chi, StillClock
from tests.e2e.browser.chromium import AXE
from tests.e2e.browser.dashboard import DESKTOP, PHONE, browser, look, looks, tab, watch
from tests.scripted import HOLD, ScriptedMiner, free_port
from tests.status.golden import FIRMWARES
from tests.test_monitor import miner_like

__all__ = ["browser", "tab", "watch"]  # fixtures

Open = Callable[..., Page]
WIDE = (1920, 1080)


class Fleet:
    """So many miners of every firmware on addresses of their own, one in ten hung and one in ten gone."""

    def __init__(self, count: int) -> None:
        self.miners: list[ScriptedMiner] = []
        self.places: list[Place] = []
        for number in range(count):
            host, name = f"127.1.{number // 200}.{number % 200 + 1}", f"rack{number // 50 + 1}-{number:03}"
            if number % 10 == 9:
                self.places.append(Place(name, host, free_port(host)))
                continue
            script: Any = [HOLD] if number % 10 == 4 else miner_like(FIRMWARES[number % len(FIRMWARES)])
            self.miners.append(ScriptedMiner(script, host=host))
            self.places.append(Place(name, host, self.miners[-1].port))

    def close(self) -> None:
        """End all."""
        for miner in self.miners:
            miner.close()


@pytest.fixture(scope="module")
def miners() -> Iterator[Fleet]:
    """300."""
    fleet = Fleet(300)
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def chi(miners: Fleet) -> Iterator[Chi]:
    """chi, which has looked at each miner a few times, and sees those that are down as such."""
    served = Chi(0, miner=tuple(miners.places), clock=StillClock().clock, timeout=3.0)
    for _ in range(6):
        for _ in range(15):
            served.advance(1.0)
            time.sleep(0.25)
    yield served
    served.stop()


def rows(page: Page) -> list[str]:
    """The names of the miners that the table shows, in its order."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('tbody tr th[scope=row]')].map((each) => each.innerText)"
    )
    return found


@pytest.mark.parametrize("size", [PHONE, DESKTOP, WIDE], ids=["phone", "desktop", "wide"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_and_accessible(
    chi: Chi, tab: Open, artefacts: Path, size: tuple[int, int], scheme: str
) -> None:
    """Nothing sticks out, axe finds no barrier, and the worst come first."""
    page = tab(chi, size=size, color_scheme=scheme)
    totals = chi.get("/fleet.json").json["totals"]
    expect(page.locator("#headline")).to_have_text(re.compile(rf"✗ \d+ of {totals['miners']} earn"))
    expect(page.locator("#cards")).to_contain_text("of 300")
    assert len(rows(page)) == 300
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.locator("tbody tr").nth(0).locator(".bad").count() >= 1
    page.screenshot(path=artefacts / f"fleet-{size[0]}-{scheme}.png")
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run().then((found) => found.violations.map((each) => [each.id, each.nodes[0].html]))"
    )
    assert found == []
    page.locator("tbody tr").nth(150).scroll_into_view_if_needed()
    page.screenshot(path=artefacts / f"fleet-{size[0]}-{scheme}-table.png")


def test_it_sorts_filters_and_groups(chi: Chi, tab: Open) -> None:
    """By mouse and by keyboard, and a look at the miners leaves all as it was chosen."""
    page = tab(chi)
    miners = {each["name"]: each for each in chi.get("/fleet.json").json["miners"]}
    page.get_by_role("button", name="Miner").click()
    assert rows(page) == sorted(miners)
    page.get_by_role("button", name="Miner").press("Enter")
    assert rows(page) == sorted(miners, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Miner")
    page.get_by_role("button", name="Hottest").click()
    told = [miners[name]["temperature"] for name in rows(page)]
    known = [value for value in told if value is not None]
    assert known == sorted(known, reverse=True)
    assert told == known + [None] * (len(told) - len(known))
    page.get_by_label("Filter").fill("rack3 antminer")
    shown = rows(page)
    assert shown
    assert all(name.startswith("rack3") for name in shown)
    expect(page.locator("#shown")).to_have_text(f"{len(shown)} of 300 miners")
    look(page)
    assert rows(page) == shown
    page.get_by_label("Filter").fill("")
    page.get_by_label("Group by").select_option("model")
    heads = page.locator("tbody th[scope=rowgroup]").all_inner_texts()
    assert len(heads) > 3
    assert sum(int(re.search(r": (\d+) miner", head)[1]) for head in heads) == 300  # type: ignore[index]
    page.get_by_label("Group by").select_option("problem")
    assert any(
        head.startswith("no-data") for head in page.locator("tbody th[scope=rowgroup]").all_inner_texts()
    )
    page.get_by_label("Sort by").select_option("Power")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Power")


def test_a_click_leads_to_the_miner_and_back(chi: Chi, tab: Open) -> None:
    """Its own page, whose link leads back here; a single miner's page has no such link."""
    page = tab(chi)
    page.get_by_role("row", name="rack1-000").get_by_role("link").click()
    page.wait_for_url("**/@rack1-000/dashboard")
    expect(page.locator("#headline")).not_to_be_empty()
    page.get_by_role("link", name="All miners").click()
    page.wait_for_url(re.compile(r":\d+/dashboard$"))
    expect(page.locator("#headline")).to_have_text(re.compile("of 300 earn"))


def test_a_single_miner_has_no_way_to_a_fleet(tab: Open, serve: Callable[..., Chi]) -> None:
    """There is none."""
    with ScriptedMiner(miner_like("cgminer-4.11.1")) as miner:
        page = tab(serve(miner.port))
        expect(page.get_by_role("link", name="All miners")).to_have_count(0)


def test_chi_goes_and_comes_back(chi: Chi, tab: Open) -> None:
    """What was known stays, grey, below a banner; then it goes on."""
    page = tab(chi)
    page.route("**/fleet.json", lambda route: route.abort())
    look(page)
    expect(page.locator("#banner")).to_have_text(re.compile(r"^chi has not answered for .*Is its machine on"))
    assert len(rows(page)) == 300
    page.unroute("**/fleet.json")
    look(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_what_a_miner_says_is_text(tab: Open, serve: Callable[..., Chi]) -> None:
    """Markup in a model or a pool is shown as it is, and runs nowhere."""
    evil = "<img src=x onerror=alert(1)>\u202e"
    with ScriptedMiner(miner_like("cgminer-4.11.1")) as miner:
        chi = serve(0, miner=(Place("a", miner.host, miner.port),))

        def spoil(route: Any) -> None:
            told = chi.get("/fleet.json").json
            told["miners"][0].update(
                model=evil, pool=evil, error=evil, up=False, hashrate_hour=[None, -1, 1e300, 3]
            )
            route.fulfill(json=told)

        page = tab(chi, before=lambda page: page.route("**/fleet.json", spoil))
        expect(page.locator("tbody")).to_contain_text("<img src=x")
        assert page.locator("img").count() == 0
        assert looks(page) >= 1
