"""The chat page in headless Chromium: page.py ADDRESS KEY CLAIM."""

import re
import sys
import time
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

address, key, claim = sys.argv[1:]
expect.set_options(timeout=20_000)
TOKYO = "what time is it in Tokyo?"


@contextmanager
def opened(browser, path=f"/#key={key}", **options):
    """A page in a browser of its own; what it complains about fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith((address, "data:")) else complaints.append(sent.url))
    page.goto(address + path)
    yield page
    context.close()
    assert not complaints, complaints


def ask(page, text):
    page.get_by_test_id("composer").fill(text)
    page.get_by_test_id("composer").press("Enter")


def connected(page):
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", re.compile("open|online|connected|ready"))


def answers_with_a_tool_and_a_timeline(browser):
    with opened(browser) as page:
        connected(page)
        ask(page, TOKYO)
        expect(page.get_by_test_id("answer-text").last).to_contain_text("Tokyo")
        expect(page.get_by_test_id("tool-chip")).to_have_count(1)
        expect(page.get_by_test_id("tool-chip")).to_contain_text("clock")
        events = page.get_by_test_id("timeline-event")
        expect(events).to_have_count(11)
        names = [event.get_attribute("data-event") for event in events.all()]
        assert names[0] == "requests.incoming" and names[-1] == "requests.processed", names
        assert names.count("inference.response") == 2 and "tools.results" in names, names
        expect(page.get_by_test_id("message-user")).to_have_text(re.compile(re.escape(TOKYO)))
        assert key not in page.url, "the key leaves the address bar"


def same(place, text):
    """Waits until a place shows exactly this text."""
    deadline = time.monotonic() + 15
    while (shown := place.inner_text()) != text:
        assert time.monotonic() < deadline, (text, shown)
        place.page.wait_for_timeout(50)


def rebuilds_the_transcript_after_a_reload(browser):
    with opened(browser) as page:
        connected(page)
        for text in ["I like plums.", "calculate 2*(3+4)"]:
            ask(page, text)
            expect(page.get_by_test_id("run-state").last).to_be_visible()
            expect(page.get_by_test_id("message-user").last).to_contain_text(text)
            expect(page.get_by_test_id("timeline-event").last).to_have_attribute("data-event", "requests.processed")
        expect(page.get_by_test_id("answer-text").last).to_contain_text("14")
        before = page.locator("#messages").inner_text()
        page.reload()
        connected(page)
        expect(page.get_by_test_id("message-user")).to_have_count(2)
        expect(page.get_by_test_id("answer-text").last).to_contain_text("14")
        same(page.locator("#messages"), before)
        expect(page.get_by_test_id("conversation-item")).to_have_count(1)


def switches_between_dark_and_light(browser):
    with opened(browser, color_scheme="light") as page:
        theme = page.locator("html")
        expect(theme).to_have_attribute("data-theme", "light")
        light = page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor")
        page.get_by_test_id("theme-toggle").click()
        expect(theme).to_have_attribute("data-theme", "dark")
        dark = page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor")
        assert dark != light, dark
        page.reload()
        expect(theme).to_have_attribute("data-theme", "dark")
    with opened(browser, color_scheme="dark") as page:
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def works_on_a_phone(browser):
    with opened(browser, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as page:
        connected(page)
        ask(page, TOKYO)
        expect(page.get_by_test_id("answer-text").last).to_contain_text("Tokyo")
        expect(page.get_by_test_id("composer")).to_be_in_viewport()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{width} pixels wide"
        page.get_by_test_id("run-toggle").tap()
        expect(page.get_by_test_id("timeline-event").last).to_be_visible()


def asks_for_a_key_and_says_when_it_is_wrong(browser):
    with opened(browser, path="/") as page:
        expect(page.get_by_test_id("key-input")).to_be_visible()
        page.get_by_test_id("key-input").fill("nx_wrong")
        page.get_by_test_id("key-submit").click()
        expect(page.get_by_test_id("key-error")).not_to_be_empty()
        page.get_by_test_id("key-input").fill(key)
        page.get_by_test_id("key-submit").click()
        connected(page)
        ask(page, "hello")
        expect(page.get_by_test_id("answer-text").last).not_to_be_empty()


def can_be_used_by_keyboard_alone(browser):
    with opened(browser) as page:
        connected(page)
        expect(page.get_by_test_id("composer")).to_be_focused()
        page.keyboard.type("calculate 6*7")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("answer-text").last).to_contain_text("42")
        page.keyboard.type("One line,")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("and another.")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("message-user").last).to_contain_text(re.compile(r"One line,\s+and another\."))
        page.keyboard.press("Control+k")
        expect(page.get_by_test_id("message-user")).to_have_count(0)
        expect(page.get_by_test_id("composer")).to_be_focused()


def shows_what_is_said_as_text(browser):
    with opened(browser) as page:
        connected(page)
        ask(page, "echo <img src=x onerror=alert(1)> **bold** [link](javascript:alert(1))")
        expect(page.get_by_test_id("answer-text").last).not_to_be_empty()
        expect(page.get_by_test_id("timeline-event").last).to_have_attribute("data-event", "requests.processed")
        messages = page.locator("#messages")
        expect(messages.locator("img")).to_have_count(0)
        expect(messages.locator("a[href^='javascript']")).to_have_count(0)


with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    globals()[claim](chromium)
    chromium.close()
