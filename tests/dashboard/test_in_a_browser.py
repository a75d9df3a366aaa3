"""The page in a real browser, over a real gateway."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dashboard.browser import Browser
from tests.gateway.running import Gateway, config_for

from mixllm.playback import PlaybackServer
from mixllm.types import LLMSpec, Price

pytestmark = pytest.mark.skipif(bool(os.environ.get("MIXLLM_NO_BROWSER")), reason="MIXLLM_NO_BROWSER is set")

KEY = "sk-chief-" + "k" * 32
HEADERS = {"authorization": f"Bearer {KEY}"}
EVIL = "<img src=x onerror='document.title=1'>"


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = config_for(
        pool,
        tmp_path_factory.mktemp("browser") / "mixllm.db",
        gateway={"api_keys": [KEY]},
        budget={"period": "day", "usd": 5},
        encoder={"kind": "hashing"},
    )
    with Gateway(config) as running:
        first = pool.llm_specs()[0]
        price = Price(usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=1.0)
        running.router.add_llm(LLMSpec(name=EVIL, model=first.name, api_base=first.api_base, price=price))
        chat(running, EVIL)
        for number in range(5):
            inference_id = chat(running, "mixllm/auto", f"What is {number} times 7?")
            judgement = {"inference_id": inference_id, "value": 0.5}
            assert running.ask("POST", "/v1/feedback", judgement, HEADERS).status == 200
        running.router.learn()
        yield running


def chat(gateway: Gateway, model: str, text: str = "What is the capital of France?") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    reply = gateway.ask("POST", "/v1/chat/completions", body, HEADERS)
    assert reply.status == 200, reply.body
    return reply.inference_id


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, gateway: Gateway) -> Iterator[Browser]:
    """The page, before anybody gave it a key; nothing may go wrong in it, whatever a test does."""
    browser.open(f"{gateway.url}/dashboard")
    browser.value("sessionStorage.clear()")
    browser.open(f"{gateway.url}/dashboard?again")
    browser.wait_for(browser.shows("#ask"))
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def unlocked(page: Browser) -> Browser:
    page.type_into("#key", KEY)
    page.wait_for(page.shows("#figures"))
    return page


def test_it_asks_for_a_key_and_keeps_it_in_its_tab(page: Browser) -> None:
    assert not page.value(page.shows("#figures"))
    assert page.value("document.activeElement.id") == "key"
    page.type_into("#key", "sk-not-this-one")
    page.wait_for("document.querySelector('#refusal').innerText.includes('API key is missing, wrong')")
    assert page.value("sessionStorage.length") == 0
    unlocked(page)
    assert page.value("sessionStorage.getItem('mixllm-key')") == KEY
    assert page.value("localStorage.length + document.cookie.length + location.search.length") == len("?again")
    assert KEY not in str(page.value("document.documentElement.outerHTML"))
    page.value("document.querySelector('#forget').click()")
    page.wait_for(page.shows("#ask"))
    assert page.value("sessionStorage.length") == 0


def test_it_shows_what_the_gateway_tells(page: Browser, gateway: Gateway) -> None:
    unlocked(page)
    report = gateway.ask("GET", "/dashboard/data?since=24h", headers=HEADERS).json["report"]
    assert report["decisions"] == 6
    tiles = dict(
        page.value("[...document.querySelectorAll('.tile')].map(t => [t.querySelector('dt').innerText,"
                   " t.querySelector('dd').innerText])")
    )  # fmt: skip
    assert (tiles["Decisions"], tiles["Quality"]) == ("6", "0.500")
    assert tiles["Saved, about"] == f"{100 * report['savings']['saved_share']:.1f} %"
    rows = page.value("[...document.querySelectorAll('#llms tbody th')].map(cell => cell.innerText)")
    assert rows[: len(report["llms"])] == list(report["llms"])
    assert set(rows) == {spec.name for spec in gateway.router.llms}
    assert page.value("document.querySelectorAll('#newest tbody tr').length") == 6
    assert "$5.00" in page.text("#budget")
    assert "running" in page.text("#learning")
    assert page.text("#health") in {"healthy", "needs a look"}
    assert page.value("document.querySelectorAll('figure svg[role=img][aria-label]').length") == 3
    assert page.value("document.querySelectorAll('svg .bar').length") >= 1


def test_names_are_text_and_nothing_comes_from_elsewhere(page: Browser) -> None:
    unlocked(page)
    assert EVIL in page.text("#llms")
    assert page.value("document.querySelectorAll('img').length") == 0
    assert page.value("document.title") == "MixLLM"
    loaded = page.value("performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)")
    assert set(loaded) == {"/dashboard/data"}


def test_another_period_is_asked_for_at_once(page: Browser) -> None:
    unlocked(page)
    page.value(
        "select = document.querySelector('#since'); select.value = '15m'; select.dispatchEvent(new Event('change'))"
    )
    page.wait_for("document.querySelector('#period').innerText.includes('(15 min)')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark_and_on_a_telephone(page: Browser, scheme: str) -> None:
    page.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.tell("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        unlocked(page)
        assert page.value("document.documentElement.scrollWidth") <= 390
        style = "getComputedStyle(document.querySelector('{}')).{}"
        back = luminance(page.value(style.format(".tile", "backgroundColor")))
        assert (back > 0.5) == (scheme == "light")
        for selector in (".tile dt", ".tile dd", ".good", "svg .line.two", "figcaption .failed"):
            colour = "stroke" if selector.startswith("svg") else "color"
            ink = luminance(page.value(style.format(selector, colour)))
            contrast = (max(ink, back) + 0.05) / (min(ink, back) + 0.05)
            assert contrast >= 4.5, (selector, contrast)
    finally:
        page.tell("Emulation.clearDeviceMetricsOverride")


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_it_says_when_the_gateway_is_away(browser: Browser, pool: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(pool, tmp_path / "mixllm.db", encoder={"kind": "hashing"})) as gateway:
        browser.open(f"{gateway.url}/dashboard")
        browser.wait_for(browser.shows("#figures"))
        assert "Nothing was decided" in browser.text("#period")
    for _ in ("pause", "go on"):
        browser.value("document.querySelector('#pause').click()")
    browser.wait_for(browser.shows("#trouble"))
    assert "could not be had" in browser.text("#trouble")
    assert browser.text("#health") == "no answer"
