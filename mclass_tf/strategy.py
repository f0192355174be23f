"""How a release shifts traffic: ECS's deployment strategies, their numbers and limits, and what UpdateService is told."""

from __future__ import annotations

from collections.abc import Mapping
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

# The settings that each strategy has, besides the alarms, which all have.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    ROLLING: (),
    BLUE_GREEN: ("bake_minutes", "smoke", "hooks"),
    CANARY: ("bake_minutes", "smoke", "hooks", "canary_percent", "canary_bake_minutes"),
    LINEAR: ("bake_minutes", "smoke", "hooks", "step_percent", "step_bake_minutes"),
}

# Where a deployment can be made to wait, or a function be asked; PAUSE waits at no stage that comes again and again.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-lifecycle-hooks.html
STAGES = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)
SMOKE_STAGE = "POST_TEST_TRAFFIC_SHIFT"
# Nobody answers where our process has died: ECS rolls back then, and nothing was shifted.
_PAUSE_MINUTES = 60
_PAUSE = "PAUSE"
_KEPT = ("deploymentCircuitBreaker", "maximumPercent", "minimumHealthyPercent")


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A Lambda function that ECS asks at stages of a deployment, with a role of its own."""

    function_arn: str
    role_arn: str
    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One of `NAMES` with its numbers; those of other strategies mean nothing."""

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
        """Tell whether ECS moves traffic between two target groups."""
        return self.name != ROLLING

    @property
    def longest_wait(self) -> int:
        """Return the most minutes in which ECS waits on purpose and nothing moves."""
        of_name = {CANARY: self.canary_bake_minutes, LINEAR: self.step_bake_minutes}.get(self.name, 0)
        return max(self.bake_minutes, of_name) if self.shifts else 0

    def configuration(self, in_force: Mapping[str, Any], *, pauses: bool) -> dict[str, Any]:
        """Return the deploymentConfiguration that replaces what is in force.

        Empty where nothing is to change. `pauses`: ECS waits for an answer after test traffic was shifted. Hooks of
        others that call something stay.
        """
        before = in_force.get("strategy") or ROLLING.upper()
        hooks = [hook for hook in in_force.get("lifecycleHooks") or () if hook.get("targetType") != _PAUSE]
        alarms = in_force.get("alarms") or {}
        had_alarms = bool(alarms.get("enable"))
        if not (self.shifts or before != self.ecs_name or has_pauses(in_force) or self.alarms or had_alarms):
            return {}
        document: dict[str, Any] = {name: in_force[name] for name in _KEPT if name in in_force}
        document |= {"strategy": self.ecs_name, "lifecycleHooks": [*hooks, *([_pause()] if pauses else [])]}
        if self.shifts or before != self.ecs_name:
            document["bakeTimeInMinutes"] = self.bake_minutes if self.shifts else 0
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


def has_pauses(in_force: Mapping[str, Any]) -> bool:
    return any(hook.get("targetType") == _PAUSE for hook in in_force.get("lifecycleHooks") or ())


def without_pauses(in_force: Mapping[str, Any]) -> dict[str, Any]:
    """Return what takes the pauses out of what is in force, and leaves the rest."""
    hooks = [hook for hook in in_force.get("lifecycleHooks") or () if hook.get("targetType") != _PAUSE]
    return {**in_force, "lifecycleHooks": hooks}


def _pause() -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html"""
    return {
        "targetType": _PAUSE,
        "lifecycleStages": [SMOKE_STAGE],
        "timeoutConfiguration": {"timeoutInMinutes": _PAUSE_MINUTES, "action": "ROLLBACK"},
    }
