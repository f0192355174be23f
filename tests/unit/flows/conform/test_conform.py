"""A recording takes down what it has made, whatever happens, and begins with nothing."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.cost import estimate
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.errors import (
    BackendMissingError,
    ConfigurationError,
    ProtectedError,
    TakeDownError,
    TerraformError,
)
from mclass_tf.flows.conform import takedown
from mclass_tf.flows.conform.conform import announcement, record, require_disposable, settings_of, size_of
from mclass_tf.system import process

_VARIABLES: dict[str, Any] = {
    "alb": {"deletion_protection": False},
    "network": {"availability_zones": ["a", "c"], "egress": "nat", "single_nat_gateway": True},
    "task": {"cpu": 256, "memory": 512},
    "desired_count": 2,
    "customer_managed_key": {"enabled": False},
}


class _Life:
    """Fails where it is told to."""

    def __init__(self, begin: BaseException | None = None, live: BaseException | None = None) -> None:
        self._errors = {"begin": begin, "live": live}

    def begin(self) -> None:
        self._do("begin")

    def live(self) -> None:
        self._do("live")

    def _do(self, name: str) -> None:
        error = self._errors[name]
        if error is not None:
            raise error


def _session(*, outputs: Any = None, variables: Any = None, is_local: bool = False) -> Any:
    def state() -> Any:
        if outputs is None:
            raise BackendMissingError("no bucket")
        return SimpleNamespace(outputs=outputs)

    backend = SimpleNamespace(bucket="tfstate")
    environment = SimpleNamespace(
        name="dev", account_id="111111111111", region="eu-west-1", backend=backend, variables=variables or _VARIABLES
    )  # fmt: skip
    cloud = SimpleNamespace(is_local=is_local, label="AWS")
    return SimpleNamespace(state=state, environment=environment, cloud=cloud, report=lambda _: None)


def _recorder() -> Recorder:
    return Recorder(Anonymizer(), now=time.time, speed=1.0)


@pytest.mark.parametrize(
    ("life", "error"),
    [
        (_Life(begin=TerraformError("the apply failed")), TerraformError),
        (_Life(live=ValueError("a bug")), ValueError),
        (_Life(live=KeyboardInterrupt()), KeyboardInterrupt),
    ],
    ids=["apply fails", "a bug", "interrupted"],
)
def test_everything_is_taken_down_and_what_was_recorded_is_kept(
    life: Any, error: type[BaseException]
) -> None:
    done: list[str] = []

    with pytest.raises(error):
        record(life, _recorder(), take_down=lambda: done.append("down"), keep=lambda: done.append("kept"))

    assert done == ["down", "kept"]


def test_after_an_interrupt_children_can_be_started_to_take_everything_down() -> None:
    class Interrupted(_Life):
        def live(self) -> None:
            signal.raise_signal(signal.SIGINT)

    done: list[int] = []
    command = process.Command(argv=(sys.executable, "-c", "pass"), cwd=Path("/"), env={})

    with process.interruptible(), pytest.raises(KeyboardInterrupt):
        record(
            Interrupted(),  # type: ignore[arg-type]  # by its methods
            _recorder(),
            take_down=lambda: done.append(process.run(command).status),
            keep=lambda: None,
        )

    assert done == [0]


def test_an_interrupted_destruction_names_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def destroy(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(takedown, "destroy", destroy)
    monkeypatch.setattr(takedown, "applied_state", lambda _: SimpleNamespace(outputs={"vpc_id": "vpc-1"}))

    with pytest.raises(TakeDownError, match="vpc-1"):
        takedown.take_down(_session(), _recorder(), buckets=())


def test_what_was_recorded_is_kept_if_the_destruction_fails() -> None:
    done: list[str] = []

    def fails() -> None:
        raise TakeDownError("left")

    with pytest.raises(TakeDownError):
        record(_Life(), _recorder(), take_down=fails, keep=lambda: done.append("kept"))  # type: ignore[arg-type]  # by its methods

    assert done == ["kept"]


def test_a_destruction_that_fails_is_tried_again_and_then_names_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def destroy(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise TerraformError("a network interface is in use")

    monkeypatch.setattr(takedown, "destroy", destroy)
    monkeypatch.setattr(
        takedown, "applied_state", lambda _: SimpleNamespace(outputs={"vpc_id": "vpc-1", "alb_arn": ""})
    )

    with pytest.raises(TakeDownError) as caught:
        takedown.take_down(_session(), _recorder(), buckets=())

    assert len(tried) == 3
    assert "vpc vpc-1" in str(caught.value)
    assert "a network interface is in use" in str(caught.value)
    assert ("destroy", "dev") in caught.value.hint.pieces
    assert "aws s3 rb --force s3://tfstate" in caught.value.hint


def test_an_environment_that_exists_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="dev exists already on AWS"):
        require_disposable(_session(outputs={"vpc_id": "vpc-1"}))

    require_disposable(_session(outputs={}))
    require_disposable(_session())


@pytest.mark.parametrize("alb", [{}, {"deletion_protection": True}, None])
def test_an_environment_that_may_be_protected_is_refused(alb: Any) -> None:
    with pytest.raises(ProtectedError, match="dev is protected from deletion"):
        require_disposable(_session(variables={**_VARIABLES, "alb": alb}))


def test_the_question_says_what_will_be_created_where_and_at_what_cost() -> None:
    session = _session()

    text = announcement(session, estimate(size_of(session)))

    assert "account 111111111111, region eu-west-1, on AWS" in text
    assert "state bucket tfstate" in text
    assert "Expected cost on AWS: $" in text
    assert "destroys everything again" in text


def test_the_settings_of_a_recording_are_numbers_and_hold_no_text_of_the_users() -> None:
    deployment = {
        "maximum_percent": 150,
        "availability_zone_rebalancing": False,
        "note": "of Kim, 123456789012",
    }

    found = settings_of(_session(variables={**_VARIABLES, "deployment": deployment}))

    assert found["maximum percent"] == "150"
    assert found["availability zone rebalancing"] == "False"
    assert "note" not in found
    assert "Kim" not in str(found)
