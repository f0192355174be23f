"""An injected error affects every caller of its service, and ends."""

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


def error(**changes: Any) -> InjectedError:
    return InjectedError(
        **{"service": "ecs", "code": "ServerException", "status": 500, "seconds": 30.0, **changes}
    )


def test_an_injected_error_affects_one_service_for_a_limited_time() -> None:
    now = [100.0]
    errors = InjectedErrors(clock=lambda: now[0])
    assert errors.reply(call()) is None

    errors.put(error())

    reply = errors.reply(call())
    assert reply is not None
    assert reply.status == 500
    assert json.loads(bytes(reply.body))["__type"] == "ServerException"
    assert errors.reply(call("s3")) is None
    now[0] += 30
    assert errors.reply(call()) is None


def test_a_new_error_replaces_the_old_one_and_0_seconds_end_it() -> None:
    errors = InjectedErrors()
    errors.put(error())

    errors.put(error(code="ThrottlingException", status=400))
    reply = errors.reply(call())
    errors.put(error(seconds=0))

    assert reply is not None
    assert reply.status == 400
    assert errors.reply(call()) is None


@pytest.mark.parametrize("wrong", [{"status": 200}, {"status": 600}, {"seconds": -1}, {"seconds": 7200}])
def test_an_invalid_error_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        error(**wrong)
