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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Route, expect

from chi import demo
from chi.miner import replies
from chi.status.model import Rig, Status
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

# Counts the looks at the miner that have ended, and remembers the pauses after them: only so can a test wait
# for the end of one, and not for a time.
COUNT_LOOKS = """(() => {
    window.pauses = [];
    const set = window.setTimeout;
    window.setTimeout = (run, pause, ...more) => {
        window.pauses.push(pause);
        return set(run, pause, ...more);
    };
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
    allowed = re.compile(rf"GET ({own})/(dashboard|status\.json(\?users)?|history\.json|favicon\.ico)")
    for line in watch.asked:
        assert allowed.fullmatch(line), line


def looks(page: Page) -> int:
    """How many looks at the miner the page has ended."""
    return int(page.evaluate("window.pauses.length"))


def ended(page: Page, before: int) -> None:
    """Wait until the page has ended more looks than it had `before`."""
    page.wait_for_function("before => window.pauses.length > before", arg=before)


def look(page: Page) -> None:
    """Have the page look at the miner now, as when somebody comes back to it."""
    before = looks(page)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    ended(page, before)


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
    const level = (element) => ["good", "warn", "bad"].find((each) => element.classList.contains(each)) ?? "";
    const table = (id) => {
        const heads = [...$(id).querySelectorAll("thead th")].map((each) => each.innerText);
        return [...$(id).querySelectorAll("tbody tr")].map((line) => Object.fromEntries(
            [...line.children].map((cell, place) => [heads[place], [cell.innerText.trim(), level(cell)]])));
    };
    return {
        title: document.title, name: text("name"), about: text("about"), banner: text("banner"),
        level: level($("verdict")), headline: text("headline"), updated: text("updated"),
        problems: [...$("problems").children].map((each) => [level(each), each.innerText]),
        cards: seen($("cards")) ? Object.fromEntries([...$("cards").children].map((card) =>
            [card.children[0].innerText, [...card.children].slice(1).map((each) => each.innerText)])) : {},
        levels: Object.fromEntries([...$("cards").children].map((card) =>
            [card.children[0].innerText, level(card.children[1])])),
        pools: table("pools"), chains: table("chains"), devices: table("devices"),
        button: seen($("users")) ? $("users").innerText : "",
        width: document.documentElement.scrollWidth,
        plots: Object.fromEntries(["hashrate", "temperature", "shares"].map((id) => {
            const number = (each) => (name) => Number(each.getAttribute(name));
            const all = (selector) => [...$(id).querySelectorAll(selector)];
            return [id, !seen($(id)) ? null : {
                label: $(id).querySelector("svg").getAttribute("aria-label"),
                caption: $(id).querySelector("figcaption").lastElementChild.innerText,
                d: $(id).querySelector("path")?.getAttribute("d") ?? "",
                texts: all("svg text").map((each) =>
                    [each.textContent, each.getAttribute("text-anchor"), ...["x", "y"].map(number(each))]),
                bars: all("rect").map((each) =>
                    [each.getAttribute("class"), ...["x", "y", "width", "height"].map(number(each))]),
            }];
        })),
    };
}"""


class Seen(types.SimpleNamespace):
    """What somebody sees of the page: see READ. Cells are pairs of text and level."""

    def column(self, table: str, head: str) -> list[str]:
        """The texts of one column; empty where it is not there."""
        return [row[head][0] for row in getattr(self, table) if head in row]


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
    """Numbers and times as the browser of a page writes them, in its own locale."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def number(self, value: float, **options: Any) -> str:
        """A number, as Intl writes it."""
        code = "([value, options]) => new Intl.NumberFormat(undefined, options).format(value)"
        return str(plain(self._page.evaluate(code, [value, options or {"maximumFractionDigits": 1}])))

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
            "([time, options]) => new Intl.DateTimeFormat(undefined, options).format(new Date(time * 1000))"
        )
        return str(plain(self._page.evaluate(code, [seconds, options])))


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

    rate, power = rig["hashrate"], rig["power"]
    cards: dict[str, list[str | None]] = {
        "Hashrate": [
            "not told" if rate is None else words.scaled(rate, "H/s"),
            f"average {words.scaled(rig['hashrate_average'], 'H/s')}" if rig["hashrate_average"] else None,
        ],
        "Accepted": shares("accepted"),
        "Rejected": shares("rejected"),
        "Stale": shares("stale"),
        "Hardware errors": [number("hardware_errors")],
        "Uptime": [None],
        "Last share": ["none yet" if rig["shares_accepted"] == 0 else None],
        "Hottest sensor": [f"{number('temperature')} °C" if rig["temperature"] is not None else None],
        "Fans, rpm": [
            " · ".join(words.number(fan["speed"]) for fan in status["fans"]),
            " · ".join(fan["fan"] for fan in status["fans"]) if len(status["fans"]) > 1 else None,
        ],
    }
    if rig["uptime"] is not None:
        began = words.time(now - age - rig["uptime"], dateStyle="medium", timeStyle="short")
        cards["Uptime"] = [words.duration(rig["uptime"]), began]
    if rig["last_share"] is not None:
        cards["Last share"] = [f"{words.duration(rig['time'] - rig['last_share'] + age)} ago"]
    if cards["Last share"][0] and rate and rig["share_interval"]:
        every = words.duration(max(1, rig["share_interval"]))
        cards["Last share"].append(f"one is expected every {every}")
    if power is not None:
        cards["Power"] = [f"{words.number(power)} W"]
    if power is not None and rate:
        # The rate's own prefix: of a small miner J/GH, of a big one J/TH.
        prefix = re.sub(".* |H/s", "", words.scaled(rate, "H/s"))
        per = 1000 ** " kMGTPEZY".index(prefix or " ")
        cards["Efficiency"] = [f"{words.number(power / (rate / per))} J/{prefix}H"]
    return given(cards)


def expected_columns(words: Words, status: dict[str, Any], age: float) -> dict[str, dict[str, list[str]]]:
    """The columns of the page's tables, by table and head, without State, in the order of the rows."""

    def by(write: Callable[[Any], str], name: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: "" if row[name] is None else write(row[name])

    def ago(row: dict[str, Any]) -> str:
        told = row["last_share"] is not None
        return words.duration(max(0, status["rig"]["time"] - row["last_share"] + age)) if told else ""

    def rate(value: float) -> str:
        return words.scaled(value, "H/s")

    def degrees(value: float) -> str:
        return f"{words.number(value)} °C"

    tables: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
        "pools": {
            "Pool": by(str, "pool"),
            "Address": by(str, "url"),
            "Priority": by(words.number, "priority"),
            "Accepted": by(words.number, "shares_accepted"),
            "Rejected": by(words.number, "shares_rejected"),
            "Stale": by(words.number, "shares_stale"),
            "Last share": ago,
            "Difficulty": by(lambda value: words.scaled(value, "").strip(), "share_difficulty"),
        },
        "chains": {
            "Board": by(str, "chain"),
            "Hashrate": by(rate, "hashrate"),
            "Board temp.": by(degrees, "board_temperature"),
            "Chip temp.": by(degrees, "chip_temperature"),
            "Water temp.": by(degrees, "water_temperature"),
            "Frequency": by(lambda value: words.scaled(value, "Hz"), "frequency"),
            "Chips": by(words.number, "chips"),
            "Hardware errors": by(words.number, "hardware_errors"),
        },
        "devices": {
            "Device": by(str, "device"),
            "Kind": by(str, "name"),
            "Hashrate": by(rate, "hashrate"),
            "Temperature": by(degrees, "temperature"),
            "Hardware errors": by(words.number, "hardware_errors"),
        },
    }
    columns = {
        table: {head: [write(row) for row in status[table]] for head, write in heads.items()}
        for table, heads in tables.items()
    }
    return {
        table: {head: cells for head, cells in heads.items() if any(cells)}
        for table, heads in columns.items()
    }


def check(page: Page, status: dict[str, Any], now: float, age: float = 0.0) -> Seen:
    """Check that the page shows this status, all of it, and return what it shows."""
    seen, words, rig = read(page), Words(page), status["rig"]
    cards = expected_cards(words, status, now, age)
    assert {name: seen.cards.get(name) for name in cards} == cards
    assert set(seen.cards) - set(cards) <= {"Best share", "Blocks found"}
    for table, columns in expected_columns(words, status, age).items():
        found = {head: seen.column(table, head) for head in columns}
        assert found == columns
        extra = {head for row in getattr(seen, table) for head in row} - set(columns)
        assert extra <= {"State"}
        assert len(getattr(seen, table)) == len(status[table])
    assert seen.name == (rig["model"] or rig["software"])
    for part in (rig["software"], rig["version"], f"API {rig['api']}" if rig["api"] else None):
        assert part is None or part in f"{seen.name} {seen.about}"
    for pool, state in zip(status["pools"], seen.column("pools", "State")):
        assert ("dead" in state) == (pool["alive"] is False)
        assert ("active" in state) == bool(pool["active"] and pool["alive"] is not False)
    assert seen.banner == ""
    assert seen.headline
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
    told = [*seen.cards["Hashrate"], ""][:2]
    told += [seen.cards.get(name, [""])[0] for name in ("Efficiency", "Hottest sensor")]
    assert told == SEEN[golden]


LOCALES = [("en-US", "America/New_York"), ("de-DE", "Europe/Berlin"), ("ar-EG", "Africa/Cairo"),
           ("fa-IR", "Asia/Tehran"), ("hi-IN", "Asia/Kolkata")]  # fmt: skip


@pytest.mark.parametrize(("locale", "zone"), LOCALES)
def test_speaks_the_locale_of_the_browser(
    tab: Open, serve: Serve, simulated: demo.DemoMiner, watch: Watch, locale: str, zone: str
) -> None:
    """Numbers, digits, times and the time zone are the browser's, wherever there is one."""
    chi = serve(simulated.address[1], history=60)
    now = math.floor(time.time()) + 0.5
    page = tab(chi, locale=locale, timezone_id=zone, before=lambda page: page.clock.set_fixed_time(now))
    seen = check(page, watch.status(page), now)
    assert (seen.level, seen.problems) == ("good", [])
    digits = {"ar-EG": "٠-٩", "fa-IR": "۰-۹"}.get(locale, "0-9")
    for text in (
        seen.cards["Hashrate"][0],
        seen.cards["Uptime"][1],
        seen.updated,
        *seen.column("pools", "Accepted"),
    ):
        assert re.search(f"[{digits}]", text)
        assert digits == "0-9" or not re.search("[0-9]", text)


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


NO_SHARE = [
    ("summary", 0, {"Accepted": 0}), ("pools", ALL, {"Accepted": 0, "Last Share Time": 0}),
    ("devs", ALL, {"Accepted": 0, "Last Share Time": 0}),
]  # fmt: skip
STOPPED = [
    ("summary", 0, {"MHS 5s": 0.0}), ("devs", ALL, {"MHS 5s": 0.0}),
    ("stats", 1, {"chain_rate1": "0", "chain_rate2": "0", "chain_rate3": "0"}),
]  # fmt: skip
BOARDS_ONLY = ("stats",)  # without it, devs are all that is told of boards
OK, FAIR, BAD = "✓ Earning", "! Earning, but not all is well", "✗ Not earning"


@dataclasses.dataclass
class Day:
    """What befalls the simulated miner, and what the page has to say of it."""

    changes: list[tuple[str, int | None, dict[str, Any]]]
    level: str
    headline: str
    problems: list[list[str]] = dataclasses.field(default_factory=list)
    card: str = ""  # one that has the level of the first problem
    cell: tuple[str, int, str] | None = None  # one that has it too, and its words
    without: tuple[str, ...] = ()


DAYS = {
    "a good day": Day([], "good", OK),
    "no hashrate": Day(STOPPED, "bad", BAD, [["bad", "It does not hash."]], card="Hashrate"),
    "all pools dead": Day(
        [("pools", ALL, {"Status": "Dead"})], "bad", BAD, [["bad", "No pool answers."]],
        cell=("pools", 1, "dead"),
    ),
    "one of two pools dead": Day([("pools", 1, {"Status": "Dead"})], "good", OK),
    "share nearly late": Day(last_share(220), "good", OK),
    "share late": Day(
        last_share(240), "warn", FAIR,
        [["warn", "It hashes, but no share was accepted for 4 min; one is expected every 45 s."]],
        card="Last share",
    ),
    "share nearly too late": Day(
        last_share(445), "warn", FAIR,
        [["warn", "It hashes, but no share was accepted for 7 min; one is expected every 45 s."]],
        card="Last share",
    ),
    "share too late": Day(
        last_share(460), "bad", BAD,
        [["bad", "It hashes, but no share was accepted for 7 min; one is expected every 45 s."]],
        card="Last share",
    ),
    "never a share": Day(
        [*NO_SHARE, ("summary", 0, {"Elapsed": 500})], "bad", BAD,
        [["bad", "It hashes, but no share was accepted for 8 min; one is expected every 11 s."]],
        card="Last share",
    ),
    "many rejected": Day(
        [("summary", 0, {"Accepted": 100, "Rejected": 20, "Stale": 5})], "warn", FAIR,
        [["warn", "16% of the shares were rejected."]], card="Rejected",
    ),
    "few rejected of few": Day([("summary", 0, {"Accepted": 10, "Rejected": 2})], "good", OK),
    "hashrate low": Day(
        [("summary", 0, {"MHS 5s": 69_687_963.0})], "warn", FAIR,
        [["warn", "The hashrate is 30% below its average."]],
    ),
    "device dead": Day(
        [("devs", 1, {"Status": "Dead"})], "warn", FAIR, [["bad", "Device ASC1: dead."]],
        cell=("devices", 1, "dead"), without=BOARDS_ONLY,
    ),
    "device sick": Day(
        [("devs", 1, {"Status": "Sick"})], "warn", FAIR, [["bad", "Device ASC1: dead."]],
        cell=("devices", 1, "dead"), without=BOARDS_ONLY,
    ),
    "device switched off": Day([("devs", 1, {"Enabled": "N"})], "good", OK, without=BOARDS_ONLY),
    "device does not hash": Day(
        [("devs", 2, {"MHS 5s": 0.0})], "warn", FAIR, [["bad", "Device ASC2: not hashing."]],
        cell=("devices", 2, "not hashing"), without=BOARDS_ONLY,
    ),
    "device too hot": Day(
        [("devs", 0, {"Temperature": 91.0})], "warn", FAIR, [["bad", "Device ASC0: too hot: 91 °C."]],
        card="Hottest sensor", cell=("devices", 0, "too hot: 91 °C"), without=BOARDS_ONLY,
    ),
    "board does not hash": Day(
        [("stats", 1, {"chain_rate2": "0"})], "warn", FAIR, [["bad", "Board 2: not hashing."]],
        cell=("chains", 1, "not hashing"),
    ),
    "chips missing": Day(
        [("stats", 1, {"chain_acn3": 110})], "warn", FAIR, [["warn", "Board 3: 4 chips missing."]],
        cell=("chains", 2, "4 chips missing"),
    ),
    "a chip missing": Day(
        [("stats", 1, {"chain_acn3": 113})], "warn", FAIR, [["warn", "Board 3: 1 chip missing."]],
        cell=("chains", 2, "1 chip missing"),
    ),
    "no chips": Day(
        [("stats", 1, {"chain_acn1": 0})], "warn", FAIR, [["bad", "Board 1: no chips found."]],
        cell=("chains", 0, "no chips found"),
    ),
    "chip too hot": Day(
        [("stats", 1, {"temp_chip2": "70-106-71"})], "warn", FAIR, [["bad", "Board 2: too hot: 106 °C."]],
        card="Hottest sensor", cell=("chains", 1, "too hot: 106 °C"),
    ),
    "board too hot": Day(
        [("stats", 1, {"temp2": 86})], "warn", FAIR, [["bad", "Board 2: too hot: 86 °C."]],
        card="Hottest sensor", cell=("chains", 1, "too hot: 86 °C"),
    ),
    "fan stopped": Day(
        [("stats", 1, {"fan1": 0})], "warn", FAIR, [["warn", "Fan 1 stands still."]], card="Fans, rpm"
    ),
    "just started": Day(
        [*NO_SHARE, *STOPPED, ("summary", 0, {"Elapsed": 20, "MHS av": 0.0})], "warn", "Starting",
        [["bad", "It does not hash."]],
    ),
    "just started, hashing": Day(
        [*NO_SHARE, ("summary", 0, {"Elapsed": 20})], "warn", "Hashing, no share yet"
    ),
}  # fmt: skip


def test_judges_in_words(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Whether it earns, and what is wrong if not, is said in words and coloured where it stands."""
    chi = serve(miner.port)
    miner.script = Made()
    page = tab(chi, before=ask_anew)  # a fan that stands is known from one that turned
    wrong = {}
    for name, day in DAYS.items():
        miner.script = Made(*day.changes, without=day.without)
        look(page)
        seen = read(page)
        found = [seen.level, seen.headline, seen.problems, seen.title.partition(":")[0], seen.banner]
        expected = [day.level, day.headline, day.problems, day.headline, ""]
        if day.card:
            found.append(seen.levels[day.card])
            expected.append(day.problems[0][0])
        if day.cell:
            table, row, words = day.cell
            found.append(getattr(seen, table)[row]["State"])
            expected.append([words, day.problems[0][0]])
        if found != expected:
            wrong[name] = (found, expected)
    assert wrong == {}


def test_a_share_gets_late_while_nobody_asks(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The age of the last share is by the miner's own clock, however wrong, and grows with a held answer."""
    miner.script = Made(*last_share(300))
    chi = serve(miner.port)
    for clock in (NOW, NOW + 400 * DAY, 1.2e9):
        seen = read(tab(chi, clock=clock))
        assert seen.cards["Last share"] == ["5 min ago", "one is expected every 45 s"]
        assert seen.level == "warn"


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
    told = chi.get("/history.json").json["samples"]
    for name, factor in (("hashrate", 1e12), ("temperature", 1)):
        scale, lines = axes(plots[name]), points(plots[name])
        values = [value for value in told[name] if value is not None]
        assert len(lines) == 2  # the gap parts them
        drawn = [scale.value(y) * factor for line in lines for _, y in line]
        # What the page saw itself comes after chi's samples.
        assert len(values) <= len(drawn) <= len(values) + 1
        for found, value in zip(drawn, values):
            assert found == pytest.approx(value, rel=0.01)
        xs = [x for line in lines for x, _ in line]
        assert xs == sorted(xs)
        assert lines[1][0][0] - lines[0][-1][0] == pytest.approx(615 / 15 * (xs[1] - xs[0]), rel=0.1)
    # Less than a second after the last sample, the page leaves out what it saw itself.
    assert re.fullmatch(
        r"Hashrate: (99\.39|100) TH/s to 103\.6 TH/s, now \1 TH/s", plots["hashrate"]["label"]
    )
    assert re.fullmatch(
        "Temperature, hottest sensor: 60 °C to (70 °C, now 60|72 °C, now 72) °C",
        plots["temperature"]["label"],
    )
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
    assert re.match(
        r"Shares per minute: accepted rejected, stale: [45][.0-9]* to [56][.0-9]*, now ",
        plots["shares"]["label"],
    )


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
    for name in PLOTS:
        labels = axes(seen.plots[name]).times
        assert 3 <= len(labels) <= 5
        for x, text in labels:
            at = now + wrong - 3600 + (x - 44) / (width - 48) * 3600
            near = round(at / 900) * 900
            assert at == pytest.approx(near, abs=8)
            assert text == words.time(near, hour="2-digit", minute="2-digit")
    (line,) = points(seen.plots["hashrate"])
    assert len(line) >= 240
    assert line[0][0] < 44 + 0.02 * width
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
        assert svg.locator(".cursor").get_attribute("visibility") == "visible"
        page.mouse.move(2, 2)
        assert read(page).plots[name]["caption"] == whole
        assert svg.locator(".cursor").get_attribute("visibility") == "hidden"


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
        expect(page.locator("#hashrate path")).to_be_visible(timeout=3000)
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


# --- Bad days -------------------------------------------------------------------------------------


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
    # What was known stays, as something old.
    assert seen.cards["Hashrate"] == good.cards["Hashrate"]
    assert (seen.pools, seen.chains, seen.updated) == (good.pools, good.chains, good.updated)
    assert page.evaluate("getComputedStyle(document.getElementById('facts')).filter") != "none"
    page.clock.run_for(595_000)
    wait(page, 10)
    assert read(page).banner.startswith("The miner has not answered for 10 min: ")
    with ScriptedMiner(Made(), port=miner.port):
        wait(page, 5)
        seen = read(page)
        assert (seen.headline, seen.level, seen.banner) == (OK, "good", "")
        assert page.evaluate("getComputedStyle(document.getElementById('facts')).filter") == "none"


def test_opened_while_the_miner_is_down(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The history tells since when, and is shown."""
    miner.close()
    chi = serve(miner.port, history=60)
    fill(chi, lambda ago: made_up(ago) if ago > 600 else None)
    now = float(int(time.time()))
    page = tab(chi, clock=now)
    seen = read(page)
    assert re.match(r"The miner has not answered for 10 min: The miner's API at ", seen.banner)
    since = {Words(page).time(now - ago, hour="2-digit", minute="2-digit") for ago in (600, 616)}
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
        ([], "closed the connection without an answer"),
        ([b"cgminer has crashed\0"], "gives no summary of itself"),
        (
            [b'{"STATUS":[{"STATUS":"E","Code":23,"Msg":"Invalid JSON"}],"id":1}\0'],
            "gives no summary of itself",
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
    assert "needs the token" in seen.banner
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
            page.wait_for_function("rounds => window.pauses.length >= rounds", arg=rounds, timeout=20_000)
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
    page.locator("#users").click()
    expect(page.locator("#pools")).to_contain_text("User")
    elements = page.evaluate(ELEMENTS)
    for name, text in EVIL.items():
        miner.script = hostile(text)
        look(page)
        seen = read(page)
        shown = "".join(char if char.isprintable() else " " for char in text[:200]).strip()
        cells = [*page.locator("#pools .wide bdi").all_text_contents(), page.locator("#name").text_content()]
        cells += [
            row.split(" ")[0] and row for row in page.locator("#devices td bdi").all_text_contents()[1::4]
        ]
        assert cells.count(shown) >= 3, (name, cells)
        assert page.evaluate(ELEMENTS) == elements, name
        assert seen.width == PHONE[0], name
        assert seen.banner == ""


def test_hostile_texts_of_anybody_are_texts(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """The same of texts that chi would not let pass: the page relies on nobody."""
    miner.script = Made()
    chi = serve(miner.port)
    plain_status = chi.get("/status.json?users").json
    page = tab(chi, size=PHONE, before=ask_anew)
    page.locator("#users").click()
    expect(page.locator("#pools")).to_contain_text("User")
    elements = page.evaluate(ELEMENTS)
    answer: dict[str, Any] = {}
    page.route("**/status.json*", lambda route: route.fulfill(**answer))
    for name, text in EVIL.items():
        status = copy.deepcopy(plain_status)
        status["rig"].update(dict.fromkeys(("software", "version", "api", "model"), text))
        for part, names in (("pools", ("pool", "url", "user")), ("devices", ("device", "name")),
                            ("chains", ("chain",)), ("fans", ("fan",))):  # fmt: skip
            for row in status[part]:
                row.update(dict.fromkeys(names, text))
        for row in status["chains"]:
            row["chip_temperature"] = 200  # so that its name is in the verdict
        answer.update(status=200, json=status)
        look(page)
        seen = read(page)
        # Of each problem, its board's text.
        assert page.locator("#problems li").first.text_content() == f"Board {text}: too hot: 200\u00a0°C.", (
            name
        )
        assert page.locator("#pools tbody th").first.text_content() == text, name
        found = page.evaluate(ELEMENTS)
        assert collections.Counter(found) - collections.Counter(elements) == {"li": 3}, name
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
    page.locator("#users").click()
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
            page.locator("#users").click()
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
    """Tab goes through tables, button and links with a focus one sees; Enter shows users and hides them."""
    miner.script = Made()
    page = tab(serve(miner.port), size=PHONE, before=ask_anew)
    reached = []
    focus = """() => {
        const {id, localName, className, innerText} = document.activeElement;
        const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
        const inside = document.activeElement.closest("section[id]:not(#facts)")?.id ?? "";
        return [localName === "div" ? inside : localName, `${outlineStyle} ${outlineWidth}`];
    }"""
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focus))
    assert [name for name, _ in reached] == [
        "pools",
        "button",
        "chains",
        "devices",
        "a",
        "a",
        "a",
        "a",
        "body",
    ]
    assert {outline for _, outline in reached[:-1]} == {"solid 3px"}
    frame = page.locator("#pools .table")
    frame.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#pools .table').scrollLeft > 0")

    user = demo.USER
    assert user not in page.content()
    assert not any("users" in line for line in watch.asked)
    button = page.locator("#users")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pools")).to_contain_text(user)
    expect(button).to_be_focused()
    expect(button).to_have_text("Hide users of pools")
    page.keyboard.press("Enter")
    expect(page.locator("#pools")).not_to_contain_text(user)
    expect(button).to_have_text("Show users of pools")
    assert user not in page.content()


def test_users_are_hidden_at_once(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """Who hides the users need not wait for the miner, which may not answer."""
    miner.script = Made()
    page = tab(serve(miner.port), before=ask_anew)
    page.locator("#users").click()
    expect(page.locator("#pools")).to_contain_text(demo.USER)
    miner.close()
    look(page)
    page.locator("#users").click()
    expect(page.locator("#pools")).not_to_contain_text(demo.USER, timeout=2000)


def test_a_selection_stays(tab: Open, serve: Serve, miner: ScriptedMiner) -> None:
    """What somebody has marked to copy, and where they have scrolled, is theirs while figures change."""
    miner.script = Made()
    page = tab(serve(miner.port), size=PHONE, before=ask_anew)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#pools td.wide'))")
    page.evaluate("document.querySelector('#pools .table').scrollLeft = 50")
    miner.script = Made(("summary", 0, {"Accepted": 5000, "MHS 5s": 99e6}), ("pools", 0, {"Accepted": 4000}))
    look(page)
    assert read(page).cards["Accepted"][0] == "5,000"
    assert page.evaluate("getSelection().toString()").strip() == "stratum+tcp://pool.example.com:3333"
    assert page.evaluate("document.querySelector('#pools .table').scrollLeft") == 50


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
    assert read(page).headline == OK
    assert set(miner.commands) == {"version+summary+pools+devs+stats"} or all(
        set(command.split("+")) <= {"version", "summary", "pools", "devs", "stats"}
        for command in miner.commands
    )


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
    """A reverse proxy that has chi under /miner/."""

    def __init__(self, chi: Chi) -> None:
        super().__init__("127.0.0.1")
        handler = self._server.RequestHandlerClass

        def do_get(inner: Any) -> None:
            if not inner.path.startswith("/miner/"):
                inner.send_error(404)
                return
            fields = {"Cache_Control": inner.headers["Cache-Control"] or "no-cache"}
            answer = request(chi.port, inner.path.removeprefix("/miner"), **fields)
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
    proxy = Prefixed(chi)
    try:
        seen = read(tab(proxy.origin + "/miner"))
    finally:
        proxy.close()
    assert (seen.headline, seen.banner) == (OK, "")
    assert all(seen.plots.values())


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
    for wanted in ("#headline", "#cards div:nth-child(2)"):
        box = page.locator(wanted).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < size[1] / 2


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
