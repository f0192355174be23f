"""Renders the report of a rehearsal as one self-contained HTML page: no scripts, fonts or links."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.rehearsal import summary
from mclass_tf.rehearsal.report import Report, document, instant
from mclass_tf.rehearsal.result import COMPARED, Rehearsal, ServiceSettings
from mclass_tf.rehearsal.timeline import Timeline
from mclass_tf.terminal import inline, json_text

_MAX_FAILED = 50
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
    """Return the whole page. The templates escape every value, so no text can open an element or end an attribute."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # no other command needs it

    environment = Environment(
        loader=PackageLoader("mclass_tf", "rehearsal"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "brief": summary.brief,
        "ms": summary.milliseconds,
        "notes": _notes,
        "number": summary.number,
        "sentence_case": _sentence_case,
        "since": _since,
    }
    environment.policies |= {"json.dumps_function": json_text, "json.dumps_kwargs": {"indent": None}}
    return environment.get_template("page.html.j2").render(_values(report))


def _finalize(value: object) -> object:
    """Return the text that a template inserts: its own markup, or text without direction marks, which browsers would obey."""
    return value if hasattr(value, "__html__") else inline(str(value))


def _values(report: Report) -> dict[str, object]:
    rehearsal = report.shown.rehearsal
    timelines = [
        Timeline(rehearsal=run.rehearsal, number=index) for index, run in enumerate(report.runs, start=1)
    ]
    return {
        "report": report,
        "subject": summary.subject_of(report),
        "timelines": timelines,
        "shown": timelines[report.runs.index(report.shown)],
        "started_at": instant(rehearsal.started_at)[:19].replace("T", " "),
        "latencies": {name: latency for name in COMPARED if (latency := report.latency(name)) is not None},
        "failed": rehearsal.load.failed[:_MAX_FAILED],
        "settings": list(_settings(rehearsal.settings)),
        # The same JSON as `--json`, so that the page is a complete record.
        "document": document(report),
    }


def _notes(rehearsal: Rehearsal) -> Iterator[str]:
    if rehearsal.promotion is not None:
        yield summary.promotion_text(rehearsal.promotion)
    if rehearsal.exposure is not None:
        yield summary.exposure_text(rehearsal.exposure)
    if rehearsal.killed is not None:
        yield summary.killed_text(rehearsal.killed)


def _settings(settings: ServiceSettings) -> Iterator[tuple[str, str]]:
    for name, label, unit in _SETTINGS:
        value = getattr(settings, name)
        if isinstance(value, bool):
            yield label, "on" if value else "off"
        elif value is not None:
            yield label, f"{value:g} {unit}".strip()


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _since(at: float | None, start: float, digits: int = 1) -> str:
    return "" if at is None else f"{at - start:.{digits}f} s"
