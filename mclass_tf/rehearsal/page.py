"""The report of a rehearsal as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files

from mclass_tf.rehearsal import timeline
from mclass_tf.rehearsal.html_text import escape
from mclass_tf.rehearsal.report import Report, Run, document, instant
from mclass_tf.rehearsal.result import COMPARED, Latency, Rehearsal
from mclass_tf.rehearsal.summary import (
    brief,
    exposure_text,
    killed_text,
    milliseconds,
    number,
    promotion_text,
    subject_of,
)
from mclass_tf.terminal import json_text

_MOST_FAILED = 50
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SETTINGS = (
    ("speed", "Speed of the local AWS's clock", "times"),
    ("desired_count", "Desired tasks", ""),
    ("minimum_healthy_percent", "Minimum healthy percent", "%"),
    ("maximum_percent", "Maximum percent", "%"),
    ("circuit_breaker", "Circuit breaker with rollback", ""),
    ("grace_period", "Health check grace period", "s"),
    ("health_check_interval", "Health check interval", "s"),
    ("healthy_threshold", "Healthy threshold", "checks"),
    ("unhealthy_threshold", "Unhealthy threshold", "checks"),
    ("deregistration_delay", "Deregistration delay", "s"),
    ("idle_timeout", "Idle timeout of the load balancer", "s"),
    ("keep_alive", "Keep-alive of the service", "s"),
    ("lame_duck", "Lame duck after SIGTERM", "s"),
    ("longest_request", "Longest request", "s"),
    ("stop_timeout", "Stop timeout", "s"),
)


def render(report: Report) -> str:
    """Return the whole page."""
    title = f"Rehearsal of {report.environment}: {report.outcome}"
    style = files("mclass_tf.rehearsal").joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(_body(report))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main>\n{body}"
        f'\n</main><script type="application/json" id="document">{_data(report)}</script></body></html>\n'
    )


def _data(report: Report) -> str:
    """The same as `--json` prints, so that the page is its own record; nothing in it can end the element."""
    text = json_text(document(report), indent=None)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _body(report: Report) -> Iterator[str]:
    yield _head(report)
    yield _figures(report)
    yield _found(report)
    for index, run in enumerate(report.runs, start=1):
        yield _section(_run_title(report, index), timeline.render(run.rehearsal, anchor=f"event-{index}-"))
    for place, run in enumerate(report.runs, start=1):
        suffix = f" of run {place}" if len(report.runs) > 1 else ""
        yield _section(f"Stages{suffix}", _stages_table(run.rehearsal))
    yield _section("Requests", _requests_table(report) + _kinds(report))
    yield _section("Latency", _latency_table(report))
    shown = report.shown
    index = report.runs.index(shown) + 1
    yield _section("Failed requests", _failed_table(shown))
    for place, run in enumerate(report.runs, start=1):
        suffix = f" of run {place}" if len(report.runs) > 1 else ""
        yield _section(f"Events{suffix}", _events_table(run, anchor=f"event-{place}-"))
    yield _section("Tasks" + (f" of run {index}" if len(report.runs) > 1 else ""), _tasks_table(shown))
    yield _section("Settings in force", _settings(shown.rehearsal))
    yield _section("How it was measured", _method(shown.rehearsal))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n" if content else ""


def _run_title(report: Report, index: int) -> str:
    return "Over time" if len(report.runs) == 1 else f"Run {index} over time"


def _head(report: Report) -> str:
    run = report.shown.rehearsal
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in report.reasons)
    promise = f'<p class="soft">{escape(report.promise)}</p>' if report.promise else ""
    return (
        f'<header><div class="verdict {report.outcome}" data-key="verdict">{report.outcome}</div>'
        f"<h1>Rehearsal of {escape(subject_of(report))}</h1>"
        f'<p class="lead">{escape(_sentence(report))}</p>{promise}{reasons}'
        f'<p class="soft">{escape(report.target)}, {escape(instant(run.started_at)[:19].replace("T", " "))} UTC</p></header>'
    )


def _sentence(report: Report) -> str:
    failed = f"{number(report.failed)} of {number(report.sent)} requests failed"
    release = report.shown.rehearsal.release
    if release is None:
        return f"{failed}."
    if release.outcome == "failed":
        cause = brief(release.cause or release.error)
        return f"{failed}. The release of {release.new_version} failed: {cause}"
    return f"{failed} while {release.new_version} replaced {release.old_version}."


def _figures(report: Report) -> str:
    entries = [
        ("requests.sent", number(report.sent), "requests sent", ""),
        (
            "requests.failed",
            number(report.failed),
            "requests failed",
            "failed" if report.failed else "passed",
        ),
    ]
    if report.killed:
        entries.append(("requests.killed", number(report.killed), "of them at a task that died", ""))
    for name in COMPARED:
        latency = report.latency(name)
        if latency is not None:
            entries.append((f"latency.{name}.p99", f"{milliseconds(latency.p99)} ms", f"p99 {name}", ""))
    release = report.shown.rehearsal.release
    if release is not None:
        entries.append(("", f"{release.ended_at - release.started_at:.0f} s", "for the release", ""))
    entries += _promoted(report.shown.rehearsal)
    items = (
        f"<li><b{_class(kind)}{_data_key(key)}>{escape(value)}</b><span>{escape(what)}</span></li>"
        for key, value, what, kind in entries
    )
    return f'<ul class="figures">{"".join(items)}</ul>\n'


def _promoted(rehearsal: Rehearsal) -> Iterator[tuple[str, str, str, str]]:
    promotion, exposure = rehearsal.promotion, rehearsal.exposure
    if promotion is not None:
        yield "promotion.ecs_seconds", f"{promotion.ecs_seconds:.0f} s", "of it ECS's own", ""
        overhead = f"{promotion.overhead_seconds:.1f} s"
        yield "promotion.overhead_seconds", overhead, "of the promotion before and after ECS", ""
    if exposure is not None:
        met = number(exposure.requests)
        yield "exposure.requests", met, f"requests met the new version, {exposure.share:.1%} then", ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _data_key(key: str) -> str:
    return f' data-key="{key}"' if key else ""


def _found(report: Report) -> str:
    findings = report.shown.verdict.findings
    boxes = (
        f'<div class="finding {"bad" if finding.failed else "note"}"><p><b>{escape(_sentence_case(brief(finding.text)))}.</b></p>'
        + (f"<p>{escape(_sentence_case(finding.advice))}</p>" if finding.advice else "")
        + "</div>"
        for finding in findings
    )
    return _section("What was found", "".join(boxes))


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: Iterable[tuple[str, str]], rows: Iterable[str], *, kind: str = "") -> str:
    cells = "".join(f'<th scope="col"{_class(style)}>{escape(text)}</th>' for text, style in head)
    return (
        f'<div class="scroll"><table{_class(kind)}><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _requests_table(report: Report) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{number(phase["sent"])}</td>'
        f'<td class="n">{number(phase["failed"])}</td>'
        f"<td>{escape(_kinds_text(phase['by_kind']))}</td></tr>"
        for name, phase in report.phases().items()
    ]
    rows.append(
        f'<tr><th scope="row">all</th><td class="n">{number(report.sent)}</td>'
        f'<td class="n">{number(report.failed)}</td><td>{escape(_kinds_text(report.by_kind))}</td></tr>'
    )
    head = (("phase", ""), ("sent", "n"), ("failed", "n"), ("how", ""))
    return _table(head, rows, kind="phases-table")


def _kinds_text(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} {number(count)}" for kind, count in kinds.items())


def _kinds(report: Report) -> str:
    if len(report.runs) == 1:
        return ""
    rows = (
        f'<tr><th scope="row">{index}</th><td>{escape(run.verdict.outcome)}</td>'
        f'<td class="n">{number(run.rehearsal.load.sent)}</td><td class="n">{number(run.rehearsal.load.failures)}</td></tr>'
        for index, run in enumerate(report.runs, start=1)
    )
    return _table((("run", ""), ("verdict", ""), ("sent", "n"), ("failed", "n")), rows)


def _latency_table(report: Report) -> str:
    names = ("p50", "p90", "p99", "p99.9", "max")
    rows = [
        f'<tr><th scope="row">{escape(name)}</th>{_latency_cells(name, latency)}</tr>'
        for name in COMPARED
        if (latency := report.latency(name)) is not None
    ]
    ratio = report.p99_ratio()
    note = "" if ratio is None else f"<p>p99 during the release is {ratio:g} times that before it.</p>"
    head = (("ms", ""), *((name, "n") for name in names))
    return _table(head, rows, kind="latencies") + note


def _latency_cells(phase: str, latency: Latency) -> str:
    values = (
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p999", latency.p999),
        ("max", latency.max),
    )
    return "".join(
        f'<td class="n" data-key="latency.{phase}.{name}" data-value="{value}">{milliseconds(value)}</td>'
        for name, value in values
    )


def _stages_table(rehearsal: Rehearsal) -> str:
    """Stages with the share of production traffic that they gave, and what was promoted and met."""
    start = rehearsal.load.started_at
    rows = [
        f'<tr><td class="n">{stage.at - start:.1f} s</td><td>{escape(stage.name.lower().replace("_", " "))}</td>'
        f'<td class="n">{"" if stage.production is None else f"{stage.production:g} %"}</td></tr>'
        for stage in rehearsal.stages
    ]
    if not rows:
        return ""
    notes = [promotion_text(rehearsal.promotion)] if rehearsal.promotion else []
    notes += [exposure_text(rehearsal.exposure)] if rehearsal.exposure else []
    notes += [killed_text(rehearsal.killed)] if rehearsal.killed else []
    head = (("at", "n"), ("stage", ""), ("production traffic of the new version", "n"))
    paragraphs = "".join(f"<p>{escape(_sentence_case(text))}.</p>" for text in notes)
    return paragraphs + _table(head, rows)


def _failed_table(run: Run) -> str:
    load = run.rehearsal.load
    shown = load.failed[:_MOST_FAILED]
    if not shown:
        return "" if load.failures else "<p>None.</p>"
    start = load.started_at
    rows = (
        f'<tr><td class="n">{request.ended_at - start:.2f} s</td><td>{escape(request.phase)}</td>'
        f"<td>{escape(request.kind)}</td><td><code>{escape(request.path)}</code></td>"
        f'<td>{escape(request.connection)}</td><td class="n">{milliseconds((request.ended_at - request.started_at) * 1000)} ms</td></tr>'
        for request in shown
    )
    left = load.failures - len(shown)
    more = f"<p>{number(left)} more are not listed.</p>" if left else ""
    head = (("at", "n"), ("phase", ""), ("how", ""), ("path", ""), ("connection", ""), ("after", "n"))
    return _table(head, rows) + more


def _events_table(run: Run, *, anchor: str) -> str:
    start = run.rehearsal.load.started_at
    rows = (
        f'<tr id="{anchor}{index}"><td class="n">{index}</td><td class="n">{event.at - start:.1f} s</td>'
        f"<td>{escape(event.message)}</td></tr>"
        for index, event in enumerate(run.rehearsal.events, start=1)
    )
    return _table((("", "n"), ("at", "n"), ("message", "")), rows) if run.rehearsal.events else ""


def _tasks_table(run: Run) -> str:
    start = run.rehearsal.load.started_at
    rows = (
        f'<tr><td><code>{escape(task.id[:8])}</code></td><td class="n">{task.revision}</td>'
        f'<td class="n">{_since(task.created_at, start)}</td><td class="n">{_since(task.healthy_at, start)}</td>'
        f'<td class="n">{_since(task.left_at, start)}</td><td class="n">{_since(task.stopping_at, start)}</td>'
        f'<td class="n">{_since(task.stopped_at, start)}</td>'
        f"<td>{escape(_end_of(task.stopped_reason, task.exit_code))}</td></tr>"
        for task in run.rehearsal.tasks
    )
    head = (
        ("task", ""),
        ("revision", "n"),
        *((what, "n") for what in ("created", "healthy", "draining", "stopping", "stopped")),
        ("why", ""),
    )
    return _table(head, rows) if run.rehearsal.tasks else ""


def _since(at: float | None, start: float) -> str:
    return "" if at is None else f"{at - start:.1f} s"


def _end_of(reason: str, exit_code: int | None) -> str:
    code = f" (exit code {exit_code})" if exit_code is not None else ""
    return f"{reason}{code}"


def _settings(rehearsal: Rehearsal) -> str:
    entries = []
    for name, label, unit in _SETTINGS:
        value = getattr(rehearsal.settings, name)
        if value is None:
            continue
        text = ("on" if value else "off") if isinstance(value, bool) else f"{value:g} {unit}".strip()
        entries.append(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>")
    return f"<dl>{''.join(entries)}</dl>"


def _method(rehearsal: Rehearsal) -> str:
    load = rehearsal.load
    sender = load.sender
    sentences = [
        (
            f"Requests were begun at a constant rate of {sender.rate:g} a second, whatever became of those before them; latency "
            "counts from the moment at which a request was due, so that a pause of the service is seen by all that came meanwhile. "
            "Nothing was tried again."
        ),
        (
            f"{number(load.connections_reused)} requests went over connections that were kept alive, "
            f"{number(load.connections_new)} over new ones."
        ),
        f"The sender itself: {sender.achieved_rate:g} requests a second, {number(sender.late)} begun more than 100 ms late, "
        f"the latest by {milliseconds(sender.worst_ms)} ms."
        + (f" It was behind: {sender.why}." if sender.is_behind else ""),
        *rehearsal.notes,
    ]
    return "".join(f"<p>{escape(text)}</p>" for text in sentences)
