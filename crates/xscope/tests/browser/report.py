"""Opens a report in a real browser and uses it as people do.

    report.py PAGE REPORT_JSON --chromium PATH [--shots FOLDER] [--hostile]

REPORT_JSON is what `xscope profile --json` or `xscope analyze --json` says of the same input.
Fails with a message when the page shows anything else than it, sends a request, writes to the
console, or does not work.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re

from playwright.sync_api import expect, sync_playwright

UNITS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}


def micros(text):
    """A duration as the page shows it, in microseconds."""
    number, unit = text.split()
    return float(number) * UNITS[unit]


def near(shown, expected, what, tolerance=2e-3):
    assert abs(shown - expected) <= tolerance * max(abs(expected), 1e-9), f"{what}: {shown} is not {expected}"


class Browser:
    def __init__(self, playwright, chromium, page):
        # A container has no user namespaces for the sandbox; all pages here are our own.
        self.browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        self.url = pathlib.Path(page).resolve().as_uri()

    @contextlib.contextmanager
    def open(self, **context):
        """The page in a fresh context; afterwards nothing may have been said or sent."""
        scripts = context.get("java_script_enabled", True)
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        page = context.new_page()
        said = []
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: request.url == self.url
            or request.url.startswith("data:")
            or said.append(f"request: {request.url}"),
        )
        page.goto(self.url)
        if scripts:
            page.wait_for_selector("html[data-ready]")
        yield page
        assert not said, said
        context.close()


def rows(page, table):
    """Texts of the cells of all rows on screen."""
    return page.evaluate(
        """table => Array.from(table.tBodies[0].rows).filter(row => !row.hidden)
                .map(row => Array.from(row.cells, cell => cell.textContent.trim()))""",
        table,
    )


def headings(page, table):
    return page.evaluate("table => Array.from(table.tHead.rows[0].cells, cell => cell.textContent.trim())", table)


def each_page_is_reached(page):
    links = page.locator("nav a")
    assert links.count() >= 7
    for index in range(links.count()):
        link = links.nth(index)
        target = link.get_attribute("href")
        link.click()
        expect(page.locator(f"{target} h2")).to_be_in_viewport()
    page.evaluate("window.scrollTo(0, 0)")


def figures_are_those_of_the_report(page, report):
    analysis = report.get("analysis", report)
    if report.get("request_counts", {}).get("measured_requests"):
        tiles = dict(zip(page.locator(".tiles dt").all_inner_texts(), page.locator(".tiles dd").all_inner_texts()))
        for name in ["p50", "p95", "p99"]:
            value = report["latency"][f"{name}_ms"]["value"]
            assert tiles[name].startswith(f"{value:.2f}"), (tiles[name], value)
        falls = page.locator("#summary .waterfall")
        for index, request in enumerate([report, report["slowest"]]):
            lanes = falls.nth(index).locator(".row:not(.axis)")
            names = lanes.locator(".name").all_inner_texts()
            values = lanes.locator(".value").all_inner_texts()
            assert dict(zip(names, values)) == {k: f"{v:.3f}" for k, v in request["waterfall_ms"].items()}
        island = json.loads(page.locator("#xscope-data").text_content())
        assert sum(bin["count"] for bin in island["histogram"]) == report["request_counts"]["measured_requests"]
    table = page.query_selector("#kernels table")
    assert bool(table) == bool(analysis["kernels"])
    if table:
        column = headings(page, table).index("self time")
        shown = sum(micros(row[column]) for row in rows(page, table))
        near(shown, sum(kernel["self_us"] for kernel in analysis["kernels"]), "self time of all kernels")
    if analysis["layers"]["total_us"] > 0:
        table = page.query_selector_all("#layers table")[-1]
        near(micros(rows(page, table)[0][1]), analysis["layers"]["total_us"], "layers", 1e-2)
    for finding in analysis["quality"]:
        assert finding["code"] in page.locator("#quality").inner_text(), finding


def tables_sort_and_filter(page):
    table = page.query_selector("#kernels table.sortable")
    if not table:
        return
    names = headings(page, table)
    column = names.index("mean" if "mean" in names else "A")
    heading = page.locator("#kernels thead th").nth(column)
    for order in ["descending", "ascending"]:
        heading.click()
        assert heading.get_attribute("aria-sort") == order
        shown = [row[column] for row in rows(page, table)]
        values = [float("-inf") if text == "-" else micros(text) for text in shown]
        assert values == sorted(values, reverse=order == "descending"), order
    everything = rows(page, table)
    box = page.locator("#kernels input[type=search]")
    if not box.count():
        return
    word = everything[len(everything) // 2][0]
    box.fill(word)
    some = rows(page, table)
    assert some and all(word.lower() in " ".join(row).lower() for row in some), word
    assert page.locator("#kernels [role=status]").inner_text() == f"{len(some)} of {len(everything)} rows"
    box.fill("no row has this")
    assert not rows(page, table)
    box.fill("")
    assert len(rows(page, table)) == len(everything)


def the_flame_zooms(page, flame="flame"):
    figure = page.locator(f"figure[data-chart={flame}]")
    cells = figure.locator(".flame div")
    if cells.count() < 3:
        return
    name = cells.nth(1).get_attribute("title").rsplit(": ", 1)[0]
    whole = figure.locator(".flame").bounding_box()["width"]
    # The widest scope of the lowest row: one that is not as wide as the figure.
    narrow = page.evaluate(
        """figure => { const cells = Array.from(figure.querySelectorAll('.flame div'));
        const narrow = cells.filter(cell => cell.offsetWidth < figure.offsetWidth / 2);
        return narrow.length ? cells.indexOf(narrow[0]) : -1 }""",
        figure.element_handle(),
    )
    if narrow >= 0:
        cell = cells.nth(narrow)
        title = cell.get_attribute("title")
        cell.click()
        zoomed = cells.evaluate_all(
            "(cells, title) => cells.filter(cell => cell.title === title).map(cell => cell.offsetWidth)", title
        )
        near(max(zoomed), whole, "the width of a scope that was clicked", 0.01)
        figure.get_by_role("button", name="Whole", exact=True).click()
    figure.locator("input").fill(name)
    assert figure.locator(".flame .match").count() >= 1, name
    assert "in what matches" in figure.locator("[role=status]").inner_text()
    figure.locator("input").fill("")


def charts_are_drawn(page):
    for chart in page.query_selector_all("figure[data-chart]:not([data-chart^=flame])"):
        name = chart.get_attribute("data-chart")
        assert chart.query_selector("svg path"), f"{name} is empty"
        assert chart.query_selector("svg text"), f"{name} has no labels"


def nothing_is_wider_than_the_window(page):
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], f"the page is {width[0]} px wide in a window of {width[1]}"


def shot(page, folder, name, **how):
    if folder:
        os.makedirs(folder, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", **how)


def check(browser, report, shots, hostile):
    with browser.open() as page:
        charts_are_drawn(page)
        if report:
            figures_are_those_of_the_report(page, report)
        shot(page, shots, "light")
        each_page_is_reached(page)
        for flame in page.locator("figure[data-chart^=flame]").evaluate_all("all => all.map(one => one.dataset.chart)"):
            the_flame_zooms(page, flame)
        tables_sort_and_filter(page)
        nothing_is_wider_than_the_window(page)
        if hostile:
            assert page.evaluate("window.injected") is None
            assert not page.locator("main img, main iframe, main b.injected").count()
        for name in ["layers", "latency"] if shots else []:
            page.locator(f"nav a[href='#{name}']").click()
            page.wait_for_timeout(50)
            shot(page, shots, name)
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()
        charts_are_drawn(page)
        shot(page, shots, "print", full_page=True)
    with browser.open(color_scheme="dark") as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != light, "dark is not light"
        charts_are_drawn(page)
        shot(page, shots, "dark")
    with browser.open(viewport={"width": 390, "height": 800}) as page:
        nothing_is_wider_than_the_window(page)
        charts_are_drawn(page)
        shot(page, shots, "narrow")
    with browser.open(java_script_enabled=False) as page:
        assert "Scripts are off" in page.locator("main").inner_text()
        if report and report.get("analysis", report)["kernels"]:
            assert page.locator("#kernels tbody tr").count() > 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    parser.add_argument("report", nargs="?")
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--shots")
    parser.add_argument("--hostile", action="store_true")
    args = parser.parse_args()
    size = os.path.getsize(args.page)
    assert size < 8_000_000, f"the page has {size} bytes"
    text = pathlib.Path(args.page).read_text(encoding="utf-8")
    assert not re.search(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", text.split("<script", 1)[0])
    report = json.loads(pathlib.Path(args.report).read_text()) if args.report else None
    with sync_playwright() as playwright:
        browser = Browser(playwright, args.chromium, args.page)
        check(browser, report, args.shots, args.hostile)
        browser.browser.close()


if __name__ == "__main__":
    main()
