"""The page /dashboard in a real browser: what it shows of each miner, and what it makes of bad days."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import itertools
import json
import math
import random
import re
import subprocess
import threading
import time
import types
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, Route, expect

from chi import demo
from chi.miner import replies
from chi.status.model import Rig, Status
from chi.status.problems import PROBLEMS, code_of
from tests.conftest import Chi, request
from tests.e2e.browser.chromium import AXE, CHROMIUM, FLAGS, Site
from tests.scripted import HOLD, ScriptedMiner, Step
from tests.status.golden import FIRMWARES, GOLDEN, NOW
from tests.test_monitor import miner_like

TOKEN = "correct-horse-battery-staple"
DAY = 86400
PHONE, DESKTOP = (360, 740), (1280, 900)
PLOTS = ("hashrate", "temperature", "shares")

Open = Callable[..., Page]
Serve = Callable[..., Chi]


# --- The browser ----------------------------------------------------------------------------------

# Remembers the pauses that the page makes after its looks at the miner, and how many looks had ended when
# somebody last clicked or came back: only so can a test wait for the end of a look that began after that, and
# not for a time. After a look that was asked for during another, the other's end pauses for 0, and is not
# that look's end.
COUNT_LOOKS = """(() => {
    window.pauses = [];
    window.looks = () => window.pauses.filter(Boolean).length;
    const set = window.setTimeout;
    window.setTimeout = (run, pause, ...more) => {
        window.pauses.push(pause);
        return set(run, pause, ...more);
    };
    for (const event of ["click", "visibilitychange"])
        window.addEventListener(event, () => { window.before = window.looks(); }, true);
    window.violations = [];
    window.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.blockedURI));
})()"""


@pytest.fixture(scope="session")
def browser(driver: Playwright) -> Iterator[Browser]:
    """One Chromium for all tests; each has contexts of its own."""
    started = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
    yield started
    started.close()


class Watch:
    """What went wrong on the pages of a test, and what they asked for."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._told: Any = None

    def over(self, page: Page) -> None:
        """Watch a page."""
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("console", self._console)
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda popup: self.wrong.append(f"popup: {popup.url}"))
        page.on("request", self._request)
        page.on("response", self._response)

    def status(self, page: Page) -> dict[str, Any]:
        """What chi told the page that has asked for the status once."""
        while self._told is None:  # the driver may hear of it later than the page
            page.wait_for_timeout(10)
        told: dict[str, Any] = self._told.json()
        return told

    def _response(self, answer: Any) -> None:
        if "/status.json" in answer.url:
            self._told = answer

    def _console(self, message: Any) -> None:
        # The browser itself logs each answer that is not 2xx, and each request without an answer.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource:"):
            self.wrong.append(f"console: {message.text}")

    def _request(self, made: Any) -> None:
        self.asked.append(f"{made.method} {made.url}")
        self.headers.append(made.headers)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """No test passes whose pages log an error, throw one, or open anything."""
    watching = Watch()
    yield watching
    assert watching.wrong == []


@pytest.fixture
def tab(browser: Browser, watch: Watch, serve: Serve) -> Iterator[Open]:
    """Open a chi's dashboard, or another `path`, in a browser without memory, and let it look once.

    With `clock`, seconds since 1970, the page's time stands at that until the test moves it. Other keywords
    are a context's. It ends before chi does, which would wait for it. Which requests were made is checked in
    the end: only such as change nothing.
    """
    contexts: list[BrowserContext] = []
    origins: set[str] = set()

    def opened(
        chi: Chi | str,
        path: str = "/dashboard",
        *,
        clock: float | None = None,
        look: bool = True,
        size: tuple[int, int] = DESKTOP,
        before: Callable[[Page], object] = lambda page: None,
        **context: Any,
    ) -> Page:
        base = chi if isinstance(chi, str) else f"http://127.0.0.1:{chi.port}"
        origins.add(base)
        usual = {"locale": "en-US", "timezone_id": "UTC", "viewport": dict(zip(("width", "height"), size))}
        contexts.append(browser.new_context(**{**usual, **context}))
        page = contexts[-1].new_page()
        watch.over(page)
        if clock is not None:
            page.clock.install(time=clock - 1)
            page.clock.pause_at(clock)
        page.add_init_script(COUNT_LOOKS)
        before(page)
        page.goto(base + path)
        if look:
            ended(page, 0)
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            if page.url.startswith("http"):
                assert page.evaluate("window.violations ?? []") == []
        context.close()
    own = "|".join(map(re.escape, sorted(origins)))
    asked = r"dashboard|status\.json(\?users)?|history\.json\?range=(1|6|24)h|access\.json|fleet\.json"
    allowed = re.compile(
        rf"GET ({own})/(miner/|@[^/]+/)?({asked}|favicon\.ico|manifest\.webmanifest)|GET data:image/.*"
    )
    for line in watch.asked:
        assert allowed.fullmatch(line), line


def looks(page: Page) -> int:
    """How many looks at the miner the page has ended."""
    return int(page.evaluate("window.looks()"))


def ended(page: Page, before: int) -> None:
    """Wait until the page has ended more looks than it had `before`."""
    page.wait_for_function("before => window.looks() > before", arg=before)


def look(page: Page) -> None:
    """Have the page look at the miner now, as when somebody comes back to it."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    ended(page, page.evaluate("window.before"))


def press(page: Page, button: Locator) -> None:
    """Click a button that makes the page look at the miner, and wait for the end of that look."""
    button.click()
    ended(page, page.evaluate("window.before"))


def wait(page: Page, seconds: float) -> None:
    """Let time pass on the page, whose clock stands, and let it look at the miner then."""
    before = looks(page)
    page.clock.run_for(int(seconds * 1000))
    ended(page, before)


def ask_anew(page: Page) -> None:
    """Have every look of the page reach the miner, however soon it is after another."""
    page.add_init_script(
        "(() => { const ask = fetch; window.fetch = (url, how) => ask(url, {...how, headers: {}}); })()"
    )


READ = """() => {
    const $ = (id) => document.getElementById(id);
    const seen = (element) => Boolean(element?.checkVisibility());
    const text = (id) => seen($(id)) ? $(id).innerText : "";
    const level = (element) =>
        ["good", "warn", "bad"].find((each) => element?.classList.contains(each)) ?? "";
    const said = (element) => [element.innerText.trim(), level(element.querySelector("bdi"))];
    const cards = (list) => seen(list) ? Object.fromEntries([...list.children].map((card) =>
        [card.children[0].innerText, [...card.children].slice(1).map((each) => each.innerText)])) : {};
    const table = (id) => {
        const heads = [...$(id).querySelectorAll("thead th")].map((each) => each.innerText);
        return !seen($(id)) ? [] : [...$(id).querySelectorAll("tbody tr")].map((line) => Object.fromEntries(
            [...line.children].map((cell, place) => [heads[place], said(cell)])));
    };
    const parts = (id) => !seen($(id)) ? [] : [...$(id).querySelectorAll(".parts > li")].map((part) => ({
        title: part.querySelector("h3").innerText, state: said(part.querySelector(".head span")),
        bar: part.querySelector(".bar")?.ariaValueNow ?? null,
        lines: [...part.querySelectorAll("p:not(.links)")].map(said),
        pairs: Object.fromEntries([...part.querySelectorAll(".pairs div")].map((pair) =>
            [pair.children[0].innerText, pair.children[1].innerText])),
        links: [...part.querySelectorAll("a")].map((link) => [link.innerText, link.getAttribute("href")]),
    }));
    return {
        title: document.title, name: text("name"), about: text("about"), banner: text("banner"),
        level: level($("verdict")), headline: text("headline"), lasting: text("lasting"),
        problems: [...$("problems").children].map((each) =>
            [level(each), each.querySelector("bdi").innerText]),
        updated: text("updated"),
        cards: cards($("cards")), fans: cards($("fans").querySelector("dl")),
        levels: Object.fromEntries([...$("cards").children].map((card) =>
            [card.children[0].innerText, level(card.children[1].querySelector("bdi"))])),
        pools: parts("pools"), chains: parts("chains"), devices: table("devices"),
        titles: [...document.querySelectorAll("h2")].filter(seen).map((each) => each.innerText.trim()),
        button: text("users"), controls: text("controls"),
        width: document.documentElement.scrollWidth,
        plots: Object.fromEntries(["hashrate", "temperature", "shares"].map((id) => {
            const number = (each) => (name) => Number(each.getAttribute(name));
            const all = (selector) => [...$(id).querySelectorAll(selector)];
            const d = (name) => all(`path${name}`).map((each) => each.getAttribute("d")).join("");
            return [id, !seen($(id)) ? null : {
                label: $(id).querySelector("svg").getAttribute("aria-label"),
                caption: $(id).querySelector("figcaption").lastElementChild.innerText,
                keys: all(".key").filter(seen).map((each) => each.innerText),
                d: d(".line") + d(".dots"),
                average: d(".average"), expected: d(".expected"), limit: d(".limit"),
                texts: all("svg text").map((each) =>
                    [each.textContent, each.getAttribute("text-anchor"), ...["x", "y"].map(number(each))]),
                bars: all("rect").map((each) =>
                    [each.getAttribute("class"), ...["x", "y", "width", "height"].map(number(each))]),
            }];
        })),
    };
}"""


class Seen(types.SimpleNamespace):
    """What somebody sees of the page: see READ. What has a level is a pair of text and level."""

    def states(self, kind: str) -> list[str]:
        """In words, how each pool or board is."""
        return [part["state"][0] for part in getattr(self, kind)]


def plain(value: Any) -> Any:
    """The same with plain spaces, in all its texts."""
    if isinstance(value, str):
        return re.sub("[\u00a0\u202f]", " ", value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    return value


def read(page: Page) -> Seen:
    """What the page shows now."""
    return Seen(**plain(page.evaluate(READ)))


# --- Miners ---------------------------------------------------------------------------------------


class Made:
    """A script: the simulated miner as it stood at NOW, with what a test changes in its replies."""

    def __init__(self, *changes: tuple[Any, ...], without: tuple[str, ...] = ()) -> None:
        simulated = demo.DemoMiner(rig=demo.Rig(clock=lambda: NOW))
        self.replies = {}
        for command in ("version", "summary", "pools", "devs", "stats"):
            asked = json.dumps({"command": command}).encode()
            self.replies[command] = json.loads(simulated.respond(asked)[:-1])
        simulated.close()
        for command in without:
            del self.replies[command]
        for change in changes:
            self.set(*change)

    def set(self, command: str, place: int | None, values: dict[str, Any]) -> None:
        """Change fields of an entry of a reply, of all with None; a value of None takes the field out."""
        reply = self.replies.get(command)
        section = next((value for key, value in (reply or {}).items() if key not in ("STATUS", "id")), [])
        for entry in section if place is None else [section[place]]:
            for name, value in values.items():
                entry[name] = value
                if value is None:
                    del entry[name]

    def __call__(self, sent: bytes) -> list[Step]:
        unknown = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}], "id": 1}
        command: str = json.loads(sent)["command"]
        replies = {name: self.replies.get(name, unknown) for name in command.split("+")}
        whole = {name: [reply] for name, reply in replies.items()} if "+" in command else replies[command]
        return [json.dumps(whole).encode() + b"\0"]


def made_up(ago: float) -> Rig:
    """How a made-up miner was so many seconds ago, in an hour that ended well."""
    wave = math.sin(ago / 150) + 0.5 * math.sin(ago / 37)
    return Rig(
        hashrate=99.5e12 * (1 + 0.02 * wave) * (0.67 if 1500 < ago < 1900 else 1),
        temperature=71 + 2 * math.sin(ago / 500),
        shares_accepted=float(20000 - int(ago / 11)),
        shares_rejected=float(90 - int(ago / 700)),
        shares_stale=float(40 - int(ago / 1500)),
    )


def fill(chi: Chi, rig: Callable[[float], Rig | None] = made_up, seconds: int = 3585) -> float:
    """Give chi a history: `rig` tells how the miner was so many seconds ago. Return the time of its end."""
    now = time.monotonic()
    for ago in range(seconds, -1, -15):
        found = rig(float(ago))
        chi.monitor.history.add(now - ago, Status(rig=found) if found else None)
    return now


# --- What is expected -----------------------------------------------------------------------------


class Words:
    """Numbers and times as a page writes them: in a locale, and always in these digits."""

    def __init__(self, page: Page, locale: str = "en-US") -> None:
        self._page = page
        self._locale = f"{locale}-u-nu-latn"

    def number(self, value: float, **options: Any) -> str:
        """A number, as Intl writes it."""
        code = "([locale, value, options]) => new Intl.NumberFormat(locale, options).format(value)"
        given = [self._locale, value, options or {"maximumFractionDigits": 1}]
        return str(plain(self._page.evaluate(code, given)))

    def percent(self, part: float) -> str:
        """A percentage."""
        return self.number(part, style="percent", maximumSignificantDigits=3)

    def scaled(self, value: float, unit: str) -> str:
        """A number of one to three digits before the point, with its unit."""
        prefixes = iter(["", "k", "M", "G", "T", "P", "E", "Z", "Y"])
        prefix = next(prefixes)
        while float(f"{value:.4g}") >= 1000:
            value, prefix = value / 1000, next(prefixes)
        return f"{self.number(value, maximumSignificantDigits=4)} {prefix}{unit}"

    def duration(self, seconds: float) -> str:
        """How long something is, in at most two units."""
        whole = math.floor(seconds + 0.5)
        if whole < 120:
            return f"{self.number(whole)} s"
        if whole < 7200:
            return f"{self.number(whole // 60)} min"
        if whole < 2 * DAY:
            return f"{self.number(whole // 3600)} h {self.number(whole // 60 % 60)} min"
        return f"{self.number(whole // DAY)} d {self.number(whole // 3600 % 24)} h"

    def time(self, seconds: float, **options: str) -> str:
        """A time, as Intl writes it."""
        code = (
            "([locale, time, options]) =>"
            " new Intl.DateTimeFormat(locale, options).format(new Date(time * 1000))"
        )
        return str(plain(self._page.evaluate(code, [self._locale, seconds, options])))


def given(values: dict[str, list[str | None]]) -> dict[str, list[str | None]]:
    """Those that have a first text, without those of the others that are None or empty."""
    return {name: [text for text in texts if text] for name, texts in values.items() if texts[0]}


def expected_cards(words: Words, status: dict[str, Any], now: float, age: float) -> dict[str, Any]:
    """The cards that a page shows of a status when its clock says `now`."""
    rig = status["rig"]
    counts = {name: rig[f"shares_{name}"] for name in ("accepted", "rejected", "stale")}
    total = sum(count or 0 for count in counts.values())

    def number(name: str) -> str | None:
        return None if rig[name] is None else words.number(rig[name])

    def shares(name: str) -> list[str | None]:
        count = counts[name]
        if count is None:
            return [None]
        return [words.number(count), words.percent(count / total) if total else None]

    rate, expected = rig["hashrate"], rig.get("hashrate_expected")
    cards: dict[str, list[str | None]] = {
        "Hashrate": [
            "not told" if rate is None else words.scaled(rate, "H/s"),
            f"{words.percent(rate / expected)} of {words.scaled(expected, 'H/s')} expected"
            if expected and rate is not None
            else None,
            f"average {words.scaled(rig['hashrate_average'], 'H/s')}" if rig["hashrate_average"] else None,
        ],
        "Accepted": shares("accepted"),
        "Rejected": shares("rejected"),
        "Stale": shares("stale"),
        "Hardware errors": [number("hardware_errors")],
        "Uptime": [None],
        "Last share": ["none yet" if rig["shares_accepted"] == 0 else None],
        "Hottest sensor": [f"{number('temperature')} °C" if rig["temperature"] is not None else None],
        "Power": [f"{number('power')} W" if rig["power"] is not None else None],
    }
    if rig["uptime"] is not None:
        began = words.time(now - age - rig["uptime"], dateStyle="medium", timeStyle="short")
        cards["Uptime"] = [words.duration(rig["uptime"]), began]
    if rig["last_share"] is not None:
        cards["Last share"] = [f"{words.duration(rig['time'] - rig['last_share'] + age)} ago"]
    if cards["Last share"][0] and rate and rig["share_interval"]:
        every = words.duration(max(1, rig["share_interval"]))
        cards["Last share"].append(f"one is expected every {every}")
    if rig["efficiency"] is not None:
        # The rate's own prefix: of a small miner J/GH, of a big one J/TH.
        prefix = re.sub(".* |H/s", "", words.scaled(rate or rig["hashrate_average"] or 1, "H/s"))
        per = 1000 ** " kMGTPEZY".index(prefix or " ")
        cards["Efficiency"] = [f"{words.number(rig['efficiency'] * per)} J/{prefix}H"]
    for name, limit in (("Power", "power_limit"), ("Hottest sensor", "environment_temperature")):
        if rig.get(limit) is not None:
            word, unit = ("limit", "W") if name == "Power" else ("air", "°C")
            cards[name].append(f"{word} {number(limit)} {unit}")
    return given(cards)


def expected_pairs(words: Words, status: dict[str, Any], age: float) -> dict[str, list[dict[str, str]]]:
    """What the page says of each pool and each board, by name; of each device, by the heads of its table."""

    def by(write: Callable[[Any], str], name: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: "" if row.get(name) is None else write(row[name])

    def ago(row: dict[str, Any]) -> str:
        told = row["last_share"] is not None
        return words.duration(max(0, status["rig"]["time"] - row["last_share"] + age)) if told else ""

    def degrees(value: float) -> str:
        return f"{words.number(value)} °C"

    def chips(row: dict[str, Any]) -> str:
        found, expected = by(words.number, "chips")(row), by(words.number, "chips_expected")(row)
        return f"{found} of {expected}" if found and expected else found

    tables: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
        "pools": {
            "Accepted": by(words.number, "shares_accepted"),
            "Rejected": by(words.number, "shares_rejected"),
            "Stale": by(words.number, "shares_stale"),
            "Last share": ago,
            "Difficulty": by(lambda value: words.scaled(value, "").strip(), "share_difficulty"),
            "Priority": by(words.number, "priority"),
            "Response": by(lambda value: f"{words.number(value * 1000)} ms", "response_time"),
        },
        "chains": {
            "Board temp.": by(degrees, "board_temperature"),
            "Chip temp.": by(degrees, "chip_temperature"),
            "Water temp.": by(degrees, "water_temperature"),
            "Chips": chips,
            "Frequency": by(lambda value: words.scaled(value, "Hz"), "frequency"),
            "Voltage": by(lambda value: f"{words.number(value)} V", "voltage"),
            "Hardware errors": by(words.number, "hardware_errors"),
        },
        "devices": {
            "Device": by(str, "device"),
            "Kind": by(str, "name"),
            "Hashrate": by(lambda value: words.scaled(value, "H/s"), "hashrate"),
            "Temperature": by(degrees, "temperature"),
            "Hardware errors": by(words.number, "hardware_errors"),
        },
    }
    found = {
        table: [{name: write(row) for name, write in names.items()} for row in status[table]]
        for table, names in tables.items()
    }
    return {
        table: [{name: text for name, text in row.items() if text} for row in rows]
        for table, rows in found.items()
    }


def check_parts(seen: Seen, words: Words, status: dict[str, Any], age: float) -> None:
    """Check what is seen of pools, boards, fans and devices."""
    expected = expected_pairs(words, status, age)
    for kind, title in (("pools", "Pool"), ("chains", "Board")):
        found = [
            {name: text for name, text in part["pairs"].items() if name != "Rejected for"}
            for part in getattr(seen, kind)
        ]
        assert found == expected[kind]
        names = [row[title.lower() if kind == "pools" else "chain"] for row in status[kind]]
        assert [part["title"] for part in getattr(seen, kind)] == [f"{title} {name}" for name in names]
    best = max((chain["hashrate"] or 0 for chain in status["chains"]), default=0)
    for part, chain in zip(seen.chains, status["chains"], strict=True):
        of = chain.get("hashrate_expected") or best
        if chain["hashrate"] is not None and of:
            assert part["bar"] == str(math.floor(100 * min(1, chain["hashrate"] / of) + 0.5))
            assert part["lines"][0][0].startswith(words.scaled(chain["hashrate"], "H/s"))
    for pool, part in zip(status["pools"], seen.pools, strict=True):
        assert ("dead" in part["state"][0]) == (pool["alive"] is False)
        assert part["state"][0].startswith("active") == bool(pool["active"])
        assert pool["url"] is None or part["lines"][0] == [pool["url"], ""]
    for fan, (name, told) in zip(status["fans"], seen.fans.items(), strict=True):
        assert name == f"Fan {fan['fan']}"
        assert fan["speed"] is None or told[0] == f"{words.number(fan['speed'])} rpm"
    if seen.devices:
        cells = [
            {head: cell[0] for head, cell in row.items() if head != "State" and cell[0]}
            for row in seen.devices
        ]
        assert cells == expected["devices"]


def check_verdict(seen: Seen, verdict: dict[str, Any]) -> None:
    """Check that the page says of the verdict what chi says, and no more."""
    mark = {"good": "✓", "warn": "!", "bad": "✗"}[seen.level]
    assert seen.headline == f"{mark} {verdict['sentence'].split('. ')[0].removesuffix('.')}"
    assert seen.problems == [[each["level"], each["sentence"]] for each in plain(verdict["problems"])[:20]]
    assert seen.title.startswith(f"{seen.headline}: ")
    if not verdict["problems"]:
        assert seen.level == ("good" if verdict["earning"] else "warn")


def check(page: Page, status: dict[str, Any], now: float, age: float = 0.0, locale: str = "en-US") -> Seen:
    """Check that the page shows this status, all of it, and return what it shows."""
    seen, words, rig = read(page), Words(page, locale), status["rig"]
    cards = expected_cards(words, status, now, age)
    assert {name: seen.cards.get(name) for name in cards} == cards
    assert set(seen.cards) - set(cards) <= {"Best share", "Blocks found"}
    check_parts(seen, words, status, age)
    check_verdict(seen, status["verdict"])
    assert seen.name == (rig["model"] or rig.get("host_name") or rig["software"])
    for part in (
        rig["software"],
        rig["version"],
        rig.get("firmware"),
        f"API {rig['api']}" if rig["api"] else None,
    ):
        assert part is None or part in f"{seen.name} {seen.about}"
    assert seen.banner == ""
    assert seen.updated == f"As of {words.time(now - age, hour='2-digit', minute='2-digit')}"
    return seen


# --- What it shows --------------------------------------------------------------------------------

# What a person sees of each firmware's replies: hashrate, average, efficiency and hottest sensor.
SEEN = {
    "avalon": ["197.5 TH/s", "average 192.8 TH/s", "18.9 J/TH", "78 °C"],
    "bfgminer-5.5.0": ["750 kH/s", "average 1.035 MH/s", "", ""],
    "bitmain-s19": ["102.2 TH/s", "average 101.9 TH/s", "", "75 °C"],
    "bitmain-s9": ["13.82 TH/s", "average 13.84 TH/s", "", "75 °C"],
    "bosminer": ["16.86 TH/s", "average 16.5 TH/s", "84.2 J/TH", "108.9 °C"],
    "cgminer-4.11.1": ["0 H/s", "", "", ""],
    "luxos": ["59.76 TH/s", "average 56.92 TH/s", "20.7 J/TH", "59 °C"],
    "sgminer-5.1.1": ["2.9 kH/s", "average 3.4 kH/s", "", ""],
    "whatsminer": ["102.4 TH/s", "average 84.98 TH/s", "35.1 J/TH", "97.4 °C"],
}


@pytest.mark.parametrize("golden", FIRMWARES)
def test_shows_each_firmware(
    tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch, artefacts: Path, golden: str
) -> None:
    """Of every firmware the page shows what /status.json says, in units a person reads."""
    miner.script = miner_like(golden)
    chi = serve(miner.port, history=60)
    page = tab(chi, before=lambda page: page.clock.set_fixed_time(NOW + 0.5))
    seen = check(page, watch.status(page), NOW + 0.5)
    page.screenshot(path=artefacts / f"dashboard-{golden}.png", full_page=True)
    told = [seen.cards["Hashrate"][0], *seen.cards["Hashrate"][-1:]]
    told[1] = told[1] if told[1].startswith("average") else ""
    told += [seen.cards.get(name, [""])[0] for name in ("Efficiency", "Hottest sensor")]
    assert told == SEEN[golden]


# A browser's language, its time zone, and that of the numbers and times on a page in English.
LOCALES = [("en-US", "America/New_York", "en-US"), ("en-GB", "Europe/London", "en-GB"),
           ("de-DE", "Europe/Berlin", "de-DE"),
           ("fr-FR", "Europe/Paris", "fr-FR"), ("ar-EG", "Africa/Cairo", "en-EG"),
           ("fa-IR", "Asia/Tehran", "en-IR"), ("hi-IN", "Asia/Kolkata", "en-IN"),
           ("ja-JP", "Asia/Tokyo", "en-JP")]  # fmt: skip


@pytest.mark.parametrize(("locale", "zone", "written"), LOCALES)
def test_speaks_the_locale_of_the_browser(
    tab: Open, serve: Serve, simulated: demo.DemoMiner, watch: Watch, locale: str, zone: str, written: str
) -> None:
    """Numbers, times and the time zone are the browser's, in the script of the texts wherever it is read."""
    chi = serve(simulated.address[1], history=60)
    now = math.floor(time.time()) + 0.5
    page = tab(chi, locale=locale, timezone_id=zone, before=lambda page: page.clock.set_fixed_time(now))
    seen = check(page, watch.status(page), now, locale=written)
    assert (seen.level, seen.problems) == ("good", [])
    foreign = [
        char for char in page.inner_text("main") if char.isalnum() and not re.match("[0-9A-Za-zÀ-ɏ]", char)
    ]
    assert foreign == []


RATES = [
    ({"MHS 5s": 0.0009}, "900 H/s"),
    ({"MHS 5s": 0.0015}, "1.5 kH/s"),
    ({"KHS 5s": 999.94, "MHS 5s": None}, "999.9 kH/s"),
    ({"MHS 5s": 0.99996}, "1 MH/s"),
    ({"MHS 5s": 333.3}, "333.3 MH/s"),
    ({"GHS 5s": "999.94", "MHS 5s": None}, "999.9 GH/s"),
    ({"GHS 5s": 999.99, "MHS 5s": None}, "1 TH/s"),
    ({"MHS 5s": 14_247_000}, "14.25 TH/s"),
    ({"MHS 5s": 2.5e9}, "2.5 PH/s"),
    ({"MHS 5s": 3e12}, "3 EH/s"),
    ({"MHS 5s": 0}, "0 H/s"),
    ({"MHS 5s": 0, "MHS av": 0}, "0 H/s"),
    (dict.fromkeys(("MHS 5s", "MHS av", "MHS 1m", "MHS 5m", "MHS 15m"), None), "not told"),
]


def test_unit_of_the_hashrate(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Every hashrate has one to three digits before the point, and the unit that goes with them."""
    chi = serve(miner.port)
    miner.script = Made()
    page = tab(chi, before=ask_anew)
    found = []
    for fields, text in RATES:
        miner.script = Made(("summary", None, fields), without=("devs", "stats"))
        look(page)
        seen = read(page)
        found.append((fields, seen.cards["Hashrate"][0]))
        assert (text in seen.title) == (text != "not told")
    assert found == RATES


# --- What it makes of it --------------------------------------------------------------------------

ALL = None
SLOW = {"Stratum Difficulty": 1048576.0}  # one share in 45 s


def last_share(ago: float) -> list[tuple[str, int | None, dict[str, Any]]]:
    """Changes after which the last share was accepted so long ago, where one is expected every 45 s."""
    when = {"Last Share Time": int(NOW - ago)}
    return [("pools", ALL, {**SLOW, **when}), ("devs", ALL, when)]


STOPPED = [
    ("summary", 0, {"MHS 5s": 0.0}), ("devs", ALL, {"MHS 5s": 0.0}),
    ("stats", 1, {"chain_rate1": "0", "chain_rate2": "0", "chain_rate3": "0"}),
]  # fmt: skip
BOARDS_ONLY = ("stats",)  # without it, devs are all that is told of boards
OK = "✓ Earning"


@dataclasses.dataclass
class Day:
    """What befalls the simulated miner, and where besides the verdict the page shows it."""

    changes: list[tuple[str, int | None, dict[str, Any]]]
    codes: list[str] = dataclasses.field(default_factory=list)
    level: str = "warn"  # of the page
    card: str = ""  # one that has the level of the first problem
    part: tuple[str, int] | None = None  # a pool, board or device that has it too, and its sentence
    without: tuple[str, ...] = ()


DAYS = {
    "a good day": Day([], level="good"),
    "no hashrate": Day(STOPPED, ["not-hashing"], "bad", card="Hashrate"),
    "all pools dead": Day(
        [("pools", ALL, {"Status": "Dead", "Stratum Active": False})], ["no-pool", "pool-dead", "pool-dead"],
        "bad",
    ),
    "one of two pools dead": Day([("pools", 1, {"Status": "Dead"})], ["pool-dead"], part=("pools", 1)),
    "board does not hash": Day([("stats", 1, {"chain_rate2": "0"})], ["board-dead"], part=("chains", 1)),
    "no chips": Day([("stats", 1, {"chain_acn1": 0})], ["board-without-chips"], part=("chains", 0)),
    "chips missing": Day([("stats", 1, {"chain_acn3": 110})], ["board-short-of-chips"], part=("chains", 2)),
    "chip too hot": Day([("stats", 1, {"temp_chip2": "70-106-71"})], ["too-hot"], part=("chains", 1)),
    "device dead": Day(
        [("devs", 1, {"Status": "Dead"})], ["board-dead"], part=("devices", 1), without=BOARDS_ONLY
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAYS)
def test_tells_chis_verdict(tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch, name: str) -> None:
    """Whether it earns, and what is wrong if not, is said as chi says it, and coloured where it stands."""
    day = DAYS[name]
    miner.script = Made(*day.changes, without=day.without)
    page = tab(serve(miner.port))
    status = watch.status(page)
    seen, verdict = read(page), status["verdict"]
    check_verdict(seen, verdict)
    problems = plain(verdict["problems"])
    assert [each["code"] for each in problems] == day.codes
    assert seen.level == day.level
    if day.card:
        assert seen.levels[day.card] == problems[0]["level"]
    if day.part:
        kind, place = day.part
        part = getattr(seen, kind)[place]
        assert part["State" if kind == "devices" else "state"][1] == problems[0]["level"]
        if kind != "devices":
            assert [problems[0]["sentence"], problems[0]["level"]] in part["lines"]


def told(verdict: dict[str, Any]) -> Callable[[Page], None]:
    """Have a page get this verdict with the status that chi tells."""

    def answer(route: Route) -> None:
        answered = route.fetch()
        route.fulfill(response=answered, json={**answered.json(), "verdict": verdict})

    return lambda page: page.route("**/status.json*", answer)


def problem(code: str, about: str = "", level: str = "warn", since: float | None = None) -> dict[str, Any]:
    """A problem as /status.json tells it."""
    return {"code": code, "level": level, "sentence": f"Something is {code}.", "about": about, "value": 1.5,
            "limit": None, "since": since}  # fmt: skip


# Of a problem of the whole miner: the card that shows it.
CARDS = {
    "not-hashing": "Hashrate", "low-hashrate": "Hashrate", "hashrate-drop": "Hashrate",
    "no-share": "Last share", "rejects": "Rejected", "stales": "Stale", "hardware-errors": "Hardware errors",
    "too-hot": "Hottest sensor", "restarted": "Uptime",
}  # fmt: skip


def test_every_problem_has_its_place(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A problem of the miner colours its card, one of a part that part, and nothing else."""
    assert set(CARDS) <= {code_of(key) for key in PROBLEMS}
    miner.script = Made()
    chi = serve(miner.port)
    for level in ("warn", "bad"):
        for code, card in CARDS.items():
            verdict = {
                "earning": True,
                "since": NOW,
                "sentence": "Earning.",
                "problems": [problem(code, level=level)],
            }
            seen = read(tab(chi, before=told(verdict)))
            assert {name for name, found in seen.levels.items() if found} == {card}
            assert seen.levels[card] == level
            assert {each["state"][1] for each in (*seen.pools, *seen.chains)} == {""}
            assert seen.level == "warn"
    parts = [problem("x", "pool 1"), problem("y", "board 2", "bad"), problem("z", "fan 1")]
    page = tab(
        chi, before=told({"earning": False, "since": NOW, "sentence": "Not earning.", "problems": parts})
    )
    seen = read(page)
    assert [each["state"][1] for each in seen.pools] == ["", "warn"]
    assert [each["state"][1] for each in seen.chains] == ["", "bad", ""]
    assert page.locator("#fans .warn").all_inner_texts() == [seen.fans["Fan 1"][0].replace(" ", "\u00a0")]
    assert set(seen.levels.values()) == {""}


VERDICTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"earning": True, "sentence": "Earning.", "problems": []}, "good", OK, "#11652c"),
    ({"earning": None, "sentence": "The miner is starting.", "problems": [problem("starting")]},
     "warn", "! The miner is starting", "#b35c00"),
    ({"earning": False, "sentence": "Not earning. The miner sleeps.", "problems": [problem("sleeping")]},
     "warn", "! Not earning", "#b35c00"),
    ({"earning": False, "sentence": "Not earning. It is dead.", "problems": [problem("dead", level="bad")]},
     "bad", "✗ Not earning", "#c8161d"),
    ({"earning": False, "sentence": "Not earning. ", "problems": []}, "bad", "✗ Not earning", "#c8161d"),
    ({"earning": None, "sentence": "", "problems": []},
     "warn", "! It is not told whether it earns", "#b35c00"),
    ({"earning": True, "problems": None}, "good", OK, "#11652c"),
    ({}, "warn", "! It is not told whether it earns", "#b35c00"),
]  # fmt: skip


def test_verdict_in_words_colour_title_and_icon(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """One glance at the page, its title or its icon tells the same."""
    miner.script = Made()
    chi = serve(miner.port)
    for verdict, level, headline, colour in VERDICTS:
        page = tab(chi, before=told(verdict))
        seen = read(page)
        assert (seen.level, seen.headline) == (level, headline)
        assert seen.title == f"{headline}: 99.39 TH/s"
        icon = urllib.parse.unquote(page.locator("link[rel=icon]").get_attribute("href") or "")
        assert icon.startswith("data:image/svg+xml,<svg")
        assert f"fill='{colour}'" in icon


@pytest.mark.parametrize("wrong", [0.0, -DAY, 7200.0])
@pytest.mark.parametrize("ago", [20, 600, 2 * DAY])
def test_since_when(tab: Open, serve: Serve, miner: ScriptedMiner, ago: int, wrong: float) -> None:
    """How long it has earned, or something has been wrong, is by chi's clock; since when by the browser's."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    now = time.time()
    verdict = {
        "earning": True,
        "since": now - ago,
        "sentence": "Earning.",
        "problems": [problem("x", since=now - ago)],
    }
    page = tab(chi, clock=now + wrong, before=told(verdict))
    words, took = Words(page), time.time() - now  # the clock of the page stands meanwhile
    day = (
        {"dateStyle": "medium", "timeStyle": "short"}
        if ago > DAY
        else {"hour": "2-digit", "minute": "2-digit"}
    )
    # The page knows chi's clock by the Date header, which has whole seconds.
    lasting = {f"for {words.duration(ago + late)}" for late in (-1, 0, took)}
    began = {f"since {words.time(now + wrong - ago - late, **day)}" for late in (0, took)}
    found = plain(page.locator("#problems small").inner_text()).strip()
    if ago < 60:
        assert read(page).lasting == "for less than a minute"
        assert found == ""
    else:
        assert read(page).lasting in {f"{each} · {since}" for each in lasting for since in began}
        assert found in lasting


def test_many_problems(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """More than twenty problems are counted, as chi tells up to fifty."""
    miner.script = Made()
    many = [problem(f"p{number}") for number in range(50)]
    page = tab(
        serve(miner.port),
        before=told({"earning": True, "since": 0, "sentence": "Earning.", "problems": many}),
    )
    assert page.locator("#problems li").count() == 21
    assert page.locator("#problems li").last.inner_text() == "and 30 more"


ROLES: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"active": True}, {}, {}], ["active: the first choice", "alive, takes over next", "alive, stands by"]),
    ([{"alive": False}, {"active": True}, {}],
     ["dead", "active as a backup: pool 0 is dead", "alive, takes over next"]),
    ([{}, {"active": True}], ["alive, takes over next", "active as a backup, though pool 0 comes first"]),
    ([{"alive": False}, {"alive": False}, {"active": True}],
     ["dead", "dead", "active as a backup: pools 0, 1 are dead"]),
    ([{"alive": None}, {"active": True}], ["not used", "active as a backup, though pool 0 comes first"]),
    ([{"active": True, "alive": False}, {}], ["active, but dead", "alive, takes over next"]),
    ([{"active": True, "priority": 5}, {"priority": 2, "alive": False}],
     ["active as a backup: pool 1 is dead", "dead"]),
    ([{"active": True}, {"vendor": True}],
     ["active: the first choice", "the maker's own: its fee is mined there"]),
    ([{}, {"vendor": True, "active": True}],
     ["alive, takes over next", "active: the maker's fee is mined there"]),
]  # fmt: skip


def test_pools_say_why(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Which pool is active, why that one, and which is next, is said in words; and how fast each answers."""
    miner.script = Made()
    chi = serve(miner.port)
    plain_status = chi.get("/status.json").json
    for pools, words in ROLES:
        rows = [
            {**plain_status["pools"][0], "pool": str(number), "priority": None, "active": False,
             "alive": True, "response_time": 0.0425, "rejected_reasons": {"stale": 3, "low difficulty": 1},
             **pool}
            for number, pool in enumerate(pools)
        ]  # fmt: skip
        page = tab(chi, before=lambda page, rows=rows: page.route(
            "**/status.json*", lambda route: route.fulfill(json={**plain_status, "pools": rows})
        ))  # fmt: skip
        seen = read(page)
        assert seen.states("pools") == words
        assert {each["pairs"]["Response"] for each in seen.pools} == {"42.5 ms"}
        assert {each["pairs"]["Rejected for"] for each in seen.pools} == {"stale: 3, low difficulty: 1"}


def test_boards_against_what_is_expected(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A board has a bar against its expected hashrate, else the best board's, and its state in words."""
    miner.script = Made()
    chi = serve(miner.port)
    status = chi.get("/status.json").json
    boards = [
        {"hashrate": 30e12, "hashrate_expected": 40e12, "state": "mining", "chips": 110,
         "chips_expected": 114, "voltage": 13.75},
        {"hashrate": 0, "hashrate_expected": 40e12, "state": "dead"},
        {"hashrate": 20e12, "hashrate_expected": None, "state": "sleeping"},
        {"hashrate": 50e12, "hashrate_expected": 40e12, "state": None},
        {"hashrate": None, "hashrate_expected": 40e12, "state": "missing"},
    ]  # fmt: skip
    status["chains"] = [{**status["chains"][0], "chain": str(n), **board} for n, board in enumerate(boards)]
    seen = read(
        tab(chi, before=lambda page: page.route("**/status.json*", lambda route: route.fulfill(json=status)))
    )
    assert seen.states("chains") == ["mining", "dead", "asleep", "hashing", "missing"]
    assert [each["bar"] for each in seen.chains] == ["75", "0", "40", "100", None]
    assert [each["lines"][0][0] for each in seen.chains[:4]] == [
        "30 TH/s · 75% of 40 TH/s expected", "0 H/s · 0% of 40 TH/s expected",
        "20 TH/s · 40% of the best board",
        "50 TH/s · 125% of 40 TH/s expected",
    ]  # fmt: skip
    assert (seen.chains[0]["pairs"]["Chips"], seen.chains[0]["pairs"]["Voltage"]) == ("110 of 114", "13.8 V")


@pytest.mark.parametrize(
    ("devices", "boards", "shown"), [(3, 3, 0), (1, 3, 0), (2, 3, 2), (3, 0, 3), (40, 0, 40)]
)
def test_devices_only_where_they_are_not_the_boards(
    tab: Open, serve: Serve, miner: ScriptedMiner, devices: int, boards: int, shown: int
) -> None:
    """Boards are not told twice, nor the whole miner as a device of its own."""
    miner.script = Made()
    chi = serve(miner.port)
    status = chi.get("/status.json").json
    status["devices"] = [{**status["devices"][0], "device": f"ASC{n}/0"} for n in range(devices)]
    status["chains"] = [{**status["chains"][0], "chain": str(n)} for n in range(boards)]
    page = tab(
        chi,
        size=PHONE,
        before=lambda page: page.route("**/status.json*", lambda route: route.fulfill(json=status)),
    )
    seen = read(page)
    assert len(seen.devices) == shown
    assert ("Devices" in seen.titles) == bool(shown)
    assert ("Boards" in seen.titles) == bool(boards)
    # Names do not break, and a table that does not fit says so.
    heights = {
        box["height"] for row in page.locator("#devices tbody tr").all() if (box := row.bounding_box())
    }
    assert max(heights, default=0) < 40
    scrolls = page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)(document.querySelector('.table'))"
    )
    assert page.locator("#devices p").is_visible() == (bool(shown) and scrolls)
    assert page.locator(".table").get_attribute("tabindex") == ("0" if shown and scrolls else None)


def test_a_share_gets_late_while_nobody_asks(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The age of the last share is by the miner's own clock, however wrong, and grows with a held answer."""
    miner.script = Made(*last_share(300))
    chi = serve(miner.port)
    for clock in (NOW, NOW + 400 * DAY, 1.2e9):
        seen = read(tab(chi, clock=clock))
        assert seen.cards["Last share"] == ["5 min ago", "one is expected every 45 s"]


# --- Plots ----------------------------------------------------------------------------------------


def eventful(ago: float) -> Rig | None:
    """An hour in which the miner did not answer for ten minutes, and was started anew after that."""
    if 1800 < ago <= 2400:
        return None
    counted = 20000 - int(ago / 11) if ago > 900 else int((900 - ago) / 11)
    return Rig(
        hashrate=100e12 + ago * 1e9,
        temperature=60 + ago / 360,
        shares_accepted=float(counted),
        shares_rejected=0.0 if ago <= 900 else 10.0,
        shares_stale=0.0,
    )


@dataclasses.dataclass
class Axes:
    """The scales of a drawn plot, read from its labels."""

    levels: dict[float, float]  # pixel by value
    times: list[tuple[float, str]]

    def value(self, pixel: float) -> float:
        """What is drawn at that height."""
        (low, bottom), *_, (high, top) = sorted(self.levels.items())
        return low + (bottom - pixel) / (bottom - top) * (high - low)


def axes(plot: dict[str, Any]) -> Axes:
    """The axes of a plot on a page in English."""
    levels = {float(text.replace(",", "")): y - 4 for text, anchor, _, y in plot["texts"] if anchor == "end"}
    return Axes(levels, [(x, text) for text, anchor, x, _ in plot["texts"] if anchor == "middle"])


def points(plot: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """The pixels of a plot's lines, of each line apart."""
    lines = [re.findall(r"(-?[0-9.]+) (-?[0-9.]+)", line) for line in plot["d"].split("M")[1:]]
    return [[(float(x), float(y)) for x, y in line] for line in lines]


def test_plots_are_there_at_once(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The first look shows the last hour, as it was: with its gap, and without a minus after a restart."""
    # What the page sees itself goes on from the history's end.
    miner.script = Made(("summary", 0, {"Accepted": 81, "Rejected": 0, "Stale": 0, "MHS 5s": 100e6}))
    chi = serve(miner.port, history=60)
    fill(chi, eventful)
    plots = read(tab(chi)).plots
    samples = chi.get("/history.json?range=1h").json["samples"]
    for name, factor in (("hashrate", 1e12), ("temperature", 1)):
        scale, lines = axes(plots[name]), points(plots[name])
        values = [value for value in samples[name] if value is not None]
        assert len(lines) == 2  # the gap parts them
        drawn = [scale.value(y) * factor for line in lines for _, y in line]
        # What the page saw itself comes after chi's samples.
        assert len(values) <= len(drawn) <= len(values) + 3
        for found, value in zip(drawn, values):
            assert found == pytest.approx(value, rel=0.01)
        xs = [x for line in lines for x, _ in line]
        assert xs == sorted(xs)
        assert lines[1][0][0] - lines[0][-1][0] == pytest.approx(615 / 15 * (xs[1] - xs[0]), rel=0.1)
    assert re.fullmatch(
        r"Hashrate: [0-9.]+ TH/s to 103\.6 TH/s, now [0-9.]+ TH/s", plots["hashrate"]["label"]
    )
    assert plots["temperature"]["label"].startswith("Temperature, hottest sensor: 60 °C to 7")
    scale, bars = axes(plots["shares"]), plots["shares"]["bars"]
    assert all(width > 0 and height >= 0 for _, _, _, width, height in bars)
    accepted = [bar for bar in bars if bar[0] == "accepted"]
    assert 24 <= len(accepted) <= 28
    rates = [scale.value(y) - scale.value(y + height) for _, _, y, _, height in accepted]
    # Ends, and what borders on the gap and the restart, are of fewer seconds, so of less certain a rate.
    assert len([rate for rate in rates if 4.4 < rate < 6.6]) >= len(rates) - 5
    assert all(0 <= rate < 10 for rate in rates)
    gap = [x for _, x, _, _, _ in accepted]
    assert max(after - before for before, after in itertools.pairwise(gap)) > 4 * (gap[1] - gap[0])
    assert re.match(r"Shares per minute: [0-9.]+ to [56][.0-9]*, now ", plots["shares"]["label"])


def test_ranges(tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch) -> None:
    """Buttons show an hour, six or a day; which it is can be heard, and stays while the page goes on."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(
        chi,
        lambda ago: Rig(hashrate=100e12 + ago * 1e8, temperature=60.0, shares_accepted=20000 - ago // 11),
        seconds=86400,
    )
    page = tab(chi, before=ask_anew)
    for name, hours, every in (("1 h", 1, 15), ("6 h", 6, 60), ("24 h", 24, 300)):
        if hours > 1:
            press(page, page.get_by_role("button", name=name, exact=True))
        pressed = page.locator("#ranges [aria-pressed=true]").all_inner_texts()
        assert pressed == [name]
        plots = read(page).plots
        (line,) = points(plots["hashrate"])
        assert 0.95 < len(line) / (hours * 3600 / every) < 1.1
        most = float(re.findall(r"to ([0-9.]+) TH", plots["hashrate"]["label"])[0])
        assert most == pytest.approx(100 + hours * 0.36, rel=0.005)
        assert line[0][0] == pytest.approx(44, abs=8)
        accepted = [bar for bar in plots["shares"]["bars"] if bar[0] == "accepted"]
        assert 20 <= len(accepted) <= 50
    look(page)
    assert page.locator("#ranges [aria-pressed=true]").all_inner_texts() == ["24 h"]


def test_ranges_after_a_long_outage(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """While the miner has been away for longer than the range, the buttons lead to what was before."""
    chi = serve(miner.port, history=60)
    fill(chi, lambda ago: Rig(hashrate=100e12, temperature=60.0) if ago > 7200 else None, seconds=86400)
    miner.close()
    page = tab(chi, before=ask_anew)
    assert page.locator("#nothing").is_visible()
    press(page, page.get_by_role("button", name="6 h", exact=True))
    assert not page.locator("#nothing").is_visible()
    assert points(read(page).plots["hashrate"])


def test_plots_start_with_the_data(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A chi that has run for minutes shows these minutes, and not an hour with a dot at its end."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi, seconds=600)
    plots = read(tab(chi)).plots
    (line,) = points(plots["hashrate"])
    assert len(line) >= 40
    assert line[0][0] == pytest.approx(44, abs=4)
    assert plots["shares"]["bars"][0][1] < 80


def test_plots_compare(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The hashrate stands against its average and what is expected, the temperature against its limit."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi, lambda ago: Rig(hashrate=90e12 if ago > 1800 else 110e12, temperature=70.0))
    status = chi.get("/status.json").json
    status["rig"]["hashrate_expected"] = 120e12
    page = tab(
        chi, before=lambda page: page.route("**/status.json*", lambda route: route.fulfill(json=status))
    )
    plots = read(page).plots
    limits = chi.get("/history.json?range=1h").json["limits"]

    def value(plot: dict[str, Any], name: str) -> float:
        (y,) = re.findall(r"^M[0-9.]+ ([0-9.]+)H", plot[name])
        return axes(plot).value(float(y))

    assert value(plots["hashrate"], "average") == pytest.approx(100, rel=0.02)
    assert value(plots["hashrate"], "expected") == pytest.approx(120, rel=0.01)
    assert value(plots["temperature"], "limit") == pytest.approx(limits["chip_temperature"], rel=0.01)
    assert plots["hashrate"]["keys"] == ["average", "expected"]
    assert plots["temperature"]["keys"] == ["limit"]
    for chain in status["chains"]:
        chain["chip_temperature"] = None
    look(page)
    plot = read(page).plots["temperature"]
    assert value(plot, "limit") == pytest.approx(limits["board_temperature"], rel=0.01)
    status["chains"] = []
    status["rig"]["hashrate_expected"] = None
    look(page)
    plots = read(page).plots
    assert value(plots["temperature"], "limit") == pytest.approx(limits["device_temperature"], rel=0.01)
    assert (plots["hashrate"]["expected"], plots["hashrate"]["keys"]) == ("", ["average"])


def test_keys_read_a_plot(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """With the keyboard a value and its time are told, and heard, one after another; Escape ends that."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi, lambda ago: Rig(hashrate=100e12 + ago * 1e9, temperature=60.0))
    page = tab(chi, clock=time.time())
    svg = page.locator("#hashrate svg")
    whole = read(page).plots["hashrate"]["caption"]
    svg.focus()
    heard = []
    for key in ("Home", "ArrowRight", "PageUp", "End", "ArrowLeft"):
        page.keyboard.press(key)
        caption = read(page).plots["hashrate"]["caption"]
        assert re.fullmatch(r"\d\d:\d\d [AP]M: [0-9.]+ TH/s", caption)
        assert plain(svg.get_attribute("aria-valuetext")) == caption
        heard.append(int(svg.get_attribute("aria-valuenow") or -1))
    last = int(svg.get_attribute("aria-valuemax") or -1)
    assert heard[:2] == [0, 1]
    assert 10 < heard[2] < 40
    assert heard[3:] == [last, last - 1]
    page.keyboard.press("Escape")
    assert read(page).plots["hashrate"]["caption"] == whole


def test_finger_reads_a_plot(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A tap tells a value, of each plot at the same time, which stays when the finger is lifted."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, size=PHONE, has_touch=True, is_mobile=True, before=ask_anew)
    page.locator("#temperature svg").tap(position={"x": 150, "y": 60})
    captions = [read(page).plots[name]["caption"] for name in PLOTS]
    assert all(re.fullmatch(r"\d\d:\d\d [AP]M: [0-9.]+( .*)?", caption) for caption in captions), captions
    assert captions[0][:8] == captions[1][:8]
    look(page)
    assert read(page).plots["temperature"]["caption"] == captions[1]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("wrong", [0, DAY, -3600])
def test_times_of_plots_are_the_browsers(
    tab: Open, serve: Serve, miner: ScriptedMiner, zone: str, wrong: float
) -> None:
    """Labels are round times of the browser's zone and clock; a wrong clock moves nothing else."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    now = time.time()
    page = tab(chi, timezone_id=zone, clock=now + wrong)
    seen, words = read(page), Words(page)
    width = float(page.locator("#hashrate svg").get_attribute("viewBox").split()[2])
    left = 3.7 * 12  # pixels, by the size of letters
    for name in PLOTS:
        labels = axes(seen.plots[name]).times
        assert 3 <= len(labels) <= 5
        for x, text in labels:
            at = now + wrong - 3600 + (x - left) / (width - left - 4) * 3600
            near = round(at / 900) * 900
            assert at == pytest.approx(near, abs=20)  # of the bin with which the plot begins
            assert text == words.time(near, hour="2-digit", minute="2-digit")
    (line,) = points(seen.plots["hashrate"])
    assert len(line) >= 240
    assert line[0][0] < left + 0.02 * width
    assert line[-1][0] == pytest.approx(width - 4, abs=2)


def test_pointer_reads_a_plot(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Where the pointer is, a value and its time are told; where it leaves, the whole again."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi, eventful)
    page = tab(chi)
    for name, pattern in (
        ("hashrate", r"\d\d:\d\d [AP]M: 10\d(\.\d)? TH/s"),
        ("temperature", r"\d\d:\d\d [AP]M: 6\d(\.\d)? °C"),
        ("shares", r"\d\d:\d\d [AP]M: \d(\.\d+)?"),
    ):
        whole = read(page).plots[name]["caption"]
        svg = page.locator(f"#{name} svg")
        box = svg.bounding_box()
        assert box is not None
        svg.hover(position={"x": box["width"] * 0.6, "y": 60})
        assert re.fullmatch(pattern, read(page).plots[name]["caption"])
        assert svg.locator(".cursor").is_visible()
        page.mouse.move(2, 2)
        assert read(page).plots[name]["caption"] == whole
        assert svg.locator(".cursor").is_hidden()


def test_pointer_keeps_its_place_while_the_page_goes_on(
    tab: Open, serve: Serve, miner: ScriptedMiner
) -> None:
    """A value that somebody reads does not vanish with the next look at the miner."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi, eventful)
    page = tab(chi)
    page.locator("#hashrate svg").hover(position={"x": 200, "y": 60})
    before = read(page).plots["hashrate"]["caption"]
    look(page)
    assert read(page).plots["hashrate"]["caption"] == before


def test_no_history_no_plots(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """With --history 0 there are none, and no heading of theirs."""
    miner.script = Made()
    page = tab(serve(miner.port, history=0))
    assert read(page).plots == dict.fromkeys(PLOTS)
    expect(page.locator("#history")).to_be_hidden()
    assert read(page).level == "good"


def test_plots_do_not_wait_for_the_miner(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A miner that takes its time does not keep the last hour from whoever opens the page."""
    go = threading.Event()
    miner.script = lambda sent: [go, *Made()(sent)]
    chi = serve(miner.port, history=60, timeout=20.0)
    fill(chi)
    page = tab(chi, look=False)
    try:
        expect(page.locator("#hashrate .line")).to_be_visible(timeout=3000)
    finally:
        go.set()
    ended(page, 0)
    assert read(page).headline == OK


def test_no_such_figures_no_plots(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """A miner that tells no temperature gets no plot of it, and one value is enough for a dot."""
    miner.script = Made(("devs", ALL, {"Temperature": None}), without=("stats",))
    chi = serve(miner.port, history=60)
    plots = read(tab(chi)).plots
    assert plots["temperature"] is None
    assert len(points(plots["hashrate"])) == 1
    assert plots["hashrate"]["label"] == "Hashrate: 99.39 TH/s to 99.39 TH/s, now 99.39 TH/s"
    assert plots["shares"] is None


# --- Bad days -------------------------------------------------------------------------------------


HATCHED = "getComputedStyle(document.querySelector('#cards > div')).backgroundImage"


def test_outage_of_the_miner(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """When the miner stops, a banner says for how long and why, and all goes on when it is back."""
    miner.script = Made()
    chi = serve(miner.port)  # without a history, whose clock, chi's, does not stand
    now = float(int(time.time()))
    page = tab(chi, clock=now, before=ask_anew)
    good = read(page)
    assert (good.headline, good.banner) == (OK, "")
    miner.close()
    wait(page, 5)
    seen = read(page)
    assert seen.banner.startswith(
        f"The miner has not answered for 5 s: The miner's API at 127.0.0.1:{miner.port} refuses"
    )
    assert seen.headline == f"No data since {Words(page).time(now, hour='2-digit', minute='2-digit')}"
    assert (seen.level, seen.title) == ("bad", "✗ No data: miner")
    # What was known stays, as something old: it says so, and is seen to be, whatever its colours.
    assert seen.cards["Hashrate"] == good.cards["Hashrate"]
    assert (seen.chains, seen.updated) == (good.chains, good.updated)
    assert seen.titles[:2] == ["Last known, 5 s ago", "Boards: last known, 5 s ago"]
    assert "gradient" in page.evaluate(HATCHED)
    page.clock.run_for(595_000)
    wait(page, 10)
    seen = read(page)
    assert seen.banner.startswith("The miner has not answered for 10 min: ")
    assert seen.titles[0] == "Last known, 10 min ago"
    assert seen.cards["Last share"][0] == "10 min ago"
    with ScriptedMiner(Made(), port=miner.port):
        wait(page, 5)
        seen = read(page)
        assert (seen.headline, seen.level, seen.banner) == (OK, "good", "")
        assert seen.titles[0] == "Now"
        assert page.evaluate(HATCHED) == "none"


def test_opened_while_the_miner_is_down(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The history tells since when, and is shown."""
    miner.close()
    chi = serve(miner.port, history=60)
    fill(chi, lambda ago: made_up(ago) if ago > 600 else None)
    now = float(int(time.time()))
    page = tab(chi, clock=now)
    seen = read(page)
    assert re.match(r"The miner has not answered for 10 min: The miner's API at ", seen.banner)
    since = {Words(page).time(now - ago, hour="2-digit", minute="2-digit") for ago in (600, 631)}
    assert seen.headline.removeprefix("No data since ") in since
    assert all(seen.plots.values())
    assert (seen.cards, seen.pools, seen.button) == ({}, [], "")


def test_opened_while_the_miner_is_down_and_nothing_is_known(
    tab: Open, serve: Serve, miner: ScriptedMiner
) -> None:
    """Then it says just that, and shows no headings without anything under them."""
    miner.close()
    chi = serve(miner.port, history=60)
    page = tab(chi)
    seen = read(page)
    assert seen.banner.startswith("The miner does not answer: The miner's API at ")
    assert seen.headline == "No data"
    assert seen.button == ""
    assert (
        page.evaluate("[...document.querySelectorAll('h2')].filter((each) => each.checkVisibility()).length")
        == 0
    )


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([HOLD], "The miner did not answer within 0.3 s"),
        ([], "closed the connection without a reply"),
        ([b"cgminer has crashed\0"], "does not report a summary"),
        (
            [b'{"STATUS":[{"STATUS":"E","Code":23,"Msg":"Invalid JSON"}],"id":1}\0'],
            "does not report a summary",
        ),
    ],
)
def test_banner_says_why(
    tab: Open, serve: Serve, miner: ScriptedMiner, steps: list[Step], words: str
) -> None:
    """Whatever is wrong with the miner's answer is told in the words of the error."""
    miner.script = steps
    seen = read(tab(serve(miner.port, timeout=0.3)))
    assert seen.banner.startswith("The miner does not answer: ")
    assert words in seen.banner


def test_outage_of_chi(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """When chi stops, the page says so, and goes on by itself when it is back on its port."""
    miner.script = Made()
    chi = serve(miner.port)
    page = tab(chi, clock=time.time(), before=ask_anew)
    chi.stop()
    wait(page, 5)
    seen = read(page)
    assert seen.banner.startswith("chi has not answered for 5 s: ")
    assert seen.headline.startswith("No data since ")
    serve(miner.port, http_port=chi.port)
    wait(page, 5)
    seen = read(page)
    assert (seen.headline, seen.banner) == (OK, "")


SAID = {"STATUS": [{"STATUS": "E", "Msg": "out of coffee"}]}
NOT_IT = ("", "<html>", "{", "null", "[]", "5", '"text"', "{}", '{"rig": null}', '{"rig": {}}')
NONSENSE: list[tuple[int, str]] = [
    *[(200, text) for text in NOT_IT],
    (200, '{"rig": 5, "pools": 5, "chains": {}, "devices": "x", "fans": null}'),
    *[(status, text) for status in (500, 502, 404) for text in NOT_IT],
    (500, json.dumps(SAID)), (502, json.dumps(SAID)),
    (503, '{"STATUS": 5}'), (502, '{"STATUS": [{"Msg": {}}]}'),
]  # fmt: skip


@pytest.mark.parametrize("name", ["status", "history"])
def test_nonsense_instead_of_chi(tab: Open, serve: Serve, miner: ScriptedMiner, name: str) -> None:
    """Whatever else answers, as a proxy between may, gives a banner, never an error; then all goes on."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, before=ask_anew)
    wrong = []

    def answer(route: Route, status: int, body: str) -> None:
        route.fulfill(status=status, body=body)

    for status, body in NONSENSE:
        page.route(f"**/{name}.json*", functools.partial(answer, status=status, body=body))
        if name == "history":
            page.reload()
            ended(page, 0)
        else:
            look(page)
        seen = read(page)
        if not seen.banner or "fault" in seen.banner or not seen.headline.startswith("No data"):
            wrong.append((status, body, seen.banner, seen.headline))
        if "coffee" in str(body) and not seen.banner.endswith("out of coffee"):
            wrong.append((status, body, seen.banner))
        page.unroute(f"**/{name}.json*")
    if name == "history":
        page.reload()
        ended(page, 0)
    look(page)
    seen = read(page)
    assert wrong == []
    assert (seen.headline, seen.banner) == (OK, "")
    assert all(seen.plots.values())


def test_token_that_is_no_longer_good(
    tab: Open, serve: Serve, miner: ScriptedMiner, token_file: Path
) -> None:
    """When chi no longer takes the browser's token, the page says that it needs one."""
    miner.script = Made()
    chi = serve(miner.port, token_file=str(token_file), private=True)
    credentials = {"username": "owner", "password": TOKEN}
    page = tab(chi, clock=time.time(), http_credentials=credentials)
    assert read(page).headline == OK
    chi.stop()
    token_file.write_text("another-horse-battery-staple")
    serve(miner.port, token_file=str(token_file), private=True, http_port=chi.port)
    wait(page, 5)
    seen = read(page)
    assert "requires the token" in seen.banner
    assert seen.cards["Hashrate"]


# --- How often it asks ----------------------------------------------------------------------------


def statuses(watch: Watch) -> int:
    """How often pages have asked for the status."""
    return sum("/status.json" in line for line in watch.asked)


def test_asks_every_five_seconds(tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch) -> None:
    """A page that is seen asks for the status every 5 s, and for the history every 15 s."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    page = tab(chi, clock=time.time())
    for _ in range(12):
        before = looks(page)
        page.clock.run_for(4_900)
        assert looks(page) == before
        wait(page, 0.1)
    assert statuses(watch) == 13
    assert 4 <= sum("/history.json" in line for line in watch.asked) <= 5
    assert set(page.evaluate("window.pauses")) == {5000}


@pytest.fixture
def background(driver: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    """A Chromium whose tabs can be hidden, as people's can: a driven one has its page always seen."""
    with subprocess.Popen(
        [
            CHROMIUM,
            "--headless",
            "--remote-debugging-port=0",
            f"--user-data-dir={tmp_path}",
            *FLAGS,
            "about:blank",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = next(filter(None, (re.search(r"listening on (ws:\S+)", line) for line in process.stderr)))
        drain = threading.Thread(target=collections.deque, args=(process.stderr, 0), daemon=True)
        drain.start()
        try:
            yield driver.chromium.connect_over_cdp(told[1], no_defaults=True).contexts[0]
        finally:
            process.terminate()
            process.wait(10)
            drain.join(10)


def test_does_not_ask_while_hidden(
    background: BrowserContext, serve: Serve, miner: ScriptedMiner, watch: Watch
) -> None:
    """In a hidden tab the page asks nothing, and at once when it is seen again."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    page = background.pages[0]
    watch.over(page)
    now = time.time()
    page.clock.install(time=now - 1)
    page.clock.pause_at(now)
    page.add_init_script(COUNT_LOOKS)
    page.goto(f"http://127.0.0.1:{chi.port}/dashboard")
    ended(page, 0)
    wait(page, 5)
    other = background.new_page()
    page.wait_for_function("() => document.hidden")
    asked = len(watch.asked)
    before = looks(page)
    page.clock.run_for(600_000)
    other.goto(f"http://127.0.0.1:{chi.port}/healthz")  # by when the page would have asked as well
    assert looks(page) == before
    assert len(watch.asked) == asked
    page.bring_to_front()
    ended(page, before)
    assert statuses(watch) == 3
    wait(page, 5)
    assert statuses(watch) == 4


def test_many_viewers_cost_the_miner_one_request(
    tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch
) -> None:
    """However many look and whenever they came, the miner is asked once in a round, not once for each."""
    times: list[float] = []
    made = Made()

    def script(sent: bytes) -> list[Step]:
        if b"pools" in sent:  # else it is a sample of the history, one in 15 s, which is of no viewer
            times.append(time.monotonic())
        return made(sent)

    miner.script = script
    chi = serve(miner.port, history=60)
    chi.get("/status.json")  # the first has to find out what the miner takes
    learnt = len(times)
    pages = [tab(chi) for _ in range(4)]
    for rounds in (2, 3):
        clients = [
            threading.Thread(
                target=request, args=(chi.port, "/status.json"), kwargs={"Cache_Control": "max-age=4"}
            )
            for _ in range(30)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        for page in pages:
            page.wait_for_function("rounds => window.looks() >= rounds", arg=rounds, timeout=20_000)
    asked = times[learnt:]
    # Three rounds; who comes while an answer is being read may cost one more.
    assert 2 <= len(asked) <= 4
    assert sum(after - before < 3.9 for before, after in itertools.pairwise(times[learnt - 1 :])) <= 1
    assert statuses(watch) >= 12
    shared = [header.get("cache-control") for header in watch.headers]
    assert shared.count("max-age=4") == statuses(watch)


# --- Hostile data ---------------------------------------------------------------------------------

EVIL = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "quotes": "\"'><svg onload=alert(1)>`${alert(1)}",
    "entities": "&amp;&lt;b&gt;&#x3c;i>",
    "control": "a\u0000b\u0007c\u001b[31md\r\ne",
    "bidi": "\u202eevil\u2066\u2067\u200f\u05d0\u05d1",
    "long": "x" * 250,
    "wide": "W\u00a0" * 120,
    "emoji": "👨‍👩‍👧‍👦" * 40,
    "marks": "Z" + "\u0351" * 190,
    "markup": "</bdi></td></table><style>*{display:none}</style><base href=//evil.example>",
    "url": "javascript:alert(1)",
}
ELEMENTS = "[...document.querySelectorAll(':not(bdi)')].map((each) => each.localName).sort()"


def hostile(text: str) -> Made:
    """A miner that says so wherever it can."""
    return Made(
        ("pools", ALL, {"URL": text, "User": text}),
        ("devs", ALL, {"Name": text}),
        ("stats", 0, {"Type": text, "Miner": text, "CompileTime": text}),
        ("version", 0, {"CGMiner": text, "API": text}),
        ("stats", 1, {"ID": text}),
    )


def test_hostile_texts_of_the_miner_are_texts(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """What a miner or a pool says is shown as it is, is never markup, and widens nothing."""
    miner.script = hostile("harmless")
    page = tab(serve(miner.port), size=PHONE, before=ask_anew)
    press(page, page.locator("#users"))
    expect(page.locator("#pools")).to_contain_text("User")
    elements = page.evaluate(ELEMENTS)
    for name, text in EVIL.items():
        miner.script = hostile(text)
        look(page)
        seen = read(page)
        shown = "".join(char if char.isprintable() else " " for char in text[:200]).strip()
        cells = [*page.locator("#pools p bdi").all_text_contents(), page.locator("#name").text_content()]
        assert (cells.count(shown), cells.count(f"User: {shown}".strip())) == (3, 2), (name, cells)
        assert page.evaluate(ELEMENTS) == elements, name
        assert seen.width == PHONE[0], name
        assert seen.banner == ""


def test_hostile_texts_of_anybody_are_texts(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The same of texts that chi would not let pass: the page relies on nobody."""
    miner.script = Made()
    chi = serve(miner.port)
    plain_status = chi.get("/status.json?users").json
    page = tab(chi, size=PHONE, before=ask_anew)
    press(page, page.locator("#users"))
    expect(page.locator("#pools")).to_contain_text("User")
    answer: dict[str, Any] = {}
    page.route("**/status.json*", lambda route: route.fulfill(**answer))
    elements = None
    for name, text in {"harmless": "harmless", **EVIL}.items():
        status = copy.deepcopy(plain_status)
        status["rig"].update(
            dict.fromkeys(("software", "version", "api", "model", "firmware", "algorithm"), text)
        )
        status["devices"] = status["devices"] * 2  # so that they are not the boards
        for part, names in (("pools", ("pool", "url", "user")), ("devices", ("device", "name")),
                            ("chains", ("chain", "state")), ("fans", ("fan",))):  # fmt: skip
            for row in status[part]:
                row.update(dict.fromkeys(names, text))
        status["pools"][0]["rejected_reasons"] = {text: 1}
        status["verdict"] = {"earning": True, "since": None, "sentence": text,
                             "problems": [problem("x", f"board {text}") | {"sentence": text}]}  # fmt: skip
        answer.update(status=200, json=status)
        look(page)
        seen = read(page)
        assert page.locator("#problems li bdi").first.text_content() == text, name
        assert page.locator("#pools h3").first.text_content() == f"Pool {text}", name
        assert page.locator("#chains .head span bdi").first.text_content() == text, name
        assert page.locator("#devices tbody th").first.text_content() == text, name
        elements = elements or page.evaluate(ELEMENTS)
        assert page.evaluate(ELEMENTS) == elements, name
        assert seen.width == PHONE[0], name
        answer.update(status=502, json={"STATUS": [{"STATUS": "E", "Msg": text}]})
        look(page)
        assert page.locator("#banner bdi").text_content().endswith(f": {text}"), name
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0], name
        assert page.locator("#banner bdi *").count() == 0


# --- Replies of any shape -------------------------------------------------------------------------

BARE = {"@NaN@": "NaN", "@-Infinity@": "-Infinity", "@huge@": "1e999"}
DEEP: Any = functools.reduce(lambda inner, _: [inner], range(40), {})
WRONG: list[Any] = [
    None, "", "text", "nan", "-1", "1e300", "x" * 5000, [], [[]], {}, {"a": {"b": []}}, True, False, 0, -1,
    -1e300, 1e300, 1e18, 5e-324, 2**63, *BARE, DEEP,
]  # fmt: skip


def replies_of(golden: str) -> dict[str, Any]:
    """The parsed replies of a firmware, by command."""
    found = {}
    for path in sorted((GOLDEN / golden).glob("*.reply")):
        found[path.stem] = json.loads(replies.read_reply(path.read_bytes().rstrip(b"\0")).body)
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a value where another can stand: container, and key or index."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


def mutated(replies: dict[str, Any], chance: random.Random, share: float | None) -> dict[str, Any]:
    """The replies, with a share of their places wrong or missing; one of the summary with None."""
    changed = copy.deepcopy(replies)
    found = list(places(changed))
    if share is None:
        chosen = [chance.choice(list(places(changed["summary"])))]
    else:
        chosen = chance.sample(found, max(1, int(len(found) * share)))
    for container, key in chosen:
        if isinstance(container, dict) and chance.random() < 0.2:
            container.pop(key, None)
        elif isinstance(container, list) or key in container:
            container[key] = chance.choice(WRONG)
    return changed


def script_of(replies: dict[str, Any], joins: bool) -> Callable[[bytes], list[Step]]:
    """A script that gives them."""

    def script(sent: bytes) -> list[Step]:
        command: str = json.loads(sent)["command"]
        unknown = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}], "id": 1}
        whole: Any = replies.get(command, unknown)
        if "+" in command and joins:
            whole = {name: [replies.get(name, unknown)] for name in command.split("+")}
        text = json.dumps(whole)
        for name, bare in BARE.items():
            text = text.replace(f'"{name}"', bare)
        return [text.encode() + b"\0"]

    return script


@pytest.mark.parametrize("golden", FIRMWARES)
def test_replies_of_any_shape(tab: Open, serve: Serve, miner: ScriptedMiner, golden: str) -> None:
    """Fields that are missing, of a wrong type, huge, negative or no number never leave an empty page."""
    chance = random.Random(golden)
    replies = replies_of(golden)
    miner.script = script_of(replies, golden != "whatsminer")
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, size=PHONE, before=ask_anew)
    press(page, page.locator("#users"))
    shown = 0
    for share in [None] * 10 + [0.02, 0.05, 0.1, 0.3] * 4:
        changed = mutated(replies, chance, share)
        miner.script = script_of(changed, golden != "whatsminer")
        look(page)
        seen = read(page)
        assert seen.headline, changed
        assert seen.cards, changed
        assert "fault" not in seen.banner, (seen.banner, changed)
        assert not re.search("NaN|undefined|null|Infinity|∞", page.inner_text("main")), changed
        assert seen.width == PHONE[0], changed
        assert all(width >= 0 and height >= 0 for _, _, _, width, height in seen.plots["shares"]["bars"])
        assert "NaN" not in seen.plots["hashrate"]["d"]
        shown += not seen.banner
    assert shown >= 8  # else these would be tests of the banner


# --- For everybody --------------------------------------------------------------------------------


def barriers(page: Page) -> list[str]:
    """What axe-core finds wrong: the rule, and where."""
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    code = "tags => axe.run({runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"
    found = page.evaluate(code, tags)
    assert len(found["passes"]) > 15
    return [f"{each['id']}: {node['target']}" for each in found["violations"] for node in each["nodes"]]


MANY_WRONGS = Made(
    ("stats", 1, {"chain_rate2": "0", "chain_acn3": 110, "temp_chip1": "120"}),
    ("summary", 0, {"Accepted": 100, "Rejected": 40, "MHS 5s": 50e6}),
    ("pools", 1, {"Status": "Dead"}),
    *last_share(300),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_axe_finds_no_barrier(
    tab: Open, serve: Serve, miner: ScriptedMiner, scheme: str, size: tuple[int, int]
) -> None:
    """On a good day, on a bad one, in an outage and when opened in one, axe-core finds nothing."""
    chi = serve(miner.port, history=60)
    fill(chi, eventful)
    found = {}
    for name, script in (("good", Made()), ("bad", MANY_WRONGS), ("outage", None), ("opened in it", None)):
        if script:
            miner.script = script
            page = tab(chi, size=size, color_scheme=scheme, before=ask_anew)
            press(page, page.locator("#users"))
            expect(page.locator("#pools")).to_contain_text("demo.worker1")
        elif name == "outage":
            miner.close()
            look(page)
            assert read(page).banner
        else:
            page = tab(chi, size=size, color_scheme=scheme)
        found[name] = barriers(page)
    page = tab(serve(miner.port, history=60), size=size, color_scheme=scheme)
    found["nothing known"] = barriers(page)
    assert found == {name: [] for name in found}


def test_keyboard_reaches_all(tab: Open, serve: Serve, miner: ScriptedMiner, watch: Watch) -> None:
    """Tab goes through all with a focus one sees; Enter shows users and hides them."""
    miner.script = Made(without=("stats",))  # so that there are devices
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, size=PHONE, before=ask_anew)
    reached = []
    focus = """() => {
        const {id, localName, innerText} = document.activeElement;
        const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
        const inside = document.activeElement.closest("figure, section[id]:not(#facts)")?.id ?? "";
        const what = localName === "div" ? "table" : innerText ?? localName;
        return [`${inside} ${what}`.trim(), `${outlineStyle} ${outlineWidth}`];
    }"""
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focus))
    assert [name for name, _ in reached][:-1] == [
        "history 1 h", "history 6 h", "history 24 h", "hashrate svg", "temperature svg", "shares svg",
        "pools Show users", "pools Use this pool", "pools Disable this pool", "devices table",
        "controls Restart the miner", "status.json", "history.json", "metrics", "what the miner says",
    ]  # fmt: skip
    assert {outline for _, outline in reached[:-1]} == {"solid 3px"}
    frame = page.locator("#devices .table")
    frame.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#devices .table').scrollLeft > 0")

    user = demo.USER
    assert user not in page.content()
    assert not any("users" in line for line in watch.asked)
    button = page.locator("#users")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pools")).to_contain_text(user)
    expect(button).to_be_focused()
    expect(button).to_have_text("Hide users")
    assert button.get_attribute("aria-pressed") is None  # its text says the state, once
    page.keyboard.press("Enter")
    expect(page.locator("#pools")).not_to_contain_text(user)
    expect(button).to_have_text("Show users")
    assert user not in page.content()


def test_users_are_shown_where_the_finger_is(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """On a telephone the users come into view below the button that was touched, which stays where it is."""
    miner.script = Made()
    page = tab(serve(miner.port), size=PHONE, has_touch=True, is_mobile=True, before=ask_anew)
    button = page.locator("#users")
    button.scroll_into_view_if_needed()
    page.evaluate("document.getElementById('users').scrollIntoView({block: 'center'})")
    before = button.bounding_box()
    button.tap()
    shown = page.get_by_text(f"User: {demo.USER}").first
    expect(shown).to_be_in_viewport()
    after = button.bounding_box()
    assert before is not None
    assert after is not None
    assert after["y"] == before["y"]


def test_users_are_hidden_at_once(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Who hides the users need not wait for the miner, which may not answer."""
    miner.script = Made()
    page = tab(serve(miner.port), before=ask_anew)
    press(page, page.locator("#users"))
    expect(page.locator("#pools")).to_contain_text(demo.USER)
    miner.close()
    look(page)
    page.locator("#users").click()
    expect(page.locator("#pools")).not_to_contain_text(demo.USER, timeout=2000)


def test_a_selection_stays(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """What somebody has marked to copy, and where they have scrolled, is theirs while figures change."""
    miner.script = Made(without=("stats",))
    page = tab(serve(miner.port), size=PHONE, before=ask_anew)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#pools p'))")
    page.evaluate("document.querySelector('.table').scrollLeft = 50")
    miner.script = Made(
        ("summary", 0, {"Accepted": 5000, "MHS 5s": 99e6}),
        ("pools", 0, {"Accepted": 4000}),
        without=("stats",),
    )
    look(page)
    assert read(page).cards["Accepted"][0] == "5,000"
    assert page.evaluate("getSelection().toString()").strip() == "stratum+tcp://pool.example.com:3333"
    assert page.evaluate("document.querySelector('.table').scrollLeft") == 50


def test_without_javascript(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """There is a sentence, with links that lead to JSON."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    page = tab(chi, look=False, java_script_enabled=False)
    expect(page.locator("noscript p")).to_be_visible()
    assert "JavaScript" in page.locator("main").inner_text()
    links = page.locator("noscript a").all()
    assert len(links) >= 2
    for link in links:
        answer = chi.get("/" + str(link.get_attribute("href")))
        assert answer.status == 200
        assert answer.json
        assert b"\n" in answer.body  # for eyes


# --- Who may see it -------------------------------------------------------------------------------


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def test_private(tab: Open, browser: Browser, serve: Serve, miner: ScriptedMiner, token_file: Path) -> None:
    """With --private there is nothing without the token, and all with it, however the browser got it."""
    miner.script = Made()
    chi = serve(miner.port, token_file=str(token_file), private=True, history=60)
    base = f"http://127.0.0.1:{chi.port}"
    answer = chi.get("/dashboard")
    assert answer.status == 401
    assert any(each.startswith("Basic ") for each in answer.headers.get_all("WWW-Authenticate"))
    assert b"<script" not in answer.body
    assert miner.requests == []
    # As after the browser's own dialogue, and with what is in the address.
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(base.replace("//", f"//owner:{TOKEN}@") + "/dashboard")
        expect(page.locator("#headline")).to_have_text(OK)
        assert TOKEN not in page.content()
    page = tab(chi, http_credentials={"username": "any", "password": TOKEN})
    seen = read(page)
    assert (seen.headline, seen.banner) == (OK, "")
    assert seen.plots["hashrate"]


def test_read_only(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """With --read-only the page is the same: it asks for nothing else."""
    miner.script = Made()
    page = tab(serve(miner.port, read_only=True))
    seen = read(page)
    assert seen.headline == OK
    assert seen.controls == ""
    assert [pool["links"] for pool in seen.pools] == [[], []]
    assert set(miner.commands) == {"version+summary+pools+devs+stats"} or all(
        set(command.split("+")) <= {"version", "summary", "pools", "devs", "stats"}
        for command in miner.commands
    )


def test_controls(tab: Open, browser: Browser, serve: Serve, miner: ScriptedMiner, token_file: Path) -> None:
    """Who may change the miner finds controls; each leads to a page that confirms it, and back."""
    miner.script = Made(("pools", 1, {"Status": "Disabled"}))
    for settings in ({}, {"token_file": str(token_file)}, {"token_file": str(token_file), "private": True}):
        chi = serve(miner.port, **settings)
        page = tab(chi, http_credentials={"username": "any", "password": TOKEN})
        seen = read(page)
        links = [
            ["Use this pool", "switchpool/1"],
            ["Enable this pool", "enablepool/1"],
            ["Disable this pool", "disablepool/1"],
        ]
        assert [pool["links"] for pool in seen.pools] == [[], links]
        assert ("asked for the token" in seen.controls) == bool(settings)
    context = browser.new_context(http_credentials={"username": "any", "password": TOKEN})
    page = context.new_page()
    for name, sent in (
        ("Restart the miner", {"command": "restart"}),
        ("Use this pool", {"command": "switchpool", "parameter": "1"}),
        ("Enable this pool", {"command": "enablepool", "parameter": "1"}),
    ):
        page.goto(f"http://127.0.0.1:{chi.port}/dashboard")
        page.get_by_role("link", name=name).click()
        page.get_by_role("button", name="Send it").wait_for()
        page.get_by_role("link", name="Back to the dashboard").click()
        page.get_by_role("link", name=name).click()
        assert not any(json.loads(each)["command"] == sent["command"] for each in miner.requests)
        page.get_by_role("button", name="Send it").click()
        expect(page.locator("body")).to_contain_text("STATUS")
        privileged = [
            json.loads(each) for each in miner.requests if json.loads(each)["command"] == sent["command"]
        ]
        assert privileged == [sent]
    context.close()


def test_page_cannot_be_framed(browser: Browser, evil: Site, serve: Serve, miner: ScriptedMiner) -> None:
    """In a frame of another site, there is no page."""
    chi = serve(miner.port)
    evil.pages["/frame"] = f"<!DOCTYPE html><iframe src='http://127.0.0.1:{chi.port}/dashboard'></iframe>"
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{evil.origin}/frame")
        page.wait_for_function("() => frames.length === 1")
        assert page.frames[1].url.startswith("chrome-error:")
        assert page.frames[1].locator("#headline").count() == 0
    assert miner.requests == []


def test_policy_keeps_what_is_not_chis_out(
    browser: Browser, evil: Site, serve: Serve, miner: ScriptedMiner
) -> None:
    """Should a text ever become markup, the policy still lets it run nothing and send nothing anywhere."""
    miner.script = Made()
    chi = serve(miner.port)
    with browser.new_context() as context:
        page = context.new_page()
        violations: list[str] = []
        page.on("console", lambda message: violations.append(message.text))
        page.goto(f"http://127.0.0.1:{chi.port}/dashboard")
        expect(page.locator("#headline")).to_have_text(OK)
        outcome = page.evaluate(
            """async (evil) => {
                const tried = [];
                try {
                    document.body.innerHTML = "<b>x</b>";
                    tried.push("markup");
                } catch {
                    tried.push("refused");
                }
                tried.push(await fetch(evil).then(() => "sent", () => "refused"));
                const image = new Image();
                const loaded = new Promise((done) => {
                    image.onload = image.onerror = (event) => done(event.type);
                });
                image.src = `${evil}/image.png`;
                tried.push(await loaded);
                return tried;
            }""",
            evil.origin,
        )
        assert outcome == ["refused", "refused", "error"]
        assert (
            len([text for text in violations if "Content Security Policy" in text or "TrustedHTML" in text])
            >= 2
        )


class Prefixed(Site):
    """A reverse proxy that has chi under a path."""

    def __init__(self, chi: Chi, path: str) -> None:
        super().__init__("127.0.0.1")
        handler = self._server.RequestHandlerClass

        def do_get(inner: Any) -> None:
            if not inner.path.startswith(f"{path}/"):
                inner.send_error(404)
                return
            fields = {"Cache_Control": inner.headers["Cache-Control"] or "no-cache"}
            answer = request(chi.port, inner.path.removeprefix(path), **fields)
            inner.send_response(answer.status)
            for name, value in answer.headers.items():
                if name not in ("Date", "Server", "Connection"):
                    inner.send_header(name, value)
            inner.end_headers()
            inner.wfile.write(answer.body)

        handler.do_GET = do_get


def test_works_under_a_path_of_a_proxy(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """All that it asks for is beside it, wherever that is."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    proxy = Prefixed(chi, "/miner")
    try:
        seen = read(tab(proxy.origin + "/miner"))
    finally:
        proxy.close()
    assert (seen.headline, seen.banner) == (OK, "")
    assert all(seen.plots.values())


def test_as_one_of_several_miners(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Below /@NAME/ it says which miner it is, and leads to the page of all of them."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    assert tab(chi).locator("#back").is_hidden()
    proxy = Prefixed(chi, "/@rig%201")
    try:
        page = tab(proxy.origin + "/@rig%201")
        seen = read(page)
        link = page.get_by_role("link", name="All miners").evaluate("link => link.href")
    finally:
        proxy.close()
    assert (seen.headline, seen.banner, seen.name) == (OK, "", "rig 1")
    assert seen.title == f"{OK}: 99.39 TH/s · rig 1"
    assert "Simulated miner" in seen.about
    assert all(seen.plots.values())
    assert link == f"{proxy.origin}/dashboard"


# --- How it looks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "size"), [("phone", PHONE), ("desktop", DESKTOP)])
def test_looks_right(
    tab: Open,
    serve: Serve,
    simulated: demo.DemoMiner,
    artefacts: Path,
    device: str,
    size: tuple[int, int],
    scheme: str,
) -> None:
    """Nothing is wider than the screen, and the verdict is seen without scrolling; for eyes, a picture."""
    chi = serve(simulated.address[1], history=60)
    fill(chi)
    page = tab(chi, size=size, color_scheme=scheme)
    page.screenshot(path=artefacts / f"dashboard-{device}-{scheme}.png", full_page=True)
    assert read(page).width == size[0]
    for wanted, part in (("#cards div:nth-child(1)", 0.5), ("#cards div:nth-child(3)", 1)):
        box = page.locator(wanted).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < size[1] * part


# Sums shifts up as web-vitals does: those that follow each other within a second, and in five at the most.
SHIFT = """() => {
    [window.shift, window.moved] = [0, []];
    let sum = 0, first = -Infinity, last = -Infinity;
    new PerformanceObserver((list) => {
        for (const {value, startTime, hadRecentInput, sources} of list.getEntries()) {
            if (hadRecentInput) continue;
            window.moved.push(...sources.map(({node, previousRect, currentRect}) =>
                `${node?.id ?? node?.nodeName}: ${value}, ${previousRect.y} to ${currentRect.y}`));
            if (startTime - last > 1000 || startTime - first > 5000) [sum, first] = [0, startTime];
            [sum, last] = [sum + value, startTime];
            window.shift = Math.max(window.shift, sum);
        }
    }).observe({type: "layout-shift", buffered: true});
}"""


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slow"])
def test_nothing_jumps(
    tab: Open, serve: Serve, miner: ScriptedMiner, size: tuple[int, int], slow: bool
) -> None:
    """While it loads, is pointed at, and the miner goes and comes, what one reads stays where it is."""
    go = threading.Event()
    made = Made()
    miner.script = lambda sent: [go, *made(sent)] if slow else made(sent)
    chi = serve(miner.port, history=60, timeout=20.0)
    fill(chi, eventful)
    page = tab(
        chi, size=size, look=False, before=lambda page: (page.add_init_script(f"({SHIFT})()"), ask_anew(page))
    )
    try:
        if slow:
            expect(page.locator("#headline")).to_have_text("Waiting for the miner")
            expect(page.locator("#hashrate path").first).to_be_attached()
            expect(page.locator("#skeleton")).to_be_visible()
            expect(page.locator("#lasting")).to_contain_text("for", timeout=5000)
    finally:
        go.set()
    ended(page, 0)
    expect(page.locator("#skeleton")).to_be_hidden()
    for name in PLOTS:
        page.locator(f"#{name} svg").hover(position={"x": 150, "y": 60})
        page.mouse.move(2, 2)
    page.evaluate("scrollTo(0, 0)")
    for script in ([b""], made):  # an outage, and its end
        page.wait_for_timeout(1100)
        miner.script = script
        look(page)
        assert bool(read(page).banner) == (script != made)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shift") < 0.05, page.evaluate("window.moved")


def test_prints_on_a_page(tab: Open, serve: Serve, miner: ScriptedMiner, artefacts: Path) -> None:
    """On paper all of it is on one page, black on white, without what cannot be pressed there."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, color_scheme="dark")
    for format in ("A4", "Letter"):
        pdf = page.pdf(path=artefacts / f"dashboard-{format}.pdf", format=format)
        assert len(re.findall(rb"/Type ?/Page\b", pdf)) == 1
    page.emulate_media(media="print")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#cards > div')).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert page.locator("#controls, button, .links a").evaluate_all(
        "all => all.every((each) => !each.checkVisibility())"
    )


def test_uses_a_wide_screen(tab: Open, serve: Serve, miner: ScriptedMiner, artefacts: Path) -> None:
    """On 4K letters are larger, and the page is as wide as the screen nearly."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    page = tab(chi, size=(3840, 2160))
    page.screenshot(path=artefacts / "dashboard-4k.png", full_page=True)
    box = page.locator("#verdict").bounding_box()
    assert box is not None
    assert box["width"] > 0.9 * 3840
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 22
    assert read(page).width == 3840
    assert page.evaluate("document.documentElement.scrollHeight") <= 2160


def test_silence_is_seen_without_colours(
    tab: Open, serve: Serve, miner: ScriptedMiner, artefacts: Path
) -> None:
    """A picture of the page in an outage, for eyes; no text of a card is as on a good day."""
    miner.script = Made()
    chi = serve(miner.port, history=60)
    fill(chi)
    for size in (PHONE, DESKTOP):
        miner.script = Made()
        page = tab(chi, size=size, before=ask_anew)
        style = """(({color, fontWeight}) => [color, fontWeight])(
            getComputedStyle(document.querySelector("#cards dd bdi")))"""
        before = page.evaluate(style)
        miner.script = [b""]
        look(page)
        after = page.evaluate(style)
        assert before[0] != after[0]
        assert int(before[1]) > int(after[1])
        page.screenshot(path=artefacts / f"dashboard-silent-{size[0]}.png", full_page=True)


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("script", [Made(), Made(("devs", ALL, {"Temperature": None}), without=("stats",))])
def test_plots_fill_their_places(
    tab: Open, serve: Serve, miner: ScriptedMiner, script: Made, filled: bool
) -> None:
    """A plot is drawn for the width that it has, whichever others there are, on any screen."""
    miner.script = script
    chi = serve(miner.port, history=60)
    if filled:
        fill(chi, lambda ago: Rig(hashrate=1e12))
    page = tab(chi)
    widths = """() => [...document.querySelectorAll('svg')].filter((each) => each.checkVisibility())
        .map((each) => [each.clientWidth, each.viewBox.baseVal.width])"""
    for size in (DESKTOP, PHONE, (800, 600), (2560, 1200)):
        page.set_viewport_size(dict(zip(("width", "height"), size)))
        page.wait_for_function("width => innerWidth === width", arg=size[0])
        page.evaluate("() => new Promise(requestAnimationFrame)")  # by when it has heard of it
        found = page.evaluate(widths)
        assert found
        assert [drawn for _, drawn in found] == [width for width, _ in found]
