"""The ECS calls of a rollout, and their retries."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mclass_tf.aws import (
    SIGN_IN,
    error_message,
    has_lapsed,
    is_transient,
    may_be_new_role,
    needs_sign_in,
)
from mclass_tf.errors import Hint, RolloutError
from mclass_tf.service import Service, ServiceDeployment, Task
from mclass_tf.system import machine

T = TypeVar("T")

PATIENCE = 30.0  # seconds of failed calls after which a rollout is given up
ROLE_PATIENCE = 60.0
"""Seconds for which a role that ECS cannot assume may be a new one that ECS does not know yet."""
SIGN_IN_PATIENCE = 600.0
"""Seconds in which a user may sign in again, in another shell, without an end to the command."""
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
        """Return the result of `call`; raise RolloutError if AWS has not answered for too long, or the credentials have expired."""
        began = self.clock()
        pause = _SHORTEST
        while True:
            try:
                return call()
            except Exception as error:
                if not may_be_retried(error):
                    raise
                if self.clock() - began >= patience_with(error):
                    if may_be_new_role(error):
                        raise  # it was no new role: ECS says which one it cannot assume
                    raise no_answer_error(error) from None
                self.report(retry_message(error))
                self.wait(pause)
                pause = next_pause(pause)


def next_pause(pause: float) -> float:
    return min(2 * pause, _LONGEST)


def may_be_retried(error: Exception) -> bool:
    """Return whether to repeat a call after this error, for `patience_with` seconds."""
    return is_transient(error) or has_lapsed(error) or may_be_new_role(error)


def patience_with(error: Exception) -> float:
    """Return for how many seconds a call is repeated after this error: 0 for credentials that nobody can renew."""
    if is_transient(error):
        return PATIENCE
    if may_be_new_role(error):
        return ROLE_PATIENCE
    return SIGN_IN_PATIENCE if needs_sign_in(error) else 0.0


def retry_message(error: Exception) -> str:
    if may_be_new_role(error):
        return f"ECS may not know a new role yet, asking again for a minute: {error_message(error)}"
    if needs_sign_in(error):
        return f"the credentials have expired; ECS continues, and so does this command once you {SIGN_IN}: {error_message(error)}"
    return f"AWS does not answer, asking again: {error_message(error)}"


def no_answer_error(error: Exception) -> RolloutError:
    if has_lapsed(error):
        return RolloutError(
            f"the credentials have expired, so the rollout cannot be followed: {error_message(error)}. "
            "ECS continues the deployment",
            hint=Hint(
                f"{SIGN_IN}, then ",
                ("status", "ENV"),
                " shows its state, and ",
                ("release", "ENV", "--resume"),
                " resumes it; a pause waits for an answer until ECS's timeout",
            ),
            cause="the credentials have expired",
        )
    shortage = machine.shortage(error)
    why = error_message(error) if shortage is None else f"it could not be asked, {shortage.message}"
    return RolloutError(
        f"AWS has not answered for {PATIENCE:g} s: {why}",
        hint=Hint("ECS continues the deployment by itself; ", ("status", "ENV"), " shows its state"),
        cause="AWS did not answer",
    )
