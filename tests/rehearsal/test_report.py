"""The report as a document, which is a contract, and as text, which fits the terminal."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from mclass_tf.rehearsal import page, summary
from mclass_tf.rehearsal.report import document
from mclass_tf.rehearsal.result import TimelineEvent
from mclass_tf.rehearsal.tally import LONGEST_US, Tally, histogram, latency_of
from mclass_tf.rehearsal.verdict import Expected
from tests.rehearsal import samples


def test_the_document_has_the_keys_of_the_contract() -> None:
    found = document(samples.report())

    assert found["requests"]["sent"] == 18_000
    assert found["requests"]["failed"] == 0
    for phase in ("before", "during", "after"):
        assert found["latency"][phase]["p50"] < found["latency"][phase]["p99"]
    assert found["verdict"] == "passed"
    assert found["settings"]["deregistration_delay"] == 60
    assert found["events"][0]["message"].startswith("UpdateService")
    assert found["release"]["outcome"] == "released"
    assert json.loads(json.dumps(found)) == found


def test_times_are_written_in_utc() -> None:
    found = document(samples.report())

    assert found["started_at"] == "2026-11-23T02:13:20.000+00:00"
    assert found["tasks"][0]["target"][0]["at"].endswith("+00:00")
    assert found["tasks"][2]["stopped_at"] is None


def test_several_runs_are_reported_together_and_each() -> None:
    report = samples.report(samples.rehearsal(), samples.without_minimum())
    found = document(report)

    assert found["requests"]["sent"] == 36_000
    assert found["requests"]["failed"] == 200
    assert found["requests"]["by_phase"]["during"] == {
        "sent": 14_000,
        "failed": 200,
        "by_kind": {"http_503": 200},
    }
    assert [run["verdict"] for run in found["runs"]] == ["passed", "failed"]
    assert found["verdict"] == "failed"
    # The run shown in full is the one that failed.
    assert found["settings"]["minimum_healthy_percent"] == 0
    assert found["latency"]["before"]["count"] == 8_000


def test_latencies_of_several_runs_are_merged_and_not_averaged() -> None:
    slow = samples.rehearsal()
    phases = tuple(
        samples.phase(phase.name, start=25, end=45, slow=100) if phase.name == "before" else phase
        for phase in slow.load.phases
    )
    slow = replace(slow, load=replace(slow.load, phases=phases))
    fast = samples.report().latency("before")
    both = samples.report(samples.rehearsal(), slow).latency("before")

    assert fast is not None
    assert both is not None
    assert both.p50 < 10 * fast.p50
    assert both.p90 > 20 * fast.p90


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_where_a_word_allows_it(width: int) -> None:
    text = summary.render(samples.report(samples.without_minimum()), width=width)

    for line in text.splitlines():
        assert len(line) <= max(width, 61) or " " not in line.strip()


def test_the_summary_says_what_failed_and_what_to_do() -> None:
    text = summary.render(samples.report(samples.without_minimum()))

    assert text.startswith("FAILED  dev: 200 of 18,000 requests failed")
    assert "http_503 200" in text
    assert "fix: minimum healthy percent: it is 0" in text


def test_the_summary_of_a_scenario_names_it_and_its_promise() -> None:
    report = samples.report(scenario="fault task-killed", promise="only requests in flight may fail")

    text = summary.render(report)

    assert text.startswith("PASSED  dev: fault task-killed: 0 of 18,000 requests failed")
    assert "only requests in flight may fail" in text


def test_a_sender_that_was_behind_is_reported() -> None:
    behind = replace(samples.SENDER, is_behind=True, why="900 requests were late")
    found = replace(samples.rehearsal(), load=samples.load(sender=behind))

    text = summary.render(samples.report(found, expected=Expected()))

    assert text.startswith("INCONCLUSIVE")
    assert "the sender was behind: 900 requests were late" in text


def test_percentiles_are_those_of_the_values_to_three_digits() -> None:
    recorded = histogram()
    for microseconds in range(1000, 101_000, 100):
        recorded.record_value(microseconds)

    found = latency_of(recorded)

    assert found is not None
    assert found.count == 1000
    assert found.p50 == pytest.approx(50.9, rel=0.002)
    assert found.p99 == pytest.approx(99.9, rel=0.002)
    assert found.max == pytest.approx(100.9, rel=0.002)
    assert latency_of(histogram()) is None


@pytest.mark.parametrize("spread", [0.3, 3.0, 9.0])
def test_the_mean_is_that_of_the_histogram(spread: float) -> None:
    drawn, recorded = random.Random(7), histogram()
    for _ in range(2000):
        recorded.record_value(min(round(drawn.lognormvariate(7.6, spread)), LONGEST_US))

    found = latency_of(recorded)

    assert found is not None
    assert found.mean == round(recorded.get_mean_value() / 1000, 3)


def test_an_hour_of_load_keeps_no_more_than_a_second_of_it() -> None:
    """Completed seconds are reported and dropped, so memory does not grow with the load."""
    tally = Tally(wall=0, now=0)
    told = 0
    for second in range(3600):
        tally.began(part="steady", due=second + 0.5, begun=second + 0.5)
        _end(tally, at=second + 0.5)
        told += len(list(tally.samples(now=second + 1.0)))
        assert len(tally._seconds) <= 1
    assert told == 3600


def _end(tally: Tally, *, at: float) -> None:
    from mclass_tf.rehearsal.tally import RequestOutcome  # noqa: PLC0415

    tally.ended(
        RequestOutcome(
            part="steady",
            path="/",
            number=1,
            due=at,
            begun=at,
            ended=at + 0.001,
            kind="",
            connection="new",
            version="one",
        )
    )


def test_a_service_that_calls_itself_anew_each_time_fills_no_memory() -> None:
    from mclass_tf.rehearsal.tally import RequestOutcome  # noqa: PLC0415

    tally = Tally(wall=0, now=0)
    for number in range(1000):
        tally.began(part="steady", due=0.1, begun=0.1)
        tally.ended(
            RequestOutcome(
                part="steady",
                path="/",
                number=number,
                due=0.1,
                begun=0.1,
                ended=0.2,
                kind="",
                connection="new",
                version=f"v{number}",
            )
        )
    (sample,) = tally.samples(now=1.0)

    assert len(sample.versions) == 21
    assert sample.versions["others"] == 980


def test_what_a_service_or_ecs_says_steers_no_reader_of_the_summary_or_the_page() -> None:
    hostile = "a\x1b[2K\u202e\n0 of 18,000 requests failed\x9b\ud800"
    found = samples.rehearsal()
    release = replace(found.release, new_version=hostile, cause=hostile) if found.release else None
    event = TimelineEvent(at=found.load.started_at + 1, source="ecs", message=hostile)
    report = samples.report(replace(found, release=release, events=(event,), notes=(hostile,)))

    text, html = summary.render(report, width=200), page.render(report)

    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("0 of") for line in text.splitlines())
    assert {each for each in html if not each.isprintable()} == {"\n"}
    html.encode()
