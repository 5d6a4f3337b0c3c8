"""LuCI's page of chi in a real Chromium: what it shows, what it would write, and what it refuses to."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests.e2e.browser.chromium import CHROMIUM, FLAGS

HERE = Path(__file__).resolve().parent
APP = HERE.parents[3] / "packaging/openwrt/luci-app-chi"
VIEW = (APP / "htdocs/luci-static/resources/view/chi.js").read_text(encoding="utf-8")
VALUES = json.loads((HERE.parent / "values.json").read_text(encoding="utf-8"))
SENTENCE = "Earning: 95.2 TH/s, the last share 12 s ago."
RUNNING = {"chi": {"instances": {"instance1": {
    "running": True, "pid": 1234,
    "command": ["/usr/bin/python3", "/usr/lib/chi/chi-server", "--http_port=8081"],
}}}}  # fmt: skip


@pytest.fixture(scope="module")
def browser(driver: Playwright) -> Iterator[Browser]:
    """One Chromium for all: nothing is kept from a page to the next."""
    started = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own."""
    tab = browser.new_page()
    yield tab
    tab.close()


def shipped() -> dict[str, Any]:
    """The section main as uci has it, of the configuration file as it is shipped."""
    text = (APP.parent / "chi/files/chi.config").read_text(encoding="utf-8")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    options: dict[str, Any] = {".name": "main", ".type": "chi"}
    for kind, name, *values in filter(None, lines):
        if kind == "option":
            options[name] = values[0]
        elif kind == "list":
            options.setdefault(name, []).append(values[0])
    return options


SHIPPED = shipped()


def shown(page: Page, config: dict[str, Any] | None = None, **router: Any) -> Page:
    """The page on a router with a configuration; `services` and `verdict` are what it is told, or None."""
    page.set_content((HERE / "stub.html").read_text(encoding="utf-8"))
    told = {
        "config": {"main": {**SHIPPED, **(config or {})}, **router.get("sections", {})},
        "services": router.get("services", RUNNING),
        "answer": json.dumps(router.get("verdict", {"verdict": {"sentence": SENTENCE}})),
    }
    page.evaluate(
        """told => {
            window.router = {
                config: told.config, saved: {}, called: [], polled: [], maps: [], translated: [],
                networks: ["loopback", "lan", "guest", "wan"],
                ubus: {"service list": ({name}) => name === "chi" ? told.services ?? {} : {}},
                exec: {"/etc/init.d/chi verdict": () =>
                    told.answer === "null" ? {code: 1, stderr: "no answer"} : {code: 0, stdout: told.answer}},
            };
        }""",
        told,
    )
    page.add_script_tag(path=HERE / "stub.js")
    page.evaluate("source => show(source)", VIEW)
    return page


def saved(page: Page) -> tuple[str, dict[str, Any]]:
    """Save; return what is said, and what was written by section and option."""
    page.click("#save")
    return page.inner_text("#told"), page.evaluate("router.saved")


def fill(page: Page, option: str, value: str, section: str = "main") -> None:
    """Type a value where it belongs; into the last line of a list."""
    row = page.locator(f"[id='widget.cbid.chi.{section}.{option}']")
    name = row.evaluate("node => node.tagName")
    if name == "SELECT":
        row.evaluate("""(node, value) => {
            if (![...node.options].some(each => each.value === value)) node.append(new Option(value, value));
        }""", value)  # fmt: skip
        row.select_option(value)
    else:
        (row if name == "INPUT" else row.locator("input").last).fill(value)


def test_nothing_changes_that_is_not_changed(page: Page) -> None:
    """Saving the configuration as it is shipped leaves its meaning, and its lines, as they are."""
    said, written = saved(shown(page))
    assert said == "saved"
    changed = {name: value for name, value in written["main"].items() if SHIPPED.get(name) != value}
    assert changed == {"open": None}  # 0, which is the default, and has no use with read_only 1


@pytest.mark.parametrize("option", sorted(VALUES))
def test_values_that_the_service_takes_are_written(page: Page, option: str) -> None:
    """Every good value of the table is written as it was typed."""
    shown(page, {option: None})
    preset = {"allow": ["private"]}.get(option, [])
    for value in VALUES[option]["good"]:
        fill(page, option, value)
        said, written = saved(page)
        assert said == "saved", value
        wanted = [*preset, value] if page.locator(f"[data-name={option}] .cbi-dynlist").count() else value
        assert written["main"][option] == wanted, value


@pytest.mark.parametrize("option", sorted(set(VALUES) - {"log_level", "protocol"}))
def test_values_that_the_service_refuses_are_not_written(page: Page, option: str) -> None:
    """Every bad value of the table is told of beside the field, and nothing is written."""
    shown(page)
    for value in VALUES[option]["bad"]:
        if "\n" in value:
            continue  # cannot be typed into a line
        fill(page, option, value)
        assert page.inner_text(f"[data-name={option}] .error").startswith("Expecting: "), value
        said, written = saved(page)
        assert "Expecting: " in said, value
        assert option not in written.get("main", {}), value


def test_an_emptied_value_is_the_default_again(page: Page) -> None:
    """A field left empty takes the option out of the file."""
    shown(page, {"http_port": "9000"})
    fill(page, "http_port", "")
    assert saved(page)[1]["main"]["http_port"] is None
    assert page.get_attribute("[data-name=http_port] input", "placeholder") == "8080"


@pytest.mark.parametrize(
    ("text", "checked"), [("yes", True), ("on", True), ("1", True), ("off", False), ("0", False)]
)
def test_every_word_for_yes_and_no_is_read(page: Page, text: str, checked: bool) -> None:
    """A protection that UCI has as `yes` is not shown, or saved, as none."""
    shown(page, {"read_only": text})
    assert page.is_checked("[data-name=read_only] input") is checked
    assert saved(page)[1]["main"]["read_only"] == str(int(checked))


def test_options_that_contradict_each_other_cannot_be_saved_together(page: Page) -> None:
    """`open` goes with read_only 0 alone, the token with neither; what is hidden is taken out."""
    shown(page, {"read_only": "0", "token_file": "/etc/chi.token"})
    assert page.is_visible("[data-name=token_file]")
    page.check("[data-name=open] input")
    assert not page.is_visible("[data-name=token_file]")
    said, written = saved(page)
    assert (said, written["main"]["open"], written["main"]["token_file"]) == ("saved", "1", None)
    page.check("[data-name=read_only] input")
    assert not page.is_visible("[data-name=open]")
    said, written = saved(page)
    assert (said, written["main"]["read_only"], written["main"]["open"]) == ("saved", "1", None)


@pytest.mark.parametrize(
    ("chosen", "written"), [(["lan", "guest"], "lan guest"), (["*"], "*"), (["*", "lan"], "*"), ([], None)]
)
def test_networks_are_written_as_the_service_reads_them(
    page: Page, chosen: list[str], written: str | None
) -> None:
    """Several networks are one option; every address needs no other; none is the default."""
    shown(page)
    page.select_option("[data-name=interface] select", chosen)
    assert saved(page)[1]["main"]["interface"] == written


def test_a_network_that_is_not_there_is_kept(page: Page) -> None:
    """A name in the configuration that netifd does not know is shown, and not lost."""
    said, written = saved(shown(page, {"interface": "lan mine"}))
    assert said == "saved"
    assert "interface" not in written.get("main", {})


def test_miners_are_added_named_and_removed(page: Page) -> None:
    """A miner more is a section with a name and a host that can be ones; a named section keeps its name."""
    garage = {".name": "garage", ".type": "miner", "host": "192.168.1.50"}
    shown(page, sections={"garage": garage})
    assert page.input_value("[id='widget.cbid.chi.garage.name']") == "garage"
    page.click(".add")
    row = page.get_attribute("tr[data-section]:last-of-type", "data-section") or ""
    wrongs = (("", "rig", "non-empty"), ("a b", "rig", "letters"), ("attic", "300.1.1.1", "host name"))
    for name, host, wrong in wrongs:
        fill(page, "name", name, row)
        fill(page, "host", host, row)
        assert wrong in saved(page)[0]
    fill(page, "host", "fd00::7", row)
    said, written = saved(page)
    assert (said, written[row]) == ("saved", {"name": "attic", "host": "fd00::7"})
    page.click("tr[data-section=garage] button")
    assert saved(page)[1]["garage"] is None


def test_several_miners_are_summed_up(page: Page) -> None:
    """With a fleet the sentence is how many answer and earn."""
    totals = {"miners": 4, "answering": 3, "earning": 2}
    assert "3 of 4 miners answer, 2 earn." in shown(page, verdict={"totals": totals}).inner_text("#chi-state")


def test_the_state_is_a_sentence_and_a_link(page: Page) -> None:
    """The verdict, the process and the address of chi's own page; asked again every ten seconds."""
    shown(page)
    text = page.inner_text("#chi-state")
    assert SENTENCE in text
    assert "1234" in text
    assert (page.get_attribute("#chi-state a", "href") or "").endswith(":8081/dashboard")
    assert page.evaluate("router.polled.map(each => each.seconds)") == [10]
    page.evaluate("router.exec = {}; router.polled[0].what()")
    page.wait_for_function("document.getElementById('chi-state').innerText.includes('does not answer')")


def test_a_service_that_does_not_run_is_told_of(page: Page) -> None:
    """Without an instance, and with one that has ended, there is no link."""
    ended = {"chi": {"instances": {"instance1": {"running": False}}}}
    for services in (None, {}, ended):
        shown(page, services=services, verdict=None)
        assert "does not run" in page.inner_text("#chi-state")
        assert not page.locator("#chi-state a").count()


def test_what_a_miner_says_is_text(page: Page) -> None:
    """A sentence with markup, of which a miner can be the author, is shown as it is written."""
    markup = "<img src=x onerror=\"document.title='owned'\"> not hashing"
    shown(page, verdict={"verdict": {"sentence": markup}})
    assert markup in page.inner_text("#chi-state")
    assert page.title() == "chi - LuCI"


@pytest.mark.parametrize("answer", [[], {}, {"verdict": None}, "text", 1])
def test_an_answer_without_a_verdict_is_no_fault(page: Page, answer: Any) -> None:
    """Whatever chi answers, the page is shown."""
    assert "does not answer" in shown(page, verdict=answer).inner_text("#chi-state")


def test_nothing_is_asked_that_the_acl_does_not_grant(page: Page) -> None:
    """Every call is in the ACL, and the ACL has nothing that is not called."""
    (acl,) = json.loads((APP / "root/usr/share/rpcd/acl.d/luci-app-chi.json").read_text()).values()
    shown(page)
    called = {tuple(call) for call in page.evaluate("router.called")}
    granted = {("ubus", name, method) for name, methods in acl["read"]["ubus"].items() for method in methods}
    granted |= {("file", line, right) for line, rights in acl["read"]["file"].items() for right in rights}
    granted |= {("uci", "load", name) for name in acl["read"]["uci"]}
    assert called | {("ubus", "file", "exec")} == granted  # fs.exec is that method


def test_every_text_is_for_translators(page: Page) -> None:
    """What is shown is in the template."""
    shown(page)
    template = (APP / "po/templates/chi.pot").read_text(encoding="utf-8")
    known = {json.loads(text) for text in re.findall(r"^msgid (.*)$", template, re.MULTILINE)}
    own = {"Delete", "Add", "Expecting: non-empty value"}  # LuCI's
    assert set(page.evaluate("router.translated")) <= known | own


@pytest.mark.parametrize(("name", "width"), [("wide", 1000), ("phone", 380)])
def test_screenshots(page: Page, artefacts: Path, name: str, width: int) -> None:
    """For people to look at; nothing is wider than the screen."""
    page.set_viewport_size({"width": width, "height": 900})
    shown(page, {"read_only": "0"})
    page.screenshot(path=artefacts / f"luci-{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
