"""The alarms by which ECS rolls back must exist: ECS accepts any name, and would watch nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import verify
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import ConfigurationError
from mclass_tf.flows.deployer.wiring import require_wiring
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, Strategy
from tests.unit.fake_service import OLD, deployment, service

RUNNING = service(deployment(OLD, status="PRIMARY"))
# Without a second target group blue/green is refused too, but not before the alarms are.
OUTPUTS = cast(
    "verify.Outputs", SimpleNamespace(desired_count=1, target_group_arns={"blue": "group", "green": "group"})
)


class Alarms:
    """A CloudWatch with alarms, keyed by name."""

    def __init__(self, **states: str) -> None:
        self._states = states
        self.calls = 0

    def get_paginator(self, operation: str) -> Alarms:
        assert operation == "describe_alarms"
        return self

    def paginate(self, *, AlarmNames: list[str], AlarmTypes: list[str]) -> Iterator[Mapping[str, Any]]:  # noqa: N803  # boto3's names
        self.calls += 1
        assert AlarmTypes == ["MetricAlarm", "CompositeAlarm"]
        found = [
            {"AlarmName": name, "StateValue": self._states[name]}
            for name in AlarmNames
            if name in self._states
        ]
        yield {"MetricAlarms": found[:1], "CompositeAlarms": []}
        yield {"MetricAlarms": [], "CompositeAlarms": found[1:]}


def session(strategy: Strategy, alarms: Alarms, reports: list[str]) -> Session:
    environment = SimpleNamespace(name="dev", release=ReleaseSettings(strategy=strategy))
    aws = SimpleNamespace(cloudwatch=alarms)
    return cast("Session", SimpleNamespace(environment=environment, aws=aws, report=reports.append))


@pytest.mark.parametrize("name", ["rolling", BLUE_GREEN])
def test_an_alarm_that_cloudwatch_does_not_have_is_refused_whatever_the_strategy(name: str) -> None:
    strategy = Strategy(name=name, alarms=("errors", "slow", "typo"))
    opened = session(strategy, Alarms(errors="OK", slow="INSUFFICIENT_DATA"), [])

    with pytest.raises(
        ConfigurationError, match="CloudWatch has no alarm typo in the account and region of dev"
    ) as caught:
        require_wiring(opened, OUTPUTS, RUNNING)

    assert caught.value.exit_code == 3
    assert caught.value.hint.endswith("nothing was changed")


def test_existing_alarms_are_accepted_and_one_in_alarm_state_is_reported() -> None:
    reports: list[str] = []
    strategy = Strategy(alarms=("errors", "slow"))

    require_wiring(session(strategy, Alarms(errors="OK", slow="ALARM"), reports), OUTPUTS, RUNNING)

    assert reports == ["in ALARM already: slow; ECS ignores these alarms in a deployment that begins now"]


def test_without_alarms_cloudwatch_is_not_asked() -> None:
    alarms = Alarms()

    require_wiring(session(Strategy(), alarms, []), OUTPUTS, RUNNING)

    assert alarms.calls == 0
