"""Faults during a traffic shift: a bad new version, and the death of the command that watches the rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mclass_tf.environment import ReleaseSettings
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.scenarios import BaseScenario, ScenarioContext, ScenarioFacts, Variables
from mclass_tf.rehearsal.verdict import BOUNDED, NEW_VERSION, NOBODY, NONE, Expected

# Spread evenly over the requests of a task. The first ones succeed, so the smoke test passes.
_ERROR_RATE = "0.2"
_ALARM = "mclass-rehearsal"


@dataclass(frozen=True, kw_only=True)
class BadSmoke(BaseScenario):
    """A healthy new version that answers all requests but health checks with 500. The smoke test detects it."""

    name: str = "bad-smoke"
    promise: str = "the smoke test fails, ECS takes the new version back, no production request ever reaches it, and none fails"
    shifts: bool = True

    def expected(self) -> Expected:
        return Expected(release="failed", failed_requests=NONE, causes=("smoke test",), met_by=NOBODY)

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002
        return Variables(new={"MCLASS_FAULT_ERROR_RATE": "1"})

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        """Add a smoke test if the environment has none."""
        return replace(release, smoke=release.smoke or None)


@dataclass(frozen=True, kw_only=True)
class BadUnderTraffic(BaseScenario):
    """A new version that passes its smoke test but answers a fifth of its requests with 500. The analysis detects it."""

    name: str = "bad-under-traffic"
    promise: str = (
        "the comparison under traffic has ECS take the new version back; only requests that it answered fail, and no more "
        "users meet it than the strategy gives it"
    )
    shifts: bool = True

    def expected(self) -> Expected:
        return Expected(release="failed", failed_requests=NEW_VERSION, causes=("worse",), met_by=BOUNDED)

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002
        return Variables(new={"MCLASS_FAULT_ERROR_RATE": _ERROR_RATE})

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        """Add an analysis if the environment has none."""
        return replace(release, analysis=replace(release.analysis, is_on=True))


@dataclass(frozen=True, kw_only=True)
class BadAlarm(BadUnderTraffic):
    """The same without an analysis: a CloudWatch alarm makes ECS roll back, as it would after the command has died."""

    name: str = "bad-alarm"
    promise: str = (
        "an alarm goes off and ECS takes the new version back by itself; only requests that it answered fail, and no more "
        "users meet it than the strategy gives it"
    )

    def expected(self) -> Expected:
        return replace(super().expected(), causes=("alarm",))

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        return replace(
            release,
            analysis=replace(release.analysis, is_on=False),
            strategy=replace(release.strategy, alarms=(_ALARM,)),
        )

    def prepare(self, fixture: ServiceFixture) -> None:
        fixture.make_error_alarm(_ALARM)
        fixture.keep_deployment_configuration()

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note(f"ECS heeds the alarm {_ALARM}: a target answers with 5xx")
        return {}


@dataclass(frozen=True, kw_only=True)
class CommandKilled(BaseScenario):
    """The command of a release or promotion is killed at a step. ECS continues or pauses, and `--resume` completes the attempt."""

    name: str = "killed"
    promise: str = (
        "ECS goes on by itself or waits, no request fails, and `release --resume` ends it: what it says is what serves, stands "
        "in the ledger, and leaves Terraform nothing to do"
    )
