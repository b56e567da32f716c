"""
The page of the tour in a real Chromium: each button, the keyboard, a phone, light and dark.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tour.touring import DEADLINE, Tour, touring

MILLISECONDS = DEADLINE * 1000
BUTTONS = ["none", "ids", "spoof", "token", "login", "rotate", "break", "partner", "crowd"]
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# A folder for pictures of the page: docs/screenshots is made anew with
# TOUR_SCREENSHOTS=docs/screenshots.
PICTURES = os.environ.get("TOUR_SCREENSHOTS")
# Root has no sandbox, and a container little shared memory: without the second, Chromium's pages
# crash there, and Playwright waits for them for ever.
SWITCHES = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
SERVICES = ("gateway", "shop", "billing", "worker")


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    """
    Return one tour for the tests of this file.
    """
    with touring() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    Return the Chromium of this machine.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "the page is tested in Chromium: apt-get install chromium"
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=SWITCHES, timeout=MILLISECONDS
        )
        yield opened
        opened.close()


@pytest.fixture
def make_page(browser: Browser, tour: Tour) -> Iterator[Any]:
    """
    Return a function that opens the page; no page has written an error to its console.
    """
    written = list[str]()
    contexts = list[Any]()

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.on("console", lambda message: written.append(message.text))
        page.on("pageerror", lambda error: written.append(str(error)))
        page.goto(tour.url)
        expect(page.locator("#status")).to_have_text("Ready.")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert written == []


def press(page: Page, scene: str, status: int = 200) -> None:
    """
    Press a button, and wait for the response and for the worker.
    """
    page.locator(f"[data-scene={scene}]").click()
    expect(page.locator("#status")).to_have_text(f"Done: the response is {status}.")
    if scene != "break":
        expect(hop(page, "arrived", "worker")).to_be_visible()


def hop(page: Page, kind: str, service: str) -> Any:
    """
    Return a row of the picture.
    """
    return page.locator(f"#hops > [data-kind={kind}][data-service={service}]")


def take_picture(page: Page, name: str) -> None:
    """
    Write a picture of the page, if there is a folder for it.
    """
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)


def test_ids_are_sent_and_arrive_everywhere(make_page: Any) -> None:
    """
    The picture, the log, the spans and the response have the session that was sent, and the spans
    of all services are one trace.
    """
    page = make_page()
    press(page, "ids")
    for service in SERVICES:
        expect(hop(page, "arrived", service)).to_contain_text("session_id chat-42 · client")
        expect(page.locator(f"#log [data-service={service}]").first).to_be_visible()
        expect(page.locator(f"#spans [data-service={service}]").first).to_contain_text("chat-42")
    (trace,) = page.locator("#trace code").all_text_contents()
    for service in ("shop", "billing"):
        expect(hop(page, "arrived", service)).to_contain_text(f"Traceparent: 00-{trace}-")
    expect(page.locator("#response tr.ours").first).to_have_text("x-session-idchat-42")
    times = page.locator("#hops > li").evaluate_all("rows => rows.map(row => +row.dataset.at)")
    assert times == sorted(times)


def test_a_session_is_minted(make_page: Any) -> None:
    """
    Without IDs the gateway's chip says that the session was minted.
    """
    page = make_page()
    press(page, "none")
    expect(hop(page, "arrived", "gateway").locator(".chip.minted")).to_have_count(1)


def test_a_spoofed_user_is_struck_out(make_page: Any) -> None:
    """
    The header is shown as removed, the refusal with its reason, and no service has a user.
    """
    page = make_page(color_scheme="dark")
    press(page, "spoof")
    expect(hop(page, "arrived", "gateway").locator(".gone").first).to_be_visible()
    expect(hop(page, "refused", "gateway").first).to_contain_text("refuses user_id: not verified")
    expect(page.locator(".chip", has_text="user_id")).to_have_count(0)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(18, 22, 29)"
    take_picture(page, "tour-spoof-dark")


def test_a_token_shows_a_proof_at_each_hop(make_page: Any) -> None:
    """
    The user is signed at the gateway and at billing, and a peer's at the shop and in its job.
    """
    page = make_page(color_scheme="light")
    press(page, "token")
    for service, proof in zip(SERVICES, ("signed", "peer", "signed", "peer"), strict=True):
        expect(hop(page, "arrived", service)).to_contain_text(f"user_id alice · {proof}")
    take_picture(page, "tour-token")


@pytest.mark.parametrize(("scene", "chip"), [("login", "user_id alice · code"), ("rotate", "code")])
def test_a_change_half_way_is_a_row(make_page: Any, scene: str, chip: str) -> None:
    """
    A login and a new session are shown where they happen, between the hops.
    """
    page = make_page()
    press(page, scene)
    expect(hop(page, "changed", "gateway").locator(".chip.code").first).to_contain_text(chip)


def test_a_broken_service_is_shown_with_its_error(make_page: Any) -> None:
    """
    The 500, the error in the log and the 502 of the response have the session.
    """
    page = make_page(viewport=PHONE, has_touch=True, is_mobile=True)
    press(page, "break", 502)
    expect(hop(page, "answered", "shop")).to_contain_text("shop → gateway: 500")
    expect(page.locator("#log .bad", has_text="the shelf is empty")).to_contain_text("chat-42")
    expect(page.locator("#response-status")).to_have_text("status 502")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    smallest = page.locator("button").evaluate_all(
        "all => Math.min(...all.map(one => one.getBoundingClientRect().height))"
    )
    assert smallest >= 44
    take_picture(page, "tour-phone")


def test_a_third_party_is_shown_without_ids(make_page: Any) -> None:
    """
    The row of the third party has no chip, while the user travels to the others.
    """
    page = make_page()
    press(page, "partner")
    expect(hop(page, "arrived", "partner")).to_contain_text("no IDs; the headers that arrived:")
    expect(hop(page, "arrived", "partner").locator(".chip")).to_have_count(0)


def test_a_crowd_is_counted(make_page: Any) -> None:
    """
    The count of mix-ups is shown, and it is nought.
    """
    page = make_page()
    page.locator("[data-scene=crowd]").click()
    expect(page.locator("#status")).to_have_text("Done: 500 requests, 0 mix-ups, 0 failed.")
    expect(page.locator("#crowd-done")).to_have_text("500")


def test_the_keyboard_is_enough(make_page: Any) -> None:
    """
    Tab reaches the buttons in their order, Enter and Space press one, and the focus stays.
    """
    page = make_page()
    reached = list[str]()
    for _ in BUTTONS:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.scene"))
    assert reached == BUTTONS
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator("[data-scene=ids]").focus()
    for key, scene in (("Enter", "ids"), ("Space", "ids")):
        page.keyboard.press(key)
        expect(page.locator("#status")).to_have_text("Done: the response is 200.")
        assert page.evaluate("document.activeElement.dataset.scene") == scene
    page.locator("#log").focus()
    assert page.evaluate("document.activeElement.id") == "log"


def test_nothing_is_loaded_from_elsewhere(make_page: Any, tour: Tour) -> None:
    """
    Every file that the page loads is of its own origin, and no script stands in the page.
    """
    page = make_page()
    loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith(tour.url)] == []
    assert page.locator("script:not([src]), [onclick], [style]").count() == 0
