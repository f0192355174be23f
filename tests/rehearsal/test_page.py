"""The page in a real browser: it is self-contained, fits a phone, matches the document, and runs no script."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from mclass_tf.rehearsal import page
from mclass_tf.rehearsal.report import Report, document
from mclass_tf.rehearsal.result import FailedRequest, TimelineEvent
from mclass_tf.rehearsal.timeline import spans
from tests.need import need
from tests.rehearsal import samples
from tests.rehearsal.samples import START, task

pytestmark = pytest.mark.xdist_group("browser")  # started once

CHROMIUM = shutil.which("chromium")
PHONE: ViewportSize = {"width": 360, "height": 740}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
NASTY = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&\"'"

Show = Callable[[Report], Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Open the page of a report. At the end, the browser must have reported no error and sent no request."""
    context = browser.new_context(viewport=PHONE)
    opened = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))

    def shown(report: Report) -> Page:
        file = tmp_path / "report.html"
        file.write_text(page.render(report), encoding="utf-8")
        opened.goto(file.as_uri())
        return opened

    yield shown
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith("file://")] == []


REPORTS: dict[str, Callable[[], Report]] = {
    "passed": lambda: samples.report(),  # noqa: PLW0108  # it takes arguments
    "failed": lambda: samples.report(samples.without_minimum()),
    "two runs": lambda: samples.report(samples.rehearsal(), samples.without_minimum()),
    "no release": lambda: samples.report(replace(samples.rehearsal(), release=None, events=(), tasks=())),
}


@pytest.fixture(params=REPORTS, ids=str)
def report(request: pytest.FixtureRequest) -> Report:
    name: str = request.param
    return REPORTS[name]()


def test_the_page_is_not_wider_than_the_screen(show: Show, report: Report) -> None:
    shown = show(report)
    for size in (PHONE, DESKTOP):
        shown.set_viewport_size(size)

        assert shown.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_numbers_on_the_page_are_those_of_the_document(show: Show, report: Report) -> None:
    shown, found = show(report), document(report)

    def text(key: str) -> str:
        return shown.locator(f'[data-key="{key}"]').first.inner_text()

    assert int(text("requests.sent").replace(",", "")) == found["requests"]["sent"]
    assert int(text("requests.failed").replace(",", "")) == found["requests"]["failed"]
    assert text("verdict").lower() == found["verdict"]
    for phase, latency in found["latency"].items():
        for name in ("p50", "p90", "p99", "p999", "max"):
            cell = shown.locator(f'td[data-key="latency.{phase}.{name}"]')
            assert float(cell.get_attribute("data-value") or "nan") == latency[name]
            assert float(cell.inner_text()) == pytest.approx(latency[name], rel=0.05)


def test_the_page_carries_the_document_itself(show: Show, report: Report) -> None:
    carried = show(report).locator("#document").text_content()

    assert json.loads(carried or "") == document(report)


def test_what_comes_from_outside_is_text_and_nothing_else(show: Show) -> None:
    found = samples.rehearsal()
    failed = (
        FailedRequest(
            started_at=START + 40,
            ended_at=START + 41,
            phase="during",
            kind="http_502",
            path=f"/{NASTY}",
            connection="new",
            part="steady",
            number=1,
        ),
    )
    release = replace(found.release, new_version=NASTY, cause=NASTY) if found.release else None
    ended = replace(task(15, created=40, stopped=50), stopped_reason=NASTY, stop_code="TaskFailedToStart")
    nasty = replace(
        found,
        environment=NASTY,
        load=samples.load(failed=failed),
        release=release,
        events=(TimelineEvent(at=START + 40, source="ecs", message=NASTY),),
        tasks=(ended,),
        notes=(NASTY,),
    )

    report = replace(samples.report(nasty), environment=NASTY, scenario=NASTY, promise=NASTY, target=NASTY)
    shown = show(report)

    assert shown.title().startswith("Rehearsal of </script>")
    assert shown.locator("img").count() == 0
    assert shown.locator("script").count() == 1
    assert NASTY in shown.locator("main").inner_text()


def test_every_chart_says_in_words_what_it_shows(show: Show) -> None:
    shown = show(samples.report(samples.without_minimum()))

    labels = [
        chart.get_attribute("aria-label") or "" for chart in shown.locator('[role="img"]').element_handles()
    ]
    assert len(labels) == 4
    assert "median" in labels[0]
    assert "200 requests failed" in labels[1]
    assert "at least" in labels[2]
    assert shown.locator("details table tr").count() > 10


def test_words_can_be_read_in_the_light_and_in_the_dark(browser: Browser, tmp_path: Path) -> None:
    """WCAG requires a contrast of 4.5 to 1."""
    file = tmp_path / "report.html"
    file.write_text(page.render(samples.report(samples.without_minimum())), encoding="utf-8")
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        shown = context.new_page()
        shown.goto(file.as_uri())
        for selector in ("main", ".soft", ".verdict", ".key", "figcaption b", ".level span", "dt"):
            colour = shown.locator(selector).first.evaluate("e => getComputedStyle(e).color")
            paper = shown.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert _contrast(colour, paper) >= 4.5, (scheme, selector)
        context.close()


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_an_event_on_the_axis_leads_to_its_row(show: Show) -> None:
    shown = show(samples.report())
    link = shown.locator(".lane a").first

    target = link.get_attribute("href") or ""

    assert shown.locator(f"tr{target}").count() == 1


def test_the_page_prints(show: Show) -> None:
    shown = show(samples.report(samples.without_minimum()))

    assert shown.pdf(format="A4").startswith(b"%PDF")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page.render(samples.report())

    assert "<script src" not in text
    assert "<link" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_a_page_of_a_long_rehearsal_with_many_failures_stays_small() -> None:
    found = samples.rehearsal()
    second = found.load.samples[0]
    long = tuple(replace(second, at=START + number) for number in range(3600))
    failed = tuple(samples.failed_request(at=40) for _ in range(5000))
    load = replace(samples.load(failed=failed), samples=long, ended_at=START + 3600)

    text = page.render(samples.report(replace(found, load=load)))

    assert len(text) < 500_000


def test_the_stretches_of_a_tasks_life_follow_each_other() -> None:
    old = task(10, created=-60, healthy=-50, draining=46, stopping=52, stopped=62)

    found = spans(old, until=START + 90)

    assert [span.state for span in found] == ["starting", "serving", "draining", "ending"]
    assert [span.end for span in found[:-1]] == [span.start for span in found[1:]]
    assert found[-1].end == START + 62


def test_a_task_that_never_served_was_starting_until_it_was_ended() -> None:
    never = task(12, created=30, healthy=None, stopping=40, stopped=41)

    assert [span.state for span in spans(never, until=START + 90)] == ["starting", "ending"]
