"""ECS's deployment strategies: their settings and limits, and the deployment configuration for UpdateService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLLING, BLUE_GREEN, CANARY, LINEAR = "rolling", "blue-green", "canary", "linear"
NAMES = (ROLLING, BLUE_GREEN, CANARY, LINEAR)

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CanaryConfiguration.html
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinearConfiguration.html
MINUTES = (0, 1440)
CANARY_PERCENT = (0.1, 100.0)
STEP_PERCENT = (3.0, 100.0)

# The settings of each strategy. Alarms apply to all.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    ROLLING: (),
    BLUE_GREEN: ("bake_minutes", "smoke", "hooks"),
    CANARY: ("bake_minutes", "smoke", "hooks", "canary_percent", "canary_bake_minutes"),
    LINEAR: ("bake_minutes", "smoke", "hooks", "step_percent", "step_bake_minutes"),
}

# Stages at which ECS invokes a Lambda function. With canary and linear, PRE_PRODUCTION_TRAFFIC_SHIFT and
# PRODUCTION_TRAFFIC_SHIFT come at each step.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHook.html
STAGES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)
# Stages at which ECS can pause: none in which traffic shifts. RECONCILE_SERVICE is left out: only a deployment that supersedes
# another one reaches it, and a release never does that. A pause there would never happen.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html
PAUSE_STAGES = (
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)
SMOKE_STAGE = "POST_TEST_TRAFFIC_SHIFT"
# If our process has died, nobody answers, and ECS rolls back after this time. It allows 1 to 20160 minutes.
_PAUSE_MINUTES = 60
_PAUSE = "PAUSE"
# Marks our hooks among those of others. ECS stores it with the hook, and passes it to the function.
_OURS = {"mclass-tf": "environment.toml"}
_KEPT = ("deploymentCircuitBreaker", "maximumPercent", "minimumHealthyPercent")


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A Lambda function that ECS invokes at stages of a deployment, through its own role."""

    function_arn: str
    role_arn: str
    stages: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHook.html"""
        return {
            "targetType": "AWS_LAMBDA",
            "hookTargetArn": self.function_arn,
            "roleArn": self.role_arn,
            "lifecycleStages": list(self.stages),
            "hookDetails": dict(_OURS),
        }


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A strategy, one of `NAMES`, with its settings. Settings of other strategies are ignored."""

    name: str = ROLLING
    bake_minutes: int = 5
    canary_percent: float = 5.0
    canary_bake_minutes: int = 10
    step_percent: float = 10.0
    step_bake_minutes: int = 6
    alarms: tuple[str, ...] = ()
    hooks: tuple[Hook, ...] = ()

    @property
    def ecs_name(self) -> str:
        return self.name.upper().replace("-", "_")

    @property
    def shifts(self) -> bool:
        """Return whether ECS moves traffic between two target groups."""
        return self.name != ROLLING

    @property
    def longest_wait(self) -> int:
        """Return the longest time, in minutes, for which ECS waits by design without progress."""
        of_name = {CANARY: self.canary_bake_minutes, LINEAR: self.step_bake_minutes}.get(self.name, 0)
        return max(self.bake_minutes, of_name) if self.shifts else 0

    def configuration(self, in_force: Mapping[str, Any], *, pauses: Sequence[str]) -> dict[str, Any]:
        """Return the deploymentConfiguration that replaces the one in force, {} to change nothing.

        `pauses` are the stages at which ECS waits for an answer. Hooks of others stay; ours become those of this strategy.
        """
        before = in_force.get("strategy")  # None if ECS does not say: then this one is sent
        others = [hook for hook in _hooks(in_force) if not _is_pause(hook) and not _is_ours(hook)]
        alarms = in_force.get("alarms") or {}
        had_alarms = bool(alarms.get("enable"))
        had_hooks = len(others) < len(_hooks(in_force))
        if not (self.shifts or before != self.ecs_name or had_hooks or self.alarms or had_alarms):
            return {}
        document: dict[str, Any] = {name: in_force[name] for name in _KEPT if name in in_force}
        ours = [*(hook.document for hook in self.hooks), *([_pause(pauses)] if pauses else [])]
        document["strategy"] = self.ecs_name
        if ours or "lifecycleHooks" in in_force:  # an empty list removes hooks that ECS has not named, too
            document["lifecycleHooks"] = [*others, *ours]
        if self.shifts:
            document["bakeTimeInMinutes"] = self.bake_minutes
        if self.name == CANARY:
            document["canaryConfiguration"] = {
                "canaryPercent": self.canary_percent,
                "canaryBakeTimeInMinutes": self.canary_bake_minutes,
            }
        if self.name == LINEAR:
            document["linearConfiguration"] = {
                "stepPercent": self.step_percent,
                "stepBakeTimeInMinutes": self.step_bake_minutes,
            }
        if self.alarms or had_alarms:
            is_on = bool(self.alarms)
            document["alarms"] = {"alarmNames": list(self.alarms), "enable": is_on, "rollback": is_on}
        return document


def pause_stage(text: str) -> str:
    """Return ECS's name of the stage `text` ("post-scale-up" or "POST_SCALE_UP"); raise ValueError if ECS cannot pause there."""
    name = text.upper().replace("-", "_")
    if name not in PAUSE_STAGES:
        known = ", ".join(stage.lower().replace("_", "-") for stage in PAUSE_STAGES)
        raise ValueError(f"a deployment cannot be paused at {text!r}: at {known}")
    return name


def has_pauses(in_force: Mapping[str, Any]) -> bool:
    return any(_is_pause(hook) for hook in _hooks(in_force))


def without_pauses(in_force: Mapping[str, Any]) -> dict[str, Any]:
    """Return the deploymentConfiguration that removes the pauses of the one in force, and changes nothing else.

    UpdateService keeps the members that a request leaves out. It removes hooks only by a list, if need be an empty one.
    To send back the rest would revert what somebody else has changed since it was read.
    https://github.com/go-to-k/cdkd/pull/1805 (measured on AWS)
    https://github.com/hashicorp/terraform-provider-aws/pull/47096
    """
    return {"lifecycleHooks": [hook for hook in _hooks(in_force) if not _is_pause(hook)]}


def stages_of_pauses(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stages at which a deployment pauses."""
    stages = (hook.get("lifecycleStages") or () for hook in _hooks(configuration) if _is_pause(hook))
    return tuple(stage for each in stages for stage in each)


def _hooks(configuration: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return configuration.get("lifecycleHooks") or ()


def _is_pause(hook: Mapping[str, Any]) -> bool:
    return hook.get("targetType") == _PAUSE


def _is_ours(hook: Mapping[str, Any]) -> bool:
    details = hook.get("hookDetails")
    return isinstance(details, Mapping) and all(details.get(key) == value for key, value in _OURS.items())


def _pause(stages: Sequence[str]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html"""
    return {
        "targetType": _PAUSE,
        "lifecycleStages": list(stages),
        "timeoutConfiguration": {"timeoutInMinutes": _PAUSE_MINUTES, "action": "ROLLBACK"},
    }
