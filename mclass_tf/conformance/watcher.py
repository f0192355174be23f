"""Records changes of a service: deployments, events, tasks, targets, weights. How often it looks must not matter.

Times are AWS's own if an answer contains them, otherwise the time of the look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from mclass_tf.aws import ecs_items
from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.recording import (
    DeploymentEntry,
    Entry,
    EventEntry,
    TargetEntry,
    TaskEntry,
    WeightsEntry,
    clipped,
)

_TASKS_A_CALL = 100
_DEPLOYMENTS_LOOKED_AT = 20
_PAGE = 100
# The fields of DescribeTasks that say when a task reached a status.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
_TIMES = {
    "PROVISIONING": "createdAt",
    "RUNNING": "startedAt",
    "STOPPING": "stoppingAt",
    "STOPPED": "stoppedAt",
}


class View(Protocol):
    """Reads the watched resources. Documents have the shape of AWS's API, with times in seconds since the epoch."""

    def deployments(self) -> Sequence[Mapping[str, Any]]:
        """Return the latest service deployments, as DescribeServiceDeployments has them."""

    def events(self) -> Sequence[Mapping[str, Any]]:
        """Return the service's events, the latest first."""

    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """Return the cluster's tasks, stopped ones too, as DescribeTasks has them."""

    def targets(self) -> Sequence[tuple[str, str, str]]:
        """Return an identity, the state and the reason's code of each target."""

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        """Return the weights of the target groups, by "production" and "test"."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The names of the watched resources; `rules` are ARNs by "production" and "test"."""

    cluster: str
    service: str
    target_groups: tuple[str, ...]
    rules: Mapping[str, str]


class AwsView:
    """A service on AWS, or on the local AWS. `aws` has `call_ecs` and `elbv2`, as `mclass_tf.aws.Aws`."""

    def __init__(self, aws: Any, watched: Watched) -> None:
        self._aws = aws
        self._watched = watched
        self._over: dict[str, Mapping[str, Any]] = {}

    def _call(self, action: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._aws.call_ecs(action, request)
        return answer

    def _items(self, action: str, key: str, **request: Any) -> list[Any]:
        return [*ecs_items(self._aws.call_ecs, action, {"cluster": self._watched.cluster, **request}, key)]

    def deployments(self) -> Sequence[Mapping[str, Any]]:
        listed = self._items(
            "ListServiceDeployments", "serviceDeployments", service=self._watched.service, maxResults=_PAGE
        )
        listed.sort(key=lambda each: each.get("createdAt") or 0.0, reverse=True)  # ECS documents no order
        arns = [each["serviceDeploymentArn"] for each in listed[:_DEPLOYMENTS_LOOKED_AT]]
        unfinished = [arn for arn in arns if arn not in self._over]
        described: Sequence[Mapping[str, Any]] = ()
        if unfinished:
            answer = self._call("DescribeServiceDeployments", serviceDeploymentArns=unfinished)
            described = answer.get("serviceDeployments", ())
        self._over |= {each["serviceDeploymentArn"]: each for each in described if each.get("finishedAt")}
        return described

    def events(self) -> Sequence[Mapping[str, Any]]:
        watched = self._watched
        services = self._call("DescribeServices", cluster=watched.cluster, services=[watched.service])
        return [event for service in services.get("services", ()) for event in service.get("events", ())]

    def tasks(self) -> Sequence[Mapping[str, Any]]:
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in self._items("ListTasks", "taskArns", desiredStatus=status)
            if arn not in self._over
        ]
        tasks: list[Mapping[str, Any]] = []
        for first in range(0, len(arns), _TASKS_A_CALL):
            some = arns[first : first + _TASKS_A_CALL]
            tasks += self._call("DescribeTasks", cluster=self._watched.cluster, tasks=some)["tasks"]
        self._over |= {each["taskArn"]: each for each in tasks if each["lastStatus"] == "STOPPED"}
        return tasks

    def targets(self) -> Sequence[tuple[str, str, str]]:
        return [
            (
                f"{arn} {target['Target']['Id']}",
                target["TargetHealth"]["State"],
                target["TargetHealth"].get("Reason", ""),
            )
            for arn in self._watched.target_groups
            for target in self._aws.elbv2.describe_target_health(TargetGroupArn=arn)[
                "TargetHealthDescriptions"
            ]
        ]

    def weights(self) -> Mapping[str, Mapping[str, float]]:
        by_arn = {arn: kind for kind, arn in self._watched.rules.items()}
        rules = self._aws.elbv2.describe_rules(RuleArns=list(by_arn))["Rules"]
        return {by_arn[rule["RuleArn"]]: dict(_weights(rule)) for rule in rules}


def _weights(rule: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for action in rule["Actions"]:
        for group in action.get("ForwardConfig", {}).get("TargetGroups", ()):
            yield group["TargetGroupArn"], float(group.get("Weight", 1))


@dataclass(kw_only=True)
class _Known:
    """The last state of each resource, by its identity."""

    last: dict[tuple[str, str], Any] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)

    def is_news(self, kind: str, identity: str, state: Any) -> bool:
        key = (kind, identity)
        if key in self.last and self.last[key] == state:
            return False
        self.last[key] = state
        return True


class Watcher:
    """Records changes. `seconds` turns a time since the epoch into the chapter's; `now` is AWS's time since the epoch."""

    def __init__(
        self,
        view: View,
        anonymizer: Anonymizer,
        *,
        now: Callable[[], float],
        seconds: Callable[[float], float],
    ) -> None:
        self._view = view
        self._anonymizer = anonymizer
        self._now = now
        self._seconds = seconds
        self._known = _Known()
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._longest = 0.0
        self.problems: dict[str, int] = {}

    def look(self) -> None:
        """Look once. What cannot be read is counted as a problem, and read at the next look."""
        with self._lock:
            now = self._now()
            if self._looked_at is not None:
                self._longest = max(self._longest, self._seconds(now) - self._seconds(self._looked_at))
            self._looked_at = now
            for part in (self._deployments, self._events, self._tasks, self._targets, self._weights):
                try:
                    self._entries += part(now)
                except Exception as error:  # noqa: BLE001  # the next look may do; the recording tells
                    problem = self._anonymizer.text(f"{type(error).__name__}: {error}")
                    self.problems[problem] = self.problems.get(problem, 0) + 1

    def take(self) -> tuple[list[Entry], float]:
        """Return what has changed, and the longest time between two looks, since this was asked last.

        The present state is then recorded again, as the beginning of the next chapter.
        """
        with self._lock:
            entries, self._entries = self._entries, []
            longest, self._longest, self._looked_at = self._longest, 0.0, None
            self._known.last = {key: state for key, state in self._known.last.items() if key[0] != "weights"}
        return entries, longest

    def _text(self, text: Any) -> str:
        return clipped(self._anonymizer.text(str(text or "")))

    def _at(self, time: Any, now: float) -> float:
        return round(self._seconds(float(time) if isinstance(time, (int, float)) else now), 1)

    def _deployments(self, now: float) -> Iterator[Entry]:
        for each in sorted(self._view.deployments(), key=lambda found: float(found["createdAt"])):
            arn, status = str(each["serviceDeploymentArn"]), str(each["status"])
            entry = DeploymentEntry(
                deployment=self._anonymizer.label("deployment", arn),
                status=status,
                stage=str(each.get("lifecycleStage") or ""),
                reason=self._text(each.get("statusReason")),
                breaker=str((each.get("deploymentCircuitBreaker") or {}).get("status") or ""),
                hooks=tuple(str(hook.get("status")) for hook in each.get("lifecycleHookDetails") or ()),
            )
            is_first = ("deployment", arn) not in self._known.last
            if self._known.is_news("deployment", arn, entry):
                time = each.get("finishedAt") or (each["createdAt"] if is_first else None)
                yield _timed(entry, self._at(time, now))

    def _events(self, now: float) -> Iterator[Entry]:
        for each in reversed(self._view.events()):
            if each["id"] not in self._known.events:
                self._known.events.add(each["id"])
                yield EventEntry(at=self._at(each.get("createdAt"), now), message=self._text(each["message"]))

    def _tasks(self, now: float) -> Iterator[Entry]:
        for each in sorted(self._view.tasks(), key=lambda task: float(task.get("createdAt") or 0)):
            arn, status = str(each["taskArn"]), str(each["lastStatus"])
            containers = each.get("containers") or ()
            codes = [one["exitCode"] for one in containers if one.get("exitCode") is not None]
            reasons = [one["reason"] for one in containers if one.get("reason")]
            entry = TaskEntry(
                task=self._anonymizer.label("task", arn),
                status=status,
                desired=str(each.get("desiredStatus") or ""),
                stop_code=str(each.get("stopCode") or ""),
                stopped_reason=self._text(each.get("stoppedReason")),
                exit_code=codes[0] if codes and status == "STOPPED" else None,
                container_reason=self._text(reasons[0] if reasons else ""),
            )
            before = self._known.last.get(("task", arn))
            if self._known.is_news("task", arn, entry):
                is_other = before is None or before.status != status
                yield _timed(entry, self._at(each.get(_TIMES.get(status, "")) if is_other else None, now))

    def _targets(self, now: float) -> Iterator[Entry]:
        seen = {identity: (state, reason) for identity, state, reason in self._view.targets()}
        known = {identity for kind, identity in self._known.last if kind == "target"}
        for identity in sorted({*seen, *known}):
            state, reason = seen.get(identity, ("", ""))
            if self._known.is_news("target", identity, (state, reason)):
                label = self._anonymizer.label("target", identity)
                yield TargetEntry(at=self._at(None, now), target=label, state=state, reason=reason)
        # Addresses are reused: a target that appears again is another one.
        for identity in known - set(seen):
            self._known.last.pop(("target", identity), None)

    def _weights(self, now: float) -> Iterator[Entry]:
        for rule, weights in self._view.weights().items():
            labels = {self._anonymizer.label("group", arn): share for arn, share in weights.items()}
            if self._known.is_news("weights", rule, labels):
                yield WeightsEntry(at=self._at(None, now), rule=rule, weights=labels)


def _timed(entry: Any, at: float) -> Any:
    return msgspec.structs.replace(entry, at=at)
