"""Opens the viewer in a real browser and uses it as people do.

    view.py XSCOPE PATH REPORT_JSON --chromium PATH [--shots FOLDER] [--search TEXT] [--page timeline|runs]

REPORT_JSON is what `xscope analyze --json` says of PATH. Fails with a message when the page shows
anything else than it, asks another server, writes to the console, or does not work.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess

from playwright.sync_api import expect, sync_playwright


def number(text):
    return int(text.replace(",", ""))


def wait(page, condition):
    """Asks the page until it is so; its policy does not let it be given functions to wait with."""
    for _ in range(500):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"in vain waited for {condition}")


def timeline(page, report, search, shot):
    state = "window.xscopeTimeline"
    span = lambda: page.evaluate(f"{state}.to - {state}.from")
    drawn = lambda: wait(page, f"!!{state}.windows.current && !{state}.windows.busy && {state}.hits.length > 0")
    drawn()
    assert page.evaluate(f"{state}.status.slices") == report["events"], "slices are not those of the report"
    shot("timeline")

    view = page.locator("#scroll").bounding_box()
    page.mouse.move(view["x"] + 700, view["y"] + 100)
    whole = span()
    for key, check in (("w", lambda now, old: now < old), ("s", lambda now, old: now > old)):
        old = span()
        page.keyboard.down(key)
        wait(page, f"Math.abs({state}.to - {state}.from - {old}) > {old} / 20")
        page.keyboard.up(key)
        assert check(span(), old), key
    page.keyboard.press("0")
    wait(page, f"{state}.to - {state}.from > {whole} * 0.99")

    page.keyboard.press("/")
    page.keyboard.type(search)
    page.keyboard.press("Enter")
    matches = page.locator("#matches")
    expect(matches).to_have_text(re.compile(r"^1 of "))
    total = number(matches.inner_text().split()[-1])
    expect(page.locator("#content h2")).to_contain_text(search)
    page.keyboard.press("Enter")
    expect(matches).to_have_text(re.compile(rf"^{min(2, total)} of "))
    shot("search")
    page.keyboard.press("Escape")
    address = page.evaluate("new Promise((then) => setTimeout(() => then(location.hash), 400))")
    assert "s=" in address and "t=" in address, address

    page.keyboard.press("m")
    expect(page.locator("#content h2")).to_contain_text("Range of")
    page.keyboard.press("0")
    page.mouse.move(view["x"] + 300, view["y"] + 120)
    page.mouse.down()
    page.mouse.move(view["x"] + 900, view["y"] + 140, steps=5)
    page.mouse.up()
    expect(page.locator("#content table")).to_be_visible()
    shot("range")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()


def runs(page, shot):
    rows = page.locator("#rows tr")
    assert rows.count() >= 2, "the list has no two runs"
    shot("runs")
    page.fill("#filter", "no such run")
    expect(rows).to_have_count(0)
    page.fill("#filter", "")
    for index in range(2):
        rows.nth(index).locator("input").check()
    page.click("#compare")
    page.wait_for_selector("html[data-ready]")
    assert "/compare?" in page.url


def main():
    parser = argparse.ArgumentParser()
    for name in ("xscope", "path", "report"):
        parser.add_argument(name)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--shots")
    parser.add_argument("--search", default="matmul")
    parser.add_argument("--page", default="timeline")
    args = parser.parse_args()
    command = [args.xscope, "view", args.path, "--no-open"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = server.stdout.readline().strip()
        assert url, "the viewer printed no address"
        with sync_playwright() as playwright:
            # A container has no user namespaces for the sandbox; all pages here are our own.
            browser = playwright.chromium.launch(
                executable_path=args.chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            said = []
            page.on("console", lambda message: said.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: said.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on(
                "request",
                lambda request: request.url.startswith((url, "data:")) or said.append(f"request: {request.url}"),
            )

            def shot(name):
                if args.shots:
                    os.makedirs(args.shots, exist_ok=True)
                    page.screenshot(path=str(pathlib.Path(args.shots) / f"{name}.png"))

            page.goto(url)
            page.wait_for_selector("html[data-ready=true]")
            if args.page == "runs":
                runs(page, shot)
            else:
                timeline(page, json.loads(pathlib.Path(args.report).read_text()), args.search, shot)
            assert not said, said
            browser.close()
    finally:
        server.terminate()
        server.wait()


main()
