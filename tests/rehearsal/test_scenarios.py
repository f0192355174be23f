"""Each scenario has a name and a description, and sets only variables that the service understands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app import settings as app_settings
from mclass_tf.analysis import AnalysisLimits
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import UsageError
from mclass_tf.flows.rehearse.request import RehearsalRequest
from mclass_tf.rehearsal import causes, names
from mclass_tf.rehearsal.catalogue import FAULTS, PROTECTIONS
from mclass_tf.rehearsal.plan import LoadEndpoint, LoadPlan
from mclass_tf.rehearsal.scenarios import Scenario, ScenarioFacts
from mclass_tf.rehearsal.verdict import IN_FLIGHT, NEW_VERSION, NONE, SOME
from tests.rehearsal import samples

ROOT = Path(__file__).parents[2]
ALL = [*FAULTS.values(), *PROTECTIONS.values()]
PLAN = LoadPlan(where=LoadEndpoint(scheme="http", host="127.0.0.1", port=1, host_header=""))


def facts(*, speed: float = 10) -> ScenarioFacts:
    return ScenarioFacts(settings=replace(samples.SETTINGS, speed=speed), memory_mib=512)


def test_the_command_line_names_what_can_be_rehearsed() -> None:
    assert tuple(FAULTS) == names.FAULTS
    assert tuple(PROTECTIONS) == names.PROTECTIONS == causes.PROTECTIONS


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_scenario_says_what_it_does_and_what_must_come(scenario: Scenario) -> None:
    text = (ROOT / "docs" / "rehearsal.md").read_text(encoding="utf-8")

    assert scenario.promise
    assert type(scenario).__doc__
    assert f"| `{scenario.name}` |" in text


@pytest.mark.parametrize("speed", [1, 10, 60])
@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_the_service_takes_the_variables_of_a_scenario(scenario: Scenario, speed: float) -> None:
    wanted = scenario.variables(facts(speed=speed))

    for variables in (wanted.old, wanted.new):
        app_settings.load(variables)


@pytest.mark.parametrize("scenario", FAULTS.values(), ids=lambda scenario: scenario.name)
def test_no_fault_may_cost_a_request_but_those_at_a_task_that_dies_or_of_a_version_that_is_tried(
    scenario: Scenario,
) -> None:
    allowed = {"task-killed": IN_FLIGHT, "bad-under-traffic": NEW_VERSION, "bad-alarm": NEW_VERSION}

    assert scenario.expected().failed_requests == allowed.get(scenario.name, NONE)


@pytest.mark.parametrize("scenario", PROTECTIONS.values(), ids=lambda scenario: scenario.name)
def test_a_removed_protection_must_be_missed_and_named(scenario: Scenario) -> None:
    expected = scenario.expected()

    assert (expected.failed_requests, expected.finding) == (SOME, scenario.name)


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_the_load_of_a_scenario_can_be_sent(scenario: Scenario) -> None:
    assert scenario.load(PLAN, facts()).problems() == []


@pytest.mark.parametrize("speed", [1, 10, 60])
def test_a_version_that_crashes_later_does_so_before_the_load_balancer_looks_again(speed: float) -> None:
    variables = FAULTS["healthy-then-crash"].variables(facts(speed=speed)).new

    assert 20 <= float(variables["MCLASS_FAULT_CRASH_AFTER_SECONDS"]) * speed <= 60


def test_a_version_that_is_too_slow_starts_after_the_grace_period_at_any_speed() -> None:
    for speed in (1.0, 10.0, 60.0):
        variables = FAULTS["slower-than-grace"].variables(facts(speed=speed)).new
        assert float(variables["MCLASS_FAULT_SLOW_START_SECONDS"]) * speed > samples.SETTINGS.grace_period


def test_nothing_is_promoted_where_nothing_is_released() -> None:
    with pytest.raises(UsageError, match="nothing to promote"):
        RehearsalRequest(fault="task-killed", source="dev").scenario()


@pytest.mark.parametrize("name", ["bad-smoke", "bad-under-traffic", "bad-alarm"])
def test_a_fault_under_shifted_traffic_is_about_a_strategy_that_shifts_it(name: str) -> None:
    assert FAULTS[name].shifts
    assert not FAULTS["crash-at-start"].shifts


def test_what_finds_a_bad_version_is_on_in_its_rehearsal() -> None:
    without = ReleaseSettings(smoke=(), analysis=AnalysisLimits(is_on=False))

    assert FAULTS["bad-smoke"].settings(without).smoke is None
    assert FAULTS["bad-under-traffic"].settings(without).analysis.is_on
    found = FAULTS["bad-alarm"].settings(ReleaseSettings())
    assert (found.analysis.is_on, len(found.strategy.alarms)) == (False, 1)


def test_one_thing_is_rehearsed_at_a_time() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        RehearsalRequest(fault="task-killed", without="lame-duck").scenario()


@pytest.mark.parametrize(
    "request_",
    [RehearsalRequest(fault="bad-luck"), RehearsalRequest(without="luck")],
    ids=["fault", "without"],
)
def test_an_unknown_scenario_is_refused_with_the_known_ones(request_: RehearsalRequest) -> None:
    with pytest.raises(UsageError) as refused:
        request_.scenario()

    assert "there are" in refused.value.hint


def test_the_load_is_as_long_or_as_much_as_was_asked_for() -> None:
    assert RehearsalRequest(rate=200, seconds=60).total == 12_000
    assert RehearsalRequest(rate=200, requests=20_000).total == 20_000
    assert RehearsalRequest(rate=200, seconds=1).before == 5
    assert RehearsalRequest(rate=200, requests=200_000).before == 30
