"""The summary of a rehearsal for a terminal: plain text, wrapped to its width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from mclass_tf.rehearsal.report import RehearsalRun, Report
from mclass_tf.rehearsal.result import COMPARED, Exposure, KilledCommand, Promotion, Rehearsal, TimelineEvent
from mclass_tf.rehearsal.verdict import PASSED
from mclass_tf.strategy import ROLLING
from mclass_tf.terminal import inline

# A narrower summary has no room for the text of events.
_MIN_WIDTH: Final = 40
_DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_MAX_EVENTS: Final = 12
_COLUMNS: Final = ("p50", "p90", "p99", "p99.9", "max")
# Report a 99th percentile that exceeds this multiple of the earlier one.
_MUCH_SLOWER: Final = 2.0


def render(report: Report, *, width: int = 100) -> str:
    """Return the summary. Lines are at most `width` wide unless a word is longer."""
    width = max(width, _MIN_WIDTH)
    parts = (
        _head(report, width),
        _requests(report, width),
        _latencies(report),
        _runs(report),
        _findings(report.shown, width),
        _promotion(report.shown, width),
        _release(report.shown, width),
        _doubts(report.shown, width),
    )
    return "\n\n".join(text for part in parts if (text := "\n".join(part)))


def number(count: int) -> str:
    return f"{count:,}"


def brief(text: str) -> str:
    """Return a text with shortened digests, for readers."""
    return _DIGEST.sub(r"\1…", text)


def headline(report: Report) -> str:
    """Return the verdict in one sentence."""
    subject = subject_of(report)
    failed = f"{number(report.failed)} of {number(report.sent)} requests failed"
    return f"{report.outcome.upper()}  {subject}: {failed}"


def subject_of(report: Report) -> str:
    """Return what was rehearsed, for example "dev → prod by canary: fault bad-smoke"."""
    where = f"{report.source} → {report.environment}" if report.source else report.environment
    how = f" by {report.strategy}" if report.strategy and report.strategy != ROLLING else ""
    return f"{where}{how}: {report.scenario}" if report.scenario else f"{where}{how}"


def _head(report: Report, width: int) -> Iterator[str]:
    yield from _wrapped(headline(report), width, indent="  ", first="")
    if report.promise:
        yield from _wrapped(report.promise, width, indent="  ")
    if report.outcome != PASSED:
        for reason in report.reasons:
            yield from _wrapped(brief(reason), width, indent="    ", first="  - ")


def _requests(report: Report, width: int) -> Iterator[str]:
    phases = report.phases()
    longest = max(len(name) for name in phases)
    yield f"{'phase':<{longest}}  {'sent':>9}  {'failed':>7}  how"
    for name, phase in phases.items():
        kinds = ", ".join(f"{kind} {count}" for kind, count in phase["by_kind"].items())
        line = (
            f"{name:<{longest}}  {number(phase['sent']):>9}  {number(phase['failed']):>7}  {kinds}".rstrip()
        )
        yield from _wrapped(line, width, indent=" " * (longest + 22), first="")
    if report.killed:
        yield f"{number(report.killed)} of the failed were at a task that died"


def _latencies(report: Report) -> Iterator[str]:
    yield f"{'ms':<7}" + "".join(f"{name:>9}" for name in _COLUMNS)
    for name in COMPARED:
        latency = report.latency(name)
        if latency is not None:
            values = (latency.p50, latency.p90, latency.p99, latency.p999, latency.max)
            yield f"{name:<7}" + "".join(f"{milliseconds(value):>9}" for value in values)
    ratio = report.p99_ratio()
    if ratio is not None:
        much = ", much more" if ratio > _MUCH_SLOWER else ""
        yield f"p99 during the release is {ratio:g} times that before{much}"


def milliseconds(value: float) -> str:
    """Return the number with its significant digits."""
    whole = 100
    return f"{value:.0f}" if value >= whole else f"{value:.1f}"


def _runs(report: Report) -> Iterator[str]:
    if len(report.runs) == 1:
        return
    for count, run in enumerate(report.runs, start=1):
        load = run.rehearsal.load
        yield f"run {count}: {run.verdict.outcome}, {number(load.failures)} of {number(load.sent)} failed"


def _findings(run: RehearsalRun, width: int) -> Iterator[str]:
    for finding in run.verdict.findings:
        yield from _wrapped(brief(finding.text), width, indent="  ", first="")
        if finding.advice:
            yield from _wrapped(finding.advice, width, indent="       ", first="  fix: ")


def _promotion(run: RehearsalRun, width: int) -> Iterator[str]:
    rehearsal = run.rehearsal
    sentences = [
        *([promotion_text(rehearsal.promotion)] if rehearsal.promotion else []),
        *stage_lines(rehearsal),
        *([exposure_text(rehearsal.exposure)] if rehearsal.exposure else []),
        *([killed_text(rehearsal.killed)] if rehearsal.killed else []),
    ]
    for text in sentences:
        yield from _wrapped(text, width, indent="  ", first="")


def promotion_text(promotion: Promotion) -> str:
    return (
        f"promoted from {promotion.source} in {promotion.seconds:.1f} s: {promotion.ecs_seconds:.1f} s were ECS's own, "
        f"{promotion.overhead_seconds:.1f} s went before and after it"
    )


def stage_lines(rehearsal: Rehearsal) -> Iterator[str]:
    for deployment in rehearsal.deployments:
        spans = deployment.spans(until=rehearsal.ended_at)
        yield "stages: " + ", ".join(f"{span.words} {span.end - span.start:.1f} s" for span in spans)


def exposure_text(exposure: Exposure) -> str:
    """Return a sentence on the exposure to a version that was rolled back."""
    if not exposure.requests:
        given = exposure.balancer_requests
        witness = "" if given is None else f", and the load balancer gave it {number(given)} of them"
        return f"no production request was answered by the new version{witness}"
    return (
        f"{number(exposure.requests)} requests met the new version within {exposure.seconds:.0f} s, "
        f"{exposure.share:.1%} of all that came then (the strategy gives it {exposure.limit:.1%}); "
        f"{number(exposure.failed)} of them failed"
    )


def killed_text(killed: KilledCommand) -> str:
    """Return a sentence on the result of a command that was killed."""
    cause = f" ({brief(killed.cause)})" if killed.cause else ""
    return (
        f"killed at {killed.step}; {killed.resumed_at - killed.killed_at:.0f} s later `release --resume` ended it within "
        f"{killed.ended_at - killed.resumed_at:.0f} s: {killed.outcome}, exit {killed.exit_code}{cause}"
    )


def _release(run: RehearsalRun, width: int) -> Iterator[str]:
    release = run.rehearsal.release
    if release is not None:
        yield from _wrapped(_run_summary(run), width, indent="  ", first="")
    events = run.rehearsal.events
    for event in events[-_MAX_EVENTS:]:
        yield from _event(event, run, width)


def _run_summary(run: RehearsalRun) -> str:
    release = run.rehearsal.release
    assert release is not None  # noqa: S101  # the caller has checked
    seconds = release.ended_at - release.started_at
    if release.outcome == "failed":
        cause = brief(release.cause or release.error)
        return f"the release of {release.new_version} failed after {seconds:.0f} s: {cause}"
    return f"{release.new_version} replaced {release.old_version} in {seconds:.0f} s"


def _event(event: TimelineEvent, run: RehearsalRun, width: int) -> Iterator[str]:
    since = event.at - run.rehearsal.load.started_at
    yield from _wrapped(event.message, width, indent=" " * 11, first=f"  {since:6.1f} s ")


def _doubts(run: RehearsalRun, width: int) -> Iterator[str]:
    sender = run.rehearsal.load.sender
    if sender.is_behind:
        yield from _wrapped(f"the sender was behind: {sender.why}", width, indent="  ", first="")
    for note in run.rehearsal.notes:
        yield from _wrapped(note, width, indent="  ", first="")


def _wrapped(text: str, width: int, *, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        inline(text),
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    )
