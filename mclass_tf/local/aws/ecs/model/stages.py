"""The lifecycle stages of a service deployment and the progress through them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/canary-deployment.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-linear.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/lambda-lifecycle-hooks.html
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

ROLLING = "ROLLING"
CANARY_DEFAULTS = {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}
LINEAR_DEFAULTS = {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}
PAUSE_STAGES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)

# Lambda hooks are also allowed in the stages that shift traffic.
FUNCTION_STAGES = (*PAUSE_STAGES, "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT")
HOOK_FAILED = "lifecycle hook(s) failed"
NOT_ASSUMED = "ECS was unable to assume role"
PAUSE, LAMBDA = "PAUSE", "AWS_LAMBDA"

_CALLBACK_SECONDS = 30.0  # AWS's seconds; the default of callBackDelay
_WHOLE = 100.0
_TIMEOUT_MINUTES = 1440
_MINUTE = 60.0


class Need(Enum):
    """The condition that a step waits for before it shifts traffic."""

    NOTHING = "nothing"
    BLUE = "blue"  # the blue deployment has its minimum of healthy tasks
    MINIMUM = "minimum"  # the primary deployment has its minimum of healthy tasks
    SERVING = "serving"  # the primary deployment has a healthy task
    SCALED = "scaled"  # every task of the primary deployment is healthy
    SETTLED = "settled"  # as SCALED, and no other tasks run


@dataclass(frozen=True, kw_only=True)
class StageStep:
    """One pass through a stage: wait for `needs`, shift traffic, wait `minutes` (AWS's).

    `production` and `test` are the new traffic shares of the primary deployment in per cent; None leaves a share unchanged.
    `wires` adds both target groups to the listener rules, with unchanged weights.
    """

    stage: str
    needs: Need = Need.NOTHING
    production: float | None = None
    test: float | None = None
    minutes: float = 0.0
    wires: bool = False


@dataclass(kw_only=True)
class LifecycleHook:
    """One PAUSE or AWS_LAMBDA hook at one stage. At `expires_at` (seconds since the epoch) it takes its `timeout_action`.

    A function is invoked at `due_at`, which is None during the invocation. It gets `details`, and in `production` and `test` the
    traffic shares of the deployed revision to which the stage shifts. `reason` says why the hook failed. The deployment does not
    wait for a hook unless `is_waited_for`.
    """

    id: str
    expires_at: float
    timeout_action: str
    status: str = "AWAITING_ACTION"
    kind: str = PAUSE
    stage: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    due_at: float | None = None
    production: float | None = None
    test: float | None = None
    reason: str = ""
    is_waited_for: bool = True

    @property
    def target_arn(self) -> str:
        return str(self.configuration.get("hookTargetArn") or "")

    @property
    def is_awaiting(self) -> bool:
        return self.status == "AWAITING_ACTION"

    @property
    def is_running(self) -> bool:
        return self.status == "IN_PROGRESS"

    @property
    def is_open(self) -> bool:
        return self.is_awaiting or self.is_running

    @property
    def has_failed(self) -> bool:
        return self.status == "FAILED" or (self.status == "TIMED_OUT" and self.timeout_action == "ROLLBACK")

    def answer(self, action: str) -> None:
        self.status = "SUCCEEDED" if action == "CONTINUE" else "FAILED"
        self.reason = "" if action == "CONTINUE" else "The pause was answered with ROLLBACK"

    def record_result(self, value: Any, *, error: str, now: float, real: Callable[[float], float]) -> None:
        """Record the result or the error of an invocation, unless the hook is over."""
        if not self.is_running:
            return
        response = value if isinstance(value, Mapping) else {}
        status = response.get("hookStatus")
        delay, details = response.get("callBackDelay", _CALLBACK_SECONDS), response.get("hookDetails") or {}
        is_sound = isinstance(delay, (int, float)) and isinstance(details, Mapping)
        if not error and status == "IN_PROGRESS" and is_sound:
            self.details |= details
            self.due_at = now + real(max(0.0, float(delay)))
            return
        if not error and status == "SUCCEEDED":
            self.status = "SUCCEEDED"
            return
        self.status = "FAILED"
        self.reason = self._reason(status, error=error)

    def _reason(self, status: object, *, error: str) -> str:
        """Return why the hook failed, in the words of AWS's page on troubleshooting.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshooting-blue-green.html
        """
        if error.startswith(NOT_ASSUMED):
            return error
        if error:
            return f"ECS was unable to invoke hook target {self.target_arn} due to {error}"
        if status == "FAILED":
            return f"Lifecycle hook target {self.target_arn} returned FAILED status"
        return (
            f"ECS was unable to parse the response from {self.target_arn} due to HookStatus must not be null"
        )

    def document(self) -> dict[str, Any]:
        return {
            "hookId": self.id,
            "targetType": self.kind,
            **({"targetArn": self.target_arn} if self.kind == LAMBDA else {}),
            "status": self.status,
            "expiresAt": self.expires_at,
            "timeoutAction": self.timeout_action,
        }


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What progress depends on. `real` converts AWS's seconds to real ones; `shift` shifts the traffic of a step."""

    now: float
    real: Callable[[float], float]
    is_met: Callable[[Need], bool]
    shift: Callable[[StageStep], None]


@dataclass(kw_only=True)
class Progress:
    """The position of a service deployment. `hooks` are the configured lifecycle hooks, `pauses` their executions so far."""

    steps: tuple[StageStep, ...]
    hooks: tuple[Mapping[str, Any], ...] = ()
    is_rollback: bool = False
    position: int = 0
    pauses: list[LifecycleHook] = field(default_factory=list)
    until: float | None = None
    _has_entered: bool = False

    @property
    def step(self) -> StageStep:
        return self.steps[self.position]

    @property
    def stage(self) -> str:
        return self.step.stage

    @property
    def is_last(self) -> bool:
        return self.position == len(self.steps) - 1

    @property
    def is_before_scale_up(self) -> bool:
        return any(step.stage == "SCALE_UP" for step in self.steps[self.position + 1 :])

    @property
    def has_reconciled(self) -> bool:
        return self.stage != "RECONCILE_SERVICE"

    @property
    def has_failed(self) -> bool:
        """Whether a hook has failed the deployment. A rollback does not fail for the hook that caused it."""
        return not self.is_rollback and any(hook.has_failed for hook in self.pauses)

    @property
    def failure(self) -> str:
        """The reason why a hook failed the deployment."""
        failed = next(hook for hook in self.pauses if hook.has_failed)
        # What ECS says of a pause is not documented.
        reason = "The hook timed out" if failed.status == "TIMED_OUT" else failed.reason
        return f"{failed.stage} {HOOK_FAILED}. {reason}"

    def find_hook(self, hook_id: str) -> LifecycleHook | None:
        return next((hook for hook in self.pauses if hook.id == hook_id), None)

    def advance(self, context: StageContext) -> float | None:
        """Advance as far as possible. Return when to try again (seconds since the epoch); None means at the next change."""
        while True:
            self._enter(context)
            self._expire(context.now)
            awaited = [hook.expires_at for hook in self.pauses if hook.is_open and hook.is_waited_for]
            if awaited or self.has_failed:
                return min(awaited, default=None)
            if self.until is None:
                if not context.is_met(self.step.needs):
                    return None
                context.shift(self.step)
                self.until = context.now + context.real(self.step.minutes * _MINUTE)
            if context.now < self.until:
                return self.until
            if self.is_last:
                return None
            self.position, self.until, self._has_entered = self.position + 1, None, False

    def fail_open_hooks(self) -> None:
        """Fail the hooks that still await an answer or a result."""
        for hook in self.pauses:
            if hook.is_open:
                hook.status = "FAILED"

    def _enter(self, context: StageContext) -> None:
        if self._has_entered:
            return
        self._has_entered = True
        for hook in self.hooks:
            if self.stage in (hook.get("lifecycleStages") or ()):
                self.pauses.append(self._new_hook(hook, context))

    def _new_hook(self, hook: Mapping[str, Any], context: StageContext) -> LifecycleHook:
        timeout = hook.get("timeoutConfiguration") or {}
        minutes = float(timeout.get("timeoutInMinutes") or _TIMEOUT_MINUTES)
        expires_at = context.now + context.real(minutes * _MINUTE)
        action = timeout.get("action") or "ROLLBACK"
        if is_pause(hook):
            return LifecycleHook(
                id=f"ecs-pause-{secrets.token_urlsafe(32)}",
                expires_at=expires_at,
                timeout_action=action,
                stage=self.stage,
            )
        return LifecycleHook(
            id=str(uuid.uuid4()),
            expires_at=expires_at,
            timeout_action=action,
            status="IN_PROGRESS",
            kind=LAMBDA,
            stage=self.stage,
            configuration=hook,
            details=dict(hook.get("hookDetails") or {}),
            due_at=context.now,
            production=self._share(self.step.production),
            test=self._share(self.step.test),
            is_waited_for=not self.is_rollback,
        )

    def _share(self, primary_share: float | None) -> float | None:
        """Return the share of the deployed revision, which in a rollback is not the primary one."""
        return primary_share if primary_share is None or not self.is_rollback else _WHOLE - primary_share

    def _expire(self, now: float) -> None:
        for hook in self.pauses:
            if hook.is_open and now >= hook.expires_at:
                hook.status = "TIMED_OUT"


def deployment_progress(
    configuration: Mapping[str, Any], *, is_reconciling: bool, has_blue: bool, has_shifted: bool
) -> Progress:
    """Return the progress of a new service deployment.

    `is_reconciling`: it supersedes another one; `has_shifted`: that one has shifted traffic; `has_blue`: a deployment can be rolled
    back to.
    """
    hooks = tuple(configuration.get("lifecycleHooks") or ())
    is_rolling = configuration["strategy"] == ROLLING
    steps = _rolling(has_shifted=has_shifted) if is_rolling else _shifting(configuration, has_blue=has_blue)
    first = next(steps)
    return Progress(steps=(*((first,) if is_reconciling else ()), *steps), hooks=hooks)


def rollback_progress(configuration: Mapping[str, Any], *, before: Progress) -> Progress:
    """Return the progress of a rollback: shift production traffic at once, then test traffic, then stop the failed revision.

    Nothing pauses a rollback. It invokes functions in the stages that shift traffic, without waiting for them.
    `before` is the progress of the deployment: from CLEAN_UP on, the tasks of the old revision must start again first.
    """
    if configuration["strategy"] == ROLLING:
        steps: tuple[StageStep, ...] = (StageStep(stage="SCALE_UP", needs=Need.SETTLED), _BAKING)
    else:
        need = Need.MINIMUM if before.stage == "CLEAN_UP" else Need.SERVING
        steps = (
            StageStep(stage="PRODUCTION_TRAFFIC_SHIFT", needs=need, production=_WHOLE),
            StageStep(stage="TEST_TRAFFIC_SHIFT", test=_WHOLE),
            StageStep(stage="CLEAN_UP"),
        )
    hooks = tuple(hook for hook in configuration.get("lifecycleHooks") or () if not is_pause(hook))
    return Progress(steps=steps, hooks=hooks, is_rollback=True, pauses=before.pauses)


_BAKING = StageStep(stage="BAKE_TIME")  # its length also depends on alarms: see scheduler/settling.py


def _rolling(*, has_shifted: bool) -> Iterator[StageStep]:
    share = _WHOLE if has_shifted else None
    yield StageStep(stage="RECONCILE_SERVICE", production=share, test=share)
    yield StageStep(stage="PRE_SCALE_UP")
    yield StageStep(stage="SCALE_UP", needs=Need.SETTLED)
    yield StageStep(stage="POST_SCALE_UP")
    yield _BAKING


def _shifting(configuration: Mapping[str, Any], *, has_blue: bool) -> Iterator[StageStep]:
    share = 0.0 if has_blue else None
    yield StageStep(stage="RECONCILE_SERVICE", needs=Need.BLUE, production=share, test=share)
    yield StageStep(stage="PRE_SCALE_UP")
    yield StageStep(stage="SCALE_UP", needs=Need.SCALED, wires=True)
    yield StageStep(stage="POST_SCALE_UP")
    yield StageStep(stage="TEST_TRAFFIC_SHIFT", test=_WHOLE)
    yield StageStep(stage="POST_TEST_TRAFFIC_SHIFT")
    for percent, minutes in _shares(configuration):
        yield StageStep(stage="PRE_PRODUCTION_TRAFFIC_SHIFT")
        yield StageStep(stage="PRODUCTION_TRAFFIC_SHIFT", production=percent, minutes=minutes)
    yield StageStep(stage="POST_PRODUCTION_TRAFFIC_SHIFT")
    yield StageStep(stage="BAKE_TIME", minutes=float(configuration.get("bakeTimeInMinutes") or 0))
    yield StageStep(stage="CLEAN_UP")


def _shares(configuration: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield the production share of each step, in per cent, and the minutes until the next step."""
    if configuration["strategy"] == "CANARY":
        options = {**CANARY_DEFAULTS, **(configuration.get("canaryConfiguration") or {})}
        if options["canaryPercent"] < _WHOLE:
            yield float(options["canaryPercent"]), float(options["canaryBakeTimeInMinutes"])
    if configuration["strategy"] == "LINEAR":
        options = {**LINEAR_DEFAULTS, **(configuration.get("linearConfiguration") or {})}
        number = 1
        while number * options["stepPercent"] < _WHOLE:
            yield float(number * options["stepPercent"]), float(options["stepBakeTimeInMinutes"])
            number += 1
    yield _WHOLE, 0.0


def is_pause(hook: Mapping[str, Any]) -> bool:
    return hook.get("targetType") == PAUSE
