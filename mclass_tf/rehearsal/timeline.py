"""The timeline of a run as HTML: latency, versions, healthy targets, tasks and events, one above the other on one axis."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mclass_tf.rehearsal import chart
from mclass_tf.rehearsal.chart import HEIGHT, Axis, LogScale
from mclass_tf.rehearsal.html_text import escape
from mclass_tf.rehearsal.result import PHASES, Event, Rehearsal, Sample, TaskTimeline
from mclass_tf.rehearsal.summary import milliseconds, number

_MOST_ROWS = 40
_MOST_MARKS = 400
_NEAR = 0.025  # of the width: closer marks share a label
_FAR_RIGHT = 0.6
_ENDED_BADLY = ("EssentialContainerExited", "TaskFailedToStart", "SpotInterruption")


def axis_of(rehearsal: Rehearsal) -> Axis:
    return Axis(start=rehearsal.load.started_at, end=rehearsal.load.ended_at)


def render(rehearsal: Rehearsal, *, anchor: str) -> str:
    """Return the panels; `anchor` begins the ids of the events' rows in the table below."""
    axis = axis_of(rehearsal)
    panels = (
        _phases(rehearsal, axis),
        _stages(rehearsal, axis),
        _latency(rehearsal, axis),
        _versions(rehearsal, axis),
        _targets(rehearsal, axis),
        _tasks(rehearsal, axis),
        _events(rehearsal, axis, anchor=anchor),
        _times(axis),
    )
    return f'<div class="timeline">{"".join(panels)}</div>'


def _phases(rehearsal: Rehearsal, axis: Axis) -> str:
    spans = (
        f'<span class="{escape(phase.name)}" style="{axis.span(phase.started_at, phase.ended_at)}">{escape(phase.name)}</span>'
        for phase in rehearsal.load.phases
        if phase.name in PHASES
    )
    return f'<div class="phases" aria-hidden="true">{"".join(spans)}</div>'


def _stages(rehearsal: Rehearsal, axis: Axis) -> str:
    """The stages of the deployments: names are cut where there is no room, the table of stages has them whole."""
    spans = [span for each in rehearsal.deployments for span in each.spans(until=axis.end)]
    if not spans:
        return ""
    boxes = "".join(
        f'<span class="{"odd" if index % 2 else ""}" style="{axis.span(span.start, span.end)}" '
        f'title="{escape(span.words)}">{escape(span.words)}</span>'
        for index, span in enumerate(spans)
    )
    label = ", ".join(f"{span.words} {span.end - span.start:.0f} s" for span in spans)
    keys = f'<span class="soft">{escape(rehearsal.strategy)}</span>' if rehearsal.strategy else ""
    return (
        f'<figure class="panel"><figcaption><b>Stages of the deployment</b>{keys}</figcaption>'
        f'<div class="stages" role="img" aria-label="{escape(label)}">{boxes}</div></figure>'
    )


def _behind(rehearsal: Rehearsal, axis: Axis) -> str:
    """What every plot has behind its lines: the phases and the events."""
    bands = (
        f'<div class="band {escape(phase.name)}" style="{axis.span(phase.started_at, phase.ended_at)}"></div>'
        for phase in rehearsal.load.phases
    )
    marks = (
        f'<div class="mark{_own(event)}" style="left:{axis.percent(event.at)}"></div>'
        for event in rehearsal.events
        if event.at >= axis.start
    )
    return "".join((*bands, *marks))


def _own(event: Event) -> str:
    return " own" if event.source == "rehearsal" else ""


def _times(axis: Axis) -> str:
    ticks = axis.ticks()
    spans = (
        f'<span class="{"odd" if index % 2 else ""}{" last" if second > axis.seconds * 0.97 else ""}" '
        f'style="left:{axis.percent(axis.start + second)}">{_clock(second)}</span>'
        for index, second in enumerate(ticks)
    )
    return f'<div class="times" aria-hidden="true">{"".join(spans)}</div>'


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s"


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Neighbouring seconds shown as one: a long rehearsal has more of them than a screen has points."""

    at: float
    sent: int
    failed: int
    p50: float | None
    p99: float | None
    max: float | None
    versions: dict[str, int]


def _groups(samples: Sequence[Sample], *, size: int) -> list[_Group]:
    return [_group(samples[first : first + size]) for first in range(0, len(samples), size)]


def _group(samples: Sequence[Sample]) -> _Group:
    versions: dict[str, int] = {}
    for sample in samples:
        for version, count in sample.versions.items():
            versions[version] = versions.get(version, 0) + count
    return _Group(
        at=samples[0].at,
        sent=sum(sample.sent for sample in samples),
        failed=sum(sample.failed for sample in samples),
        # The worst second stands for its neighbours: nothing is averaged away.
        p50=max((sample.p50 for sample in samples if sample.p50 is not None), default=None),
        p99=max((sample.p99 for sample in samples if sample.p99 is not None), default=None),
        max=max((sample.max for sample in samples if sample.max is not None), default=None),
        versions=versions,
    )


def _panel(title: str, plot: str, *, keys: str = "", low: bool = False, below: str = "") -> str:
    shape = "plot low" if low else "plot"
    return (
        f'<figure class="panel"><figcaption><b>{escape(title)}</b>{keys}</figcaption>'
        f'<div class="{shape}">{plot}</div>{below}</figure>'
    )


def _key(text: str, colour: str, *, is_line: bool = False) -> str:
    kind = "key stroke" if is_line else "key"
    return f'<span class="{kind}" style="--mark:var(--{colour})">{escape(text)}</span>'


def _level(y: float, text: str) -> str:
    return f'<div class="level" style="top:{y / HEIGHT * 100:.2f}%"><span>{escape(text)}</span></div>'


def _latency(rehearsal: Rehearsal, axis: Axis) -> str:
    samples = rehearsal.load.samples
    groups = _groups(samples, size=chart.thinned(len(samples)))
    scale = LogScale.of(value for group in groups for value in (group.p50, group.max) if value is not None)

    def points(values: Iterator[float | None]) -> list[tuple[float, float | None]]:
        return [
            (axis.x(group.at + 0.5), None if value is None else scale.y(value))
            for group, value in zip(groups, values, strict=True)
        ]

    shapes = (
        chart.line(points(group.max for group in groups), kind="max"),
        chart.line(points(group.p99 for group in groups), kind="p99"),
        chart.line(points(group.p50 for group in groups), kind="p50"),
    )
    levels = "".join(_level(scale.y(tick), f"{tick:g} ms") for tick in scale.ticks()[1:])
    keys = _key("median", "p50", is_line=True) + _key("p99", "p99", is_line=True)
    keys += _key("slowest", "max", is_line=True)
    plot = _behind(rehearsal, axis) + levels + chart.drawing(shapes, label=_said_of_latency(rehearsal))
    return _panel(
        "Latency, second by second", plot, keys=keys, below=_latency_table(rehearsal, axis, samples)
    )


def _said_of_latency(rehearsal: Rehearsal) -> str:
    sentences = [
        f"{phase.name}: median {milliseconds(phase.latency.p50)} ms, p99 {milliseconds(phase.latency.p99)} ms"
        for phase in rehearsal.load.phases
        if phase.latency is not None
    ]
    return f"Latency over time. {'; '.join(sentences)}."


def _latency_table(rehearsal: Rehearsal, axis: Axis, samples: Sequence[Sample]) -> str:
    """The same for who reads rather than looks: rows of several seconds."""
    groups = _groups(samples, size=max(1, -(-len(samples) // _MOST_ROWS)))
    versions = _version_names(rehearsal)
    head = "".join(f'<th class="n">{escape(version)}</th>' for version in versions)
    rows = (
        f'<tr><td class="n">{_clock(group.at - axis.start)}</td><td class="n">{number(group.sent)}</td>'
        f'<td class="n">{number(group.failed)}</td><td class="n">{_value(group.p50)}</td>'
        f'<td class="n">{_value(group.p99)}</td><td class="n">{_value(group.max)}</td>'
        + "".join(f'<td class="n">{number(group.versions.get(version, 0))}</td>' for version in versions)
        + "</tr>"
        for group in groups
    )
    return (
        '<details><summary>Latency and versions as a table</summary><div class="scroll"><table>'
        '<tr><th class="n">from</th><th class="n">sent</th><th class="n">failed</th><th class="n">median</th>'
        f'<th class="n">p99</th><th class="n">slowest</th>{head}</tr>{"".join(rows)}</table></div></details>'
    )


def _value(value: float | None) -> str:
    return "" if value is None else milliseconds(value)


def _version_names(rehearsal: Rehearsal) -> list[str]:
    """Return the versions that answered, the old one first."""
    seen = {version for sample in rehearsal.load.samples for version in sample.versions}
    release = rehearsal.release
    known = [] if release is None else [release.old_version, release.new_version]
    return [version for version in dict.fromkeys(known) if version in seen] + sorted(seen - set(known))


def _versions(rehearsal: Rehearsal, axis: Axis) -> str:
    samples = rehearsal.load.samples
    groups = _groups(samples, size=chart.thinned(len(samples)))
    names = _version_names(rehearsal)
    kinds = _kinds(rehearsal, names)
    shapes, base = [], [0.0] * len(groups)
    for name in names:
        top = [low + _share(group, name) for low, group in zip(base, groups, strict=True)]
        shapes.append(chart.area(_steps(groups, top, axis), _steps(groups, base, axis), kind=kinds[name]))
        base = top
    shapes += _failed_boxes(rehearsal, axis)
    line = _production(rehearsal, axis)
    shapes += [line] if line else []
    levels = _level(HEIGHT / 2, "50 %")
    keys = "".join(_key(name, kinds[name]) for name in names) + _key("failed requests", "bad")
    keys += _key("share that ECS gave the new version", "ink", is_line=True) if line else ""
    label = _said_of_versions(rehearsal, names)
    plot = _behind(rehearsal, axis) + chart.drawing(shapes, label=label) + levels
    return _panel("Which version answered", plot, keys=keys, low=True)


def _production(rehearsal: Rehearsal, axis: Axis) -> str:
    """The new version's per cent of production traffic as ECS set it, from the top, where its answers are drawn."""
    points: list[tuple[float, float | None]] = []
    for deployment in rehearsal.deployments:
        end = deployment.finished_at or axis.end
        stages = [stage for stage in deployment.stages if stage.production is not None]
        changes = itertools.pairwise([*(stage.at for stage in stages), end])
        for stage, (since, until) in zip(stages, changes, strict=True):
            y = round(HEIGHT * (stage.production or 0.0) / 100, 2)
            points += [(axis.x(since), y), (axis.x(until), y)]
        points.append((axis.x(end), None))
    return chart.line(points, kind="given") if any(y is not None for _, y in points) else ""


def _kinds(rehearsal: Rehearsal, names: Sequence[str]) -> dict[str, str]:
    release = rehearsal.release
    kinds = dict.fromkeys(names, "other")
    if release is None:
        return dict.fromkeys(names, "old")
    for name, kind in ((release.new_version, "new"), (release.old_version, "old")):
        if name in kinds:
            kinds[name] = kind
    return kinds


def _share(group: _Group, version: str) -> float:
    identified = sum(group.versions.values())
    return group.versions.get(version, 0) / identified if identified else 0.0


def _steps(groups: Sequence[_Group], shares: Sequence[float], axis: Axis) -> list[tuple[float, float]]:
    """Return the corners of stairs: each value holds until the next second."""
    ends = [*(group.at for group in groups[1:]), axis.end]
    return [
        (axis.x(at), round(HEIGHT * (1 - share), 2))
        for group, end, share in zip(groups, ends, shares, strict=True)
        for at in (group.at, end)
    ]


def _failed_boxes(rehearsal: Rehearsal, axis: Axis) -> Iterator[str]:
    """Marks from the top where requests failed, the longer the more of a second's, and never too short to be seen."""
    load = rehearsal.load
    width = max(1, round(axis.seconds / _MOST_MARKS))
    failed = Counter(int((request.ended_at - axis.start) / width) * width for request in load.failed)
    for second, count in sorted(failed.items()):
        share = min(max(count / (load.sender.rate * width), 0.18), 1.0)
        at = axis.start + second
        yield chart.box(
            left=axis.x(at),
            right=axis.x(at + width),
            top=0,
            bottom=HEIGHT * share,
            kind="bad-box",
            title=f"{count} failed at {second} s",
        )


def _said_of_versions(rehearsal: Rehearsal, names: Sequence[str]) -> str:
    counts = {name: sum(sample.versions.get(name, 0) for sample in rehearsal.load.samples) for name in names}
    counted = ", ".join(f"{name} {number(count)}" for name, count in counts.items())
    return f"Answers by version over time: {counted}. {number(rehearsal.load.failures)} requests failed."


def _targets(rehearsal: Rehearsal, axis: Axis) -> str:
    """Healthy targets over time, as stairs."""
    counts = _healthy_counts(rehearsal, axis)
    most = max((count for _, count in counts), default=0)
    if not most:
        return ""
    ends = [*(at for at, _ in counts[1:]), axis.end]
    stairs = [
        (axis.x(at), round(HEIGHT * (1 - count / (most * 1.15)), 2))
        for (start, count), end in zip(counts, ends, strict=True)
        for at in (start, end)
    ]
    floor = [(x, HEIGHT) for x, _ in stairs]
    fewest = min(count for _, count in counts)
    label = f"at least {fewest}, at most {most}"
    shapes = (chart.area(stairs, floor, kind="healthy-box"),)
    levels = "".join(_level(HEIGHT * (1 - count / (most * 1.15)), str(count)) for count in _counted(most))
    plot = (
        _behind(rehearsal, axis)
        + chart.drawing(shapes, label=f"Healthy targets over time: {label}.")
        + levels
    )
    return _panel("Healthy targets", plot, keys=f'<span class="soft">{label}</span>', low=True)


def _counted(most: int) -> range:
    return range(1, most + 1, max(1, most // 3))


def _healthy_counts(rehearsal: Rehearsal, axis: Axis) -> list[tuple[float, int]]:
    changes: list[tuple[float, int]] = []
    for task in rehearsal.tasks:
        was = False
        for state in task.target:
            now = state.state == "healthy"
            if now != was:
                changes.append((max(state.at, axis.start), 1 if now else -1))
                was = now
    counts, total = [(axis.start, 0)], 0
    for at, grouped in itertools.groupby(sorted(changes), key=lambda change: change[0]):
        total += sum(step for _, step in grouped)
        if at == counts[-1][0]:
            counts[-1] = (at, total)
        else:
            counts.append((at, total))
    return counts


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a task's life."""

    start: float
    end: float
    state: str


def spans(task: TaskTimeline, *, until: float) -> list[Span]:
    """Return the stretches of a task's life: starting, serving, unhealthy, draining, ending."""
    over = task.stopped_at if task.stopped_at is not None else until
    marks = [(task.created_at, "starting")]
    for state in task.target:
        shown_state = _STATES.get(state.state)
        if shown_state is not None and (shown_state != "unhealthy" or task.healthy_at is not None):
            marks.append((state.at, shown_state))
    marks = [mark for mark in marks if task.stopping_at is None or mark[0] < task.stopping_at]
    if task.stopping_at is not None:
        marks.append((task.stopping_at, "ending"))
    merged: list[Span] = []
    for (start, shown), (end, _) in itertools.pairwise([*sorted(marks), (over, "")]):
        if merged and merged[-1].state == shown:
            merged[-1] = Span(start=merged[-1].start, end=max(end, start), state=shown)
        else:
            merged.append(Span(start=start, end=max(end, start), state=shown))
    return merged


_STATES = {"healthy": "serving", "unhealthy": "unhealthy", "draining": "draining"}


def _tasks(rehearsal: Rehearsal, axis: Axis) -> str:
    shown = [task for task in rehearsal.tasks if task.stopped_at is None or task.stopped_at >= axis.start]
    if not shown:
        return ""
    keys = "".join(_key(state, state) for state in ("starting", "serving", "unhealthy", "draining", "ending"))
    rows = "".join(_task(task, axis) for task in shown)
    return (
        f'<figure class="panel"><figcaption><b>Tasks</b>{keys}</figcaption>'
        f'<div class="tasks" role="img" aria-label="{escape(_said_of_tasks(shown))}">{_behind(rehearsal, axis)}{rows}</div></figure>'
    )


def _task(task: TaskTimeline, axis: Axis) -> str:
    bars = "".join(
        f'<i class="{span.state}" style="{axis.span(span.start, span.end)}" title="{span.state}"></i>'
        for span in spans(task, until=axis.end)
        if span.end >= axis.start
    )
    side = " right" if axis.x(task.created_at) > chart.WIDTH * _FAR_RIGHT else ""
    cross = ""
    if task.stopped_at is not None and task.stop_code in _ENDED_BADLY:
        cross = f'<span class="end" style="left:{axis.percent(task.stopped_at)}">✕</span>'
    name = f"{task.id[:8]} · revision {task.revision}"
    return f'<div class="task"><span class="name{side}">{escape(name)}</span>{bars}{cross}</div>'


def _said_of_tasks(tasks: Sequence[TaskTimeline]) -> str:
    stopped = sum(task.stopped_at is not None for task in tasks)
    return f"Tasks over time: {len(tasks)} in all, {stopped} of them stopped. The table of tasks below says when."


def _events(rehearsal: Rehearsal, axis: Axis, *, anchor: str) -> str:
    links, last = [], -1.0
    for index, event in enumerate(rehearsal.events, start=1):
        if event.at < axis.start:
            continue
        x = axis.x(event.at)
        is_near = last >= 0 and x - last < _NEAR * chart.WIDTH
        text = "" if is_near else str(index)
        last = last if is_near else x
        links.append(
            f'<a class="{_own(event).strip()}" href="#{anchor}{index}" style="left:{axis.percent(event.at)}" '
            f'title="{escape(event.message)}" aria-label="event {index}">{text}</a>'
        )
    if not links:
        return ""
    keys = '<span class="soft">numbers as in the table of events</span>' + _key(
        "done by the rehearsal", "bad"
    )
    return (
        f'<figure class="panel"><figcaption><b>Events</b>{keys}</figcaption>'
        f'<div class="lane">{"".join(links)}</div></figure>'
    )
