"""The ECS calls of a rollout, and their retries."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mclass_tf.aws import error_message, is_transient
from mclass_tf.errors import Hint, RolloutError
from mclass_tf.service import Service, ServiceDeployment, Task
from mclass_tf.system import machine

T = TypeVar("T")

PATIENCE = 30.0  # seconds of failed calls after which a rollout is given up
_SHORTEST, _LONGEST = 0.5, 5.0


class EcsClient(Protocol):
    """The ECS calls on one service; see `service.Ecs`."""

    def service(self) -> Service: ...
    def service_deployments(
        self, *, statuses: Sequence[str] = (), since: dt.datetime | None = None
    ) -> Sequence[ServiceDeployment]: ...
    def service_deployment(self, arn: str, /) -> ServiceDeployment: ...
    def revision_task_definition(self, arn: str, /) -> str: ...
    def tasks(self, *, stopped: bool = False) -> Sequence[Task]: ...
    def target_states(self, target_group_arns: Sequence[str], /) -> Mapping[str, str]: ...
    def update(
        self,
        *,
        task_definition: str | None,
        desired: int | None,
        force: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None: ...
    def roll_back(self, arn: str, /) -> None: ...
    def answer_pause(self, arn: str, hook_id: str, /, *, goes_on: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Retries calls with backoff while AWS throttles or fails transiently, and reports it."""

    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] = time.sleep

    def __call__(self, call: Callable[[], T]) -> T:
        """Return the result of `call`; raise RolloutError if AWS has not answered for `PATIENCE` seconds."""
        began = self.clock()
        pause = _SHORTEST
        while True:
            try:
                return call()
            except Exception as error:
                if not is_transient(error):
                    raise
                if self.clock() - began >= PATIENCE:
                    raise no_answer_error(error) from None
                self.report(retry_message(error))
                self.wait(pause)
                pause = next_pause(pause)


def next_pause(pause: float) -> float:
    return min(2 * pause, _LONGEST)


def retry_message(error: Exception) -> str:
    return f"AWS does not answer, asking again: {error_message(error)}"


def no_answer_error(error: Exception) -> RolloutError:
    shortage = machine.shortage(error)
    why = error_message(error) if shortage is None else f"it could not be asked, {shortage.message}"
    return RolloutError(
        f"AWS has not answered for {PATIENCE:g} s: {why}",
        hint=Hint("ECS goes on by itself with the deployment; ", ("status", "ENV"), " shows its state"),
        cause="AWS did not answer",
    )
