"""Opens the viewer in a real browser and uses it as people do.

    view.py XSCOPE PATH REPORT_JSON --chromium PATH [--shots FOLDER] [--search TEXT]
            [--page timeline|runs|live] [--live URL] [--frames]

REPORT_JSON is what `xscope analyze --json` says of PATH. Fails with a message when the page shows
anything else than it, asks another server, writes to the console, or does not work. --frames prints
how long frames took while the timeline moved and zoomed.
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
    matches = page.locator("#match-count")
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
    a_click_shows_the_slice(page, shot)
    if report.get("request_report", {}).get("typical"):
        a_request_is_followed(page, report["request_report"]["typical"]["request_id"], shot)
    the_address_leads_back(page)


def a_click_shows_the_slice(page, shot):
    """Clicks into the widest box that is one slice: what it is stands in the panel."""
    state = "window.xscopeTimeline"
    page.keyboard.press("0")
    wait(page, f"!{state}.windows.busy && {state}.hits.some((hit) => {state}.windows.current.count[hit[4]] === 1)")
    x, y, name = page.evaluate(
        f"""(() => {{ const now = {state}.windows.current;
        const single = {state}.hits.filter((hit) => now.count[hit[4]] === 1 && hit[1] < 300);
        const [x, y, width, height, index] = single.sort((a, b) => b[2] - a[2])[0];
        const edge = document.getElementById('view').getBoundingClientRect();
        return [edge.left + Math.max(x, 245) + Math.min(width, 8) / 2, edge.top + y + height / 2,
            timeline.nameOf(now.name[index])]; }})()"""
    )
    page.mouse.click(x, y)
    expect(page.locator("#content h2")).to_contain_text(name[:60])
    expect(page.locator("#content .facts").first).to_contain_text("duration")
    shot("slice")


def a_request_is_followed(page, request, shot):
    """From a request by arrows to what a device ran for it."""
    page.fill("#text", request)
    page.keyboard.press("Enter")
    expect(page.locator("#content h2")).to_contain_text(request)
    state = "window.xscopeTimeline"
    wait(page, f"!!{state}.detail && {state}.detail.arrows.length > 0")
    expect(page.locator("#content")).to_contain_text("Leads to and comes from")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    wait(page, f"!{state}.windows.busy")
    page.wait_for_timeout(200)
    shot("followed")
    page.locator("#content .way button", has_text="→").last.click()
    expect(page.locator("#content h2")).not_to_contain_text(request)


def the_address_leads_back(page):
    """The address that the page has opens it at the same place, with the same slice."""
    state = "window.xscopeTimeline"
    address = page.evaluate("new Promise((then) => setTimeout(() => then(location.href), 400))")
    seen = page.evaluate(f"[Math.round({state}.from), Math.round({state}.to)]")
    title = page.locator("#content h2").inner_text()
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready=true]")
    expect(page.locator("#content h2")).to_have_text(title)
    again = page.evaluate(f"[Math.round({state}.from), Math.round({state}.to)]")
    assert again == seen, f"{again} is not {seen}"


def frames(page):
    """Milliseconds between frames while keys move and zoom the timeline."""
    state = "window.xscopeTimeline"
    wait(page, f"!{state}.windows.busy")
    view = page.locator("#scroll").bounding_box()
    page.mouse.move(view["x"] + 700, view["y"] + 100)
    for keys in ("w", "d", "a", "s"):
        page.evaluate(
            "window.gaps = []; (function () { let last = performance.now(); window.watching = true;"
            " requestAnimationFrame(function frame(now) { window.gaps.push(now - last); last = now;"
            " if (window.watching) requestAnimationFrame(frame); }); })()"
        )
        page.keyboard.down(keys)
        page.wait_for_timeout(1500)
        page.keyboard.up(keys)
        gaps = sorted(page.evaluate("window.watching = false, window.gaps.slice(2)"))
        at = lambda part: gaps[min(len(gaps) - 1, int(len(gaps) * part))]
        print(f"{keys}: {len(gaps)} frames, p50 {at(0.5):.1f} ms, p95 {at(0.95):.1f} ms, most {gaps[-1]:.1f} ms")


def live(page, shot):
    wait(page, "document.querySelectorAll('#tiles dt').length > 5")
    expect(page.locator("#url")).to_contain_text("http://127.0.0.1:")
    wait(page, "document.getElementById('stages').textContent.includes('forward')")
    tiles = page.locator("#tiles").inner_text()
    for name in ("p50, server", "queue", "batch", "requests"):
        assert name in tiles, tiles
    shot("live")


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
    parser.add_argument("--live")
    parser.add_argument("--frames", action="store_true")
    args = parser.parse_args()
    command = [args.xscope, "view", args.path, "--no-open"] + (["--live", args.live] if args.live else [])
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
            elif args.page == "live":
                page.goto(url + "live")
                live(page, shot)
            elif args.frames:
                frames(page)
            else:
                timeline(page, json.loads(pathlib.Path(args.report).read_text()), args.search, shot)
            assert page.evaluate("window.injected") is None
            assert not said, said
            browser.close()
    finally:
        server.terminate()
        server.wait()


main()
