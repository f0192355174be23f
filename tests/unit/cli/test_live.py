"""The display of a rollout: redrawn on a terminal, else one line for each change."""

from __future__ import annotations

import io
from dataclasses import replace

from mclass_tf.cli.live import RolloutDisplay, block
from mclass_tf.rollout import DeploymentTasks, View
from tests.unit.fake_service import NEW, OLD, event

UP = "\x1b[1A\x1b[2K"


def tasks(arn: str, *, running: int, healthy: int, pending: int = 0, failed: int = 0) -> DeploymentTasks:
    return DeploymentTasks(
        task_definition_arn=arn,
        is_new=arn == NEW,
        desired=2,
        pending=pending,
        running=running,
        failed=failed,
        healthy=healthy,
    )


VIEW = View(
    stage="starting new tasks",
    status="IN_PROGRESS",
    tasks=(tasks(NEW, running=1, healthy=0, pending=1, failed=1), tasks(OLD, running=2, healthy=2)),
    events=(),
    elapsed=2.93,
)


def shown(*views: View, width: int | None) -> str:
    stream = io.StringIO()
    live = RolloutDisplay(stream, width=width)
    for view in views:
        live.show(view)
    return stream.getvalue()


def test_without_a_terminal_a_change_is_a_line() -> None:
    assert shown(VIEW, width=None) == (
        "   2.9 s  starting new tasks: new 1/2 running, 0 healthy, 1 pending, 1 failed; old 2/2 running, 2 healthy\n"
    )


def test_without_a_terminal_the_clock_alone_is_no_change() -> None:
    assert shown(VIEW, replace(VIEW, elapsed=4.0), width=None).count("\n") == 1


def test_an_event_has_ecss_own_words() -> None:
    text = shown(replace(VIEW, events=(event(1, "(service mclass-service) has begun."),)), width=None)

    assert text.startswith("01:02:04  (service mclass-service) has begun.\n")


def test_an_obstacle_is_shown() -> None:
    for width in (None, 200):
        assert "Rate exceeded" in shown(
            replace(VIEW, notice="AWS does not answer: Rate exceeded"), width=width
        )


def test_on_a_terminal_the_block_is_redrawn_in_its_place_and_events_stay_above_it() -> None:
    text = shown(VIEW, replace(VIEW, stage="settling", events=(event(1, "said"),)), width=100)

    first, second = text.split(UP * 3)
    assert first.count("\n") == 3
    assert "mclass-task:2" in first
    assert second.startswith("01:02:04  said\n")
    assert second.count("\n") == 4


def test_a_line_that_the_terminal_would_wrap_is_cut() -> None:
    lines = shown(VIEW, width=30).splitlines()

    assert len(lines) == 3
    assert all(len(line) < 30 for line in lines)


def test_what_is_kept_is_not_drawn_over() -> None:
    stream = io.StringIO()
    live = RolloutDisplay(stream, width=100)
    live.show(VIEW)
    live.keep()
    live.show(replace(VIEW, stage="settling"))

    assert UP not in stream.getvalue()


def test_a_reader_that_has_gone_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    RolloutDisplay(Gone(), width=None).show(VIEW)


BAKING = replace(VIEW, stage="bake time", production=100.0, left=190.0, analysis="analysis passed: all well")


def test_the_bake_time_is_counted_down() -> None:
    assert "bake time, 3 min 10 s left, new version: production 100 %" in shown(BAKING, width=200)
    assert "bake time, 3 min left" in shown(replace(BAKING, left=180.0), width=200)
    assert "bake time, 9 s left" in shown(replace(BAKING, left=9.0), width=200)
    assert "bake time, 0 s left" in shown(replace(BAKING, left=0.0), width=200)
    assert "left" not in shown(replace(BAKING, left=None), width=200)


def test_how_the_versions_compare_is_told() -> None:
    assert "  analysis passed: all well\n" in shown(BAKING, width=200)
    assert shown(BAKING, width=None).endswith("; analysis passed: all well\n")


def test_without_a_terminal_neither_the_countdown_nor_the_figures_are_a_line_but_a_verdict_is() -> None:
    ticks = [replace(BAKING, left=190.0 - n, analysis=f"analysis passed: {n} requests") for n in range(60)]

    assert shown(*ticks, width=None).count("\n") == 1
    assert shown(*ticks, replace(BAKING, analysis="analysis failed: all ill"), width=None).count("\n") == 2


def test_on_a_terminal_every_second_is_drawn() -> None:
    assert shown(BAKING, replace(BAKING, left=189.0), width=200).count("left") == 2


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows in the end."""
    lines: list[str] = []
    for number, part in enumerate(text.split(UP)):
        if number:
            lines.pop()
        lines += part.splitlines()
    return lines


def test_what_is_told_meanwhile_stays_above_the_block_which_is_drawn_again() -> None:
    stream = io.StringIO()
    live = RolloutDisplay(stream, width=100)
    live.above("before anything is drawn", lambda text: print(text, file=stream))
    live.show(VIEW)
    live.above("the new version answers", lambda text: print(text, file=stream))
    live.show(replace(VIEW, stage="settling"))

    assert screen(stream.getvalue()) == [
        "before anything is drawn",
        "the new version answers",
        *block(replace(VIEW, stage="settling")),
    ]


def test_without_a_terminal_what_is_told_is_a_line() -> None:
    stream = io.StringIO()
    live = RolloutDisplay(stream, width=None)
    live.show(VIEW)
    live.above("the new version answers", lambda text: print(text, file=stream))

    assert stream.getvalue().count("\n") == 2
