"""An injected error is met by every caller of its service, and ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mclass_tf.local.aws.api.injected_errors import InjectedError, InjectedErrors
from mclass_tf.local.aws.calls import Call, Protocol


def call(service: str = "ecs") -> Call:
    return Call(
        service=service, operation="DescribeServices", region="ap-northeast-2", protocol=Protocol.JSON
    )


def trouble(**changes: Any) -> InjectedError:
    return InjectedError(
        **{"service": "ecs", "code": "ServerException", "status": 500, "seconds": 30.0, **changes}
    )


def test_a_service_is_in_trouble_for_so_long_and_no_other_is() -> None:
    now = [100.0]
    troubles = InjectedErrors(clock=lambda: now[0])
    assert troubles.reply(call()) is None

    troubles.put(trouble())

    reply = troubles.reply(call())
    assert reply is not None
    assert reply.status == 500
    assert json.loads(bytes(reply.body))["__type"] == "ServerException"
    assert troubles.reply(call("s3")) is None
    now[0] += 30
    assert troubles.reply(call()) is None


def test_another_one_takes_its_place_and_one_of_0_seconds_ends_it() -> None:
    troubles = InjectedErrors()
    troubles.put(trouble())

    troubles.put(trouble(code="ThrottlingException", status=400))
    reply = troubles.reply(call())
    troubles.put(trouble(seconds=0))

    assert reply is not None
    assert reply.status == 400
    assert troubles.reply(call()) is None


@pytest.mark.parametrize("wrong", [{"status": 200}, {"status": 600}, {"seconds": -1}, {"seconds": 7200}])
def test_what_is_no_trouble_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        trouble(**wrong)
