"""The timeline of one run: the values of its panels, stacked on one time axis."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mclass_tf.rehearsal import chart
from mclass_tf.rehearsal.chart import HEIGHT, WIDTH, Axis, LogScale
from mclass_tf.rehearsal.result import Rehearsal, Sample, StageSpan, TaskTimeline, TimelineEvent
from mclass_tf.rehearsal.summary import milliseconds, number

_MOST_POINTS, _MOST_ROWS, _MOST_BARS = 400, 40, 400
_NEAR = 0.025  # of the width: closer marks share a label
_FAR_RIGHT = 0.6
_SHORTEST_BAR, _NARROWEST_BAR = 0.18, 1.5
_HEADROOM = 1.15
_ENDED_BADLY = ("EssentialContainerExited", "TaskFailedToStart", "SpotInterruption")
_STATES = {"healthy": "serving", "unhealthy": "unhealthy", "draining": "draining"}


@dataclass(frozen=True, kw_only=True)
class AnsweringVersion:
    """A version that answered. `area` is the path of its share of the answers, `kind` its CSS class."""

    name: str
    kind: str
    area: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A mark at the top for failed requests."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Healthy targets over time. `area` is the path of their number, `levels` the heights of some numbers, by text."""

    label: str
    area: str
    levels: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An event on the axis, with its `number` in the table of events. `text` is "" if another mark is near."""

    event: TimelineEvent
    number: int
    text: str

    @property
    def kind(self) -> str:
        return "own" if self.event.source == "rehearsal" else ""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of a task's life."""

    start: float
    end: float
    state: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The template's data of one run. `number` counts the runs from 1."""

    rehearsal: Rehearsal
    number: int

    @property
    def axis(self) -> Axis:
        return Axis(start=self.rehearsal.load.started_at, end=self.rehearsal.load.ended_at)

    @property
    def stages(self) -> list[StageSpan]:
        return [span for each in self.rehearsal.deployments for span in each.spans(until=self.axis.end)]

    @property
    def stages_label(self) -> str:
        return ", ".join(f"{span.words} {span.end - span.start:.0f} s" for span in self.stages)

    @cached_property
    def samples(self) -> list[Sample]:
        return _merged(self.rehearsal.load.samples, most=_MOST_POINTS)

    @property
    def rows(self) -> list[Sample]:
        """Return the samples of the table, each of several seconds."""
        return _merged(self.rehearsal.load.samples, most=_MOST_ROWS)

    @cached_property
    def _scale(self) -> LogScale:
        values = (value for sample in self.samples for value in (sample.p50, sample.max))
        return LogScale.of(value for value in values if value is not None)

    def _latency_line(self, values: Iterable[float | None]) -> str:
        xs = (self.axis.x(sample.at + 0.5) for sample in self.samples)
        ys = (None if value is None else self._scale.y(value) for value in values)
        return chart.line(zip(xs, ys, strict=True))

    @property
    def latency_lines(self) -> dict[str, str]:
        """Return the paths by class, the front one last."""
        return {
            "max": self._latency_line(sample.max for sample in self.samples),
            "p99": self._latency_line(sample.p99 for sample in self.samples),
            "p50": self._latency_line(sample.p50 for sample in self.samples),
        }

    @property
    def latency_levels(self) -> dict[str, float]:
        return {f"{tick:g} ms": self._scale.y(tick) for tick in self._scale.ticks()[1:]}

    @property
    def latency_label(self) -> str:
        sentences = (
            f"{phase.name}: median {milliseconds(phase.latency.p50)} ms, p99 {milliseconds(phase.latency.p99)} ms"
            for phase in self.rehearsal.load.phases
            if phase.latency is not None
        )
        return f"Latency over time. {'; '.join(sentences)}."

    @cached_property
    def versions(self) -> list[AnsweringVersion]:
        """Return the versions that answered, stacked with the old one first."""
        answered = {version for sample in self.rehearsal.load.samples for version in sample.versions}
        release = self.rehearsal.release
        known = [] if release is None else [release.old_version, release.new_version]
        names = [name for name in dict.fromkeys(known) if name in answered] + sorted(answered - set(known))
        shares = [[_share(sample, name) for sample in self.samples] for name in names]
        floor = [0.0] * len(self.samples)
        tops = itertools.accumulate(shares, lambda low, own: [a + b for a, b in zip(low, own, strict=True)])
        return [
            AnsweringVersion(
                name=name, kind=self._kind(name), area=chart.area(self._stairs(top), self._stairs(base))
            )
            for name, (base, top) in zip(names, itertools.pairwise([floor, *tops]), strict=True)
        ]

    def _kind(self, version: str) -> str:
        release = self.rehearsal.release
        if release is None or version == release.old_version:
            return "old"
        return "new" if version == release.new_version else "other"

    def _stairs(self, shares: Sequence[float]) -> list[tuple[float, float]]:
        return self.axis.stairs(
            [(sample.at, share) for sample, share in zip(self.samples, shares, strict=True)]
        )

    @property
    def versions_label(self) -> str:
        names = [version.name for version in self.versions]
        counts = [sum(sample.versions.get(name, 0) for sample in self.samples) for name in names]
        answers = ", ".join(f"{name} {number(count)}" for name, count in zip(names, counts, strict=True))
        return f"Answers by version over time: {answers}. {number(self.rehearsal.load.failures)} requests failed."

    @property
    def failure_bars(self) -> Iterator[Bar]:
        """Yield a bar for each second with failed requests. Its length grows with their number and is always visible."""
        load, axis = self.rehearsal.load, self.axis
        width = max(1, round(axis.seconds / _MOST_BARS))
        failed = Counter(int((request.ended_at - axis.start) / width) * width for request in load.failed)
        for second, count in sorted(failed.items()):
            left, right = axis.x(axis.start + second), axis.x(axis.start + second + width)
            yield Bar(
                x=left,
                width=max(right - left, _NARROWEST_BAR),
                height=HEIGHT * min(max(count / (load.sender.rate * width), _SHORTEST_BAR), 1.0),
                title=f"{count} failed at {second} s",
            )

    @property
    def production_line(self) -> str:
        """Return the path of the new version's share of production traffic, from the top, where its answers are drawn."""
        points: list[tuple[float, float | None]] = []
        for deployment in self.rehearsal.deployments:
            end = deployment.finished_at or self.axis.end
            stages = [stage for stage in deployment.stages if stage.production is not None]
            changes = itertools.pairwise([*(stage.at for stage in stages), end])
            for stage, (since, until) in zip(stages, changes, strict=True):
                y = round(HEIGHT * (stage.production or 0.0) / 100, 2)
                points += [(self.axis.x(since), y), (self.axis.x(until), y)]
            points.append((self.axis.x(end), None))
        return chart.line(points)

    @property
    def targets(self) -> Targets | None:
        counts = _healthy_counts(self.rehearsal.tasks, start=self.axis.start)
        fewest, most = min(counts.values()), max(counts.values())
        if not most:
            return None
        top = most * _HEADROOM
        stairs = self.axis.stairs([(at, count / top) for at, count in counts.items()])
        floor = self.axis.stairs([(at, 0.0) for at in counts])
        labelled = range(1, most + 1, max(1, most // 3))
        return Targets(
            label=f"at least {fewest}, at most {most}",
            area=chart.area(stairs, floor),
            levels={str(count): HEIGHT * (1 - count / top) for count in labelled},
        )

    @property
    def tasks(self) -> list[TaskTimeline]:
        return [task for task in self.rehearsal.tasks if task.lived_at(self.axis.start)]

    @property
    def tasks_label(self) -> str:
        stopped = sum(task.stopped_at is not None for task in self.tasks)
        return f"Tasks over time: {len(self.tasks)} in all, {stopped} of them stopped. The table of tasks below says when."

    def spans(self, task: TaskTimeline) -> list[Span]:
        return [span for span in spans(task, until=self.axis.end) if span.end >= self.axis.start]

    def is_far_right(self, task: TaskTimeline) -> bool:
        return self.axis.x(task.created_at) > WIDTH * _FAR_RIGHT

    @staticmethod
    def ended_badly(task: TaskTimeline) -> bool:
        return task.stopped_at is not None and task.stop_code in _ENDED_BADLY

    @cached_property
    def marks(self) -> list[Mark]:
        marks, last = [], -math.inf
        for index, event in enumerate(self.rehearsal.events, start=1):
            if event.at >= self.axis.start:
                x = self.axis.x(event.at)
                is_near = x - last < _NEAR * WIDTH
                marks.append(Mark(event=event, number=index, text="" if is_near else str(index)))
                last = last if is_near else x
        return marks


def _merged(samples: Sequence[Sample], *, most: int) -> list[Sample]:
    """Merge neighbouring seconds: a long rehearsal has more of them than a screen has points."""
    size = max(1, math.ceil(len(samples) / most))
    return [_merge(samples[first : first + size]) for first in range(0, len(samples), size)]


def _merge(samples: Sequence[Sample]) -> Sample:
    return Sample(
        at=samples[0].at,
        sent=sum(sample.sent for sample in samples),
        failed=sum(sample.failed for sample in samples),
        # The worst second represents its neighbours, so that no peak is averaged away.
        p50=_largest(sample.p50 for sample in samples),
        p99=_largest(sample.p99 for sample in samples),
        max=_largest(sample.max for sample in samples),
        versions=sum((Counter(sample.versions) for sample in samples), Counter[str]()),
    )


def _share(sample: Sample, version: str) -> float:
    return sample.versions.get(version, 0) / (sum(sample.versions.values()) or 1)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _healthy_counts(tasks: Iterable[TaskTimeline], *, start: float) -> dict[float, int]:
    changes = Counter({start: 0})
    for task in tasks:
        was_healthy = False
        for state in task.target:
            is_healthy = state.state == "healthy"
            if is_healthy != was_healthy:
                changes[max(state.at, start)] += 1 if is_healthy else -1
                was_healthy = is_healthy
    times = sorted(changes)
    return dict(zip(times, itertools.accumulate(changes[at] for at in times), strict=True))


def spans(task: TaskTimeline, *, until: float) -> list[Span]:
    """Return the spans of a task's life: starting until it is healthy, serving, unhealthy, draining, ending."""
    over = task.stopped_at if task.stopped_at is not None else until
    states = (state for state in task.target if state.state != "unhealthy" or task.healthy_at is not None)
    marks = [(task.created_at, "starting")]
    marks += [(state.at, _STATES[state.state]) for state in states if state.state in _STATES]
    if task.stopping_at is not None:
        marks = [*(mark for mark in marks if mark[0] < task.stopping_at), (task.stopping_at, "ending")]
    stretches = (
        Span(start=start, end=max(end, start), state=state)
        for (start, state), (end, _) in itertools.pairwise([*sorted(marks), (over, "")])
    )
    same = (list(group) for _, group in itertools.groupby(stretches, key=lambda span: span.state))
    return [replace(group[0], end=group[-1].end) for group in same]
