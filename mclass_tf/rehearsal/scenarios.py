"""The scenarios besides a plain release: faults and removed protections."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mclass_tf.environment import ReleaseSettings
from mclass_tf.rehearsal import causes
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.plan import BurstProbe, LoadPlan
from mclass_tf.rehearsal.result import Incident, ServiceSettings
from mclass_tf.rehearsal.verdict import IN_FLIGHT, NONE, SOME, Expected

# Real time that a task needs to start its process and listen on a busy machine.
_START_SECONDS = 2.0
_STEADY_SECONDS = 120.0
_POLL_SECONDS = 0.5

Wait = Callable[[float, Callable[[], bool]], None]
"""Lets the load run for some seconds, or until a condition holds."""


@dataclass(frozen=True, kw_only=True)
class ScenarioFacts:
    """The facts that scale a scenario: the environment's settings and its task's memory."""

    settings: ServiceSettings
    memory_mib: int

    def real(self, seconds: float) -> float:
        """Convert seconds of AWS's clock to real seconds: the service's own timers are never scaled."""
        return seconds / self.settings.speed


@dataclass(frozen=True, kw_only=True)
class Variables:
    """Environment variables that give the old and the new version the behaviour that the scenario needs."""

    old: Mapping[str, str] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScenarioContext:
    """The handles of a scenario. `digest` is the new version's; `incident` records an action on a task."""

    fixture: ServiceFixture
    instrument: Instrument
    facts: ScenarioFacts
    digest: str
    wait: Wait
    note: Callable[[str], None]
    incident: Callable[[Incident], None]


class Scenario(Protocol):
    """A scenario. `promise` states in a sentence what it requires. `releases` is whether it releases a new version.

    `shifts` is whether it needs shifted traffic, which a rolling release does not have.
    """

    @property
    def name(self) -> str: ...

    @property
    def promise(self) -> str: ...

    @property
    def releases(self) -> bool: ...

    @property
    def shifts(self) -> bool: ...

    def expected(self) -> Expected: ...

    def variables(self, facts: ScenarioFacts) -> Variables: ...

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        """Return the release settings of the scenario, from the environment's."""

    def prepare(self, fixture: ServiceFixture) -> None:
        """Create what must exist before the new version is released."""

    def load(self, plan: LoadPlan, facts: ScenarioFacts) -> LoadPlan:
        """Return the load of the scenario, from the requested one."""

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:
        """Act just before the rollout of the old version. Return extra arguments of UpdateService."""

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        """Act just before the rollout of the new version. Return extra arguments of UpdateService."""

    def happen(self, stage: ScenarioContext) -> None:
        """Act under traffic, in a scenario without a release."""


@dataclass(frozen=True, kw_only=True)
class BaseScenario:
    """The defaults of most scenarios: a release under the requested load, without interference."""

    name: str
    promise: str
    releases: bool = True
    shifts: bool = False

    def expected(self) -> Expected:
        return Expected()

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        return release

    def prepare(self, fixture: ServiceFixture) -> None:
        """No preparation by default."""

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002  # subclasses may need it
        return Variables()

    def load(self, plan: LoadPlan, facts: ScenarioFacts) -> LoadPlan:  # noqa: ARG002
        return plan

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def happen(self, stage: ScenarioContext) -> None:
        """No action by default."""


@dataclass(frozen=True, kw_only=True)
class PlainRelease(BaseScenario):
    """A plain release: no request may fail."""

    name: str = ""
    promise: str = ""


_OLD_SERVES = (
    "the circuit breaker gives up on the new version, the old one keeps serving, and no request fails"
)


@dataclass(frozen=True, kw_only=True)
class BadVersion(BaseScenario):
    """A new version that cannot serve: the circuit breaker trips, the old version keeps serving, no request fails.

    `causes` are alternatives, one of which the message of `release` must contain: a failure must name its cause.
    """

    causes: tuple[str, ...]
    make: Callable[[ScenarioFacts], Mapping[str, str]]
    promise: str = _OLD_SERVES

    def expected(self) -> Expected:
        return Expected(release="failed", failed_requests=NONE, causes=self.causes)

    def variables(self, facts: ScenarioFacts) -> Variables:
        return Variables(new=self.make(facts))


def crash(_: ScenarioFacts) -> Mapping[str, str]:
    return {"MCLASS_FAULT_CRASH_AFTER_SECONDS": "0"}


def unhealthy(_: ScenarioFacts) -> Mapping[str, str]:
    return {"MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS": "0"}


def crash_later(facts: ScenarioFacts) -> Mapping[str, str]:
    """Crash after the container's own health check, every ten seconds by default, has passed twice."""
    return {"MCLASS_FAULT_CRASH_AFTER_SECONDS": f"{max(facts.real(25), 0.5):.2f}"}


def leak(facts: ScenarioFacts) -> Mapping[str, str]:
    """Exhaust the memory before the next health check of the load balancer."""
    seconds = max(facts.real(10), 0.2)
    return {"MCLASS_FAULT_LEAK_MIB_PER_SECOND": f"{min(facts.memory_mib / seconds, 2048):.0f}"}


def slow_start(facts: ScenarioFacts) -> Mapping[str, str]:
    seconds = facts.real(2 * facts.settings.grace_period) + _START_SECONDS
    return {"MCLASS_FAULT_SLOW_START_SECONDS": f"{seconds:.0f}"}


def _healthy(_: ScenarioFacts) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class BriefVersion(BadVersion):
    """A new version that looks healthy at first and exits before the load balancer has found it healthy.

    The scenario raises the load balancer's health check interval to two minutes. A newly registered target needs only one
    passed check. After it, a rolling deployment would stop the old tasks at once, and the circuit breaker cannot help later.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """

    interval: int = 120

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note(f"the load balancer checks targets every {self.interval} s")
        stage.fixture.set_health_check_interval(self.interval)
        return {}


@dataclass(frozen=True, kw_only=True)
class ImageMissing(BadVersion):
    """The image is deleted after the release has checked it and before the pull: the tasks cannot start."""

    name: str = "image-missing"
    causes: tuple[str, ...] = ("CannotPullContainerError", "pull")
    make: Callable[[ScenarioFacts], Mapping[str, str]] = _healthy

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note("the image of the new version is deleted from the repository")
        stage.fixture.delete_image(stage.digest)
        return {}

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002
        # An image of its own, because later runs need the other one.
        return Variables(new={"MCLASS_LOG_LEVEL": "WARNING"})


@dataclass(frozen=True, kw_only=True)
class NoPullPermission(BadVersion):
    """The execution role may not pull: new tasks cannot start. Running tasks do not need the role."""

    name: str = "no-pull-permission"
    causes: tuple[str, ...] = ("CannotPullContainerError", "ResourceInitializationError", "not authorized")
    make: Callable[[ScenarioFacts], Mapping[str, str]] = _healthy

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note("the execution role loses its right to pull images")
        stage.fixture.forbid_pull()
        return {}


@dataclass(frozen=True, kw_only=True)
class SecurityGroupClosed(BadVersion):
    """The new tasks get a security group without ingress: the load balancer cannot reach them."""

    name: str = "security-group-closed"
    causes: tuple[str, ...] = ("health check", "security group")
    make: Callable[[ScenarioFacts], Mapping[str, str]] = _healthy

    def expected(self) -> Expected:
        return replace(super().expected(), finding=causes.SECURITY_GROUP)

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note("the new tasks get a security group that lets nothing in")
        network = stage.fixture.keep_network()
        group = stage.fixture.closed_security_group()
        return {
            "networkConfiguration": {
                "awsvpcConfiguration": {**network["awsvpcConfiguration"], "securityGroups": [group]}
            }
        }


@dataclass(frozen=True, kw_only=True)
class TaskKilled(BaseScenario):
    """One task is killed under traffic, as by `kill -9`. Only its requests in flight are lost, and it is replaced."""

    name: str = "task-killed"
    promise: str = (
        "only requests that were at the task may fail, they are counted apart, and the task is replaced"
    )
    releases: bool = False

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=IN_FLIGHT, replaced=True)

    def happen(self, stage: ScenarioContext) -> None:
        at = time.time()
        killed = stage.instrument.kill_task(stage.fixture.service.running_tasks())
        stage.incident(Incident(at=at, kind="killed", task=_id(killed)))
        stage.note(f"the process of task {_id(killed)} is killed")
        _wait_until_steady(stage)


@dataclass(frozen=True, kw_only=True)
class TaskStopped(BaseScenario):
    """One task gets SIGTERM before the load balancer deregisters it, as with StopTask and Fargate Spot.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
    """

    name: str = "spot-interruption"
    promise: str = (
        "the task goes on serving until nobody sends it anything more; no request fails, and it is replaced"
    )
    releases: bool = False

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=NONE, replaced=True)

    def happen(self, stage: ScenarioContext) -> None:
        _stop(stage, stage.fixture.service.running_tasks()[0])
        _wait_until_steady(stage)


def _stop(stage: ScenarioContext, arn: str) -> None:
    stage.incident(Incident(at=time.time(), kind="stopped", task=_id(arn)))
    stage.note(f"StopTask: task {_id(arn)} gets SIGTERM")
    stage.fixture.stop_task(arn, reason="Rehearsal: as a Spot interruption does")


def _wait_until_steady(stage: ScenarioContext) -> None:
    """Wait until the service is steady again, after it has noticed the loss."""
    stage.wait(stage.facts.real(stage.facts.settings.health_check_interval) + _START_SECONDS, lambda: False)
    stage.wait(_STEADY_SECONDS, stage.fixture.service.is_steady)


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class WithoutLameDuck(TaskStopped):
    """The service exits at SIGTERM, as most do, and refuses the requests that the load balancer still sends."""

    name: str = causes.LAME_DUCK
    promise: str = "requests fail at the task that stops, and the lame duck is named"

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.LAME_DUCK)

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002
        return Variables(old={"MCLASS_FAULT_EXIT_ON_SIGTERM": "true"})


@dataclass(frozen=True, kw_only=True)
class WithoutKeepAlive(BaseScenario):
    """The service closes idle connections earlier than the load balancer does.

    Bursts over many connections, spaced exactly by the service's idle timeout, meet connections that are closing.
    """

    name: str = causes.KEEP_ALIVE
    promise: str = "requests fail on connections that the service closes, and the keep-alive is named"
    releases: bool = False
    seconds: int = 2
    lasts: float = 45.0

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.KEEP_ALIVE)

    def variables(self, facts: ScenarioFacts) -> Variables:  # noqa: ARG002
        return Variables(old={"MCLASS_FAULT_KEEP_ALIVE_SECONDS": str(self.seconds)})

    def load(self, plan: LoadPlan, facts: ScenarioFacts) -> LoadPlan:  # noqa: ARG002
        offsets = (0.0, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02)
        probe = BurstProbe(connections=64, intervals=tuple(self.seconds + offset for offset in offsets))
        # Few steady requests, since many would keep every connection busy.
        return replace(plan, probe=probe, rate=min(plan.rate, 20.0))

    def happen(self, stage: ScenarioContext) -> None:
        stage.wait(self.lasts, lambda: False)


@dataclass(frozen=True, kw_only=True)
class WithoutDeregistrationDelay(BaseScenario):
    """The load balancer does not let the old tasks finish: long requests are cut off."""

    name: str = causes.DEREGISTRATION_DELAY
    promise: str = "long requests are cut off at the old tasks, and the deregistration delay is named"

    def expected(self) -> Expected:
        return Expected(failed_requests=SOME, finding=causes.DEREGISTRATION_DELAY)

    def load(self, plan: LoadPlan, facts: ScenarioFacts) -> LoadPlan:  # noqa: ARG002
        return replace(plan, long_share=max(plan.long_share, 0.05))

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note("the deregistration delay is set to 0")
        stage.fixture.set_deregistration_delay(0)
        return {}


@dataclass(frozen=True, kw_only=True)
class WithoutMinimumPercent(BaseScenario):
    """The deployment may stop all old tasks before a new one serves, and may not exceed the desired count."""

    name: str = causes.MINIMUM_PERCENT
    promise: str = "requests find no task, and the minimum healthy percent is named"

    def expected(self) -> Expected:
        return Expected(failed_requests=SOME, finding=causes.MINIMUM_PERCENT)

    def before_new(self, stage: ScenarioContext) -> Mapping[str, Any]:
        stage.note("the minimum healthy percent is set to 0, the maximum to 100")
        stage.fixture.keep_deployment_configuration()
        # ECS refuses zone rebalancing with a maximum of 100.
        return {
            "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100},
            "availabilityZoneRebalancing": "DISABLED",
        }


@dataclass(frozen=True, kw_only=True)
class SlowStarterInterrupted(BaseScenario):
    """A service that starts slowly loses one task and later the other, as with Fargate Spot.

    The grace period protects each replacement while it starts, so one task always serves.
    """

    name: str = "slow-start-interrupted"
    promise: str = "each task is replaced before the next one is lost, and no request fails"
    releases: bool = False
    starts: float = 25.0
    """AWS seconds that the service takes to start: too long for the health checks, but within the grace period."""

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=NONE, replaced=True)

    def variables(self, facts: ScenarioFacts) -> Variables:
        return Variables(old={"MCLASS_FAULT_SLOW_START_SECONDS": f"{facts.real(self.starts):.2f}"})

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:
        """Let the old version start without interruption: only the replacements matter."""
        fixture.keep_grace_period()
        return {"healthCheckGracePeriodSeconds": 300}

    def grace_period(self, settings: ServiceSettings) -> int:
        """Return the grace period during the losses: the environment's own."""
        return settings.grace_period

    def happen(self, stage: ScenarioContext) -> None:
        settings = stage.facts.settings
        grace = self.grace_period(settings)
        stage.note(f"the grace period is set to {grace} s")
        stage.fixture.set_grace_period(grace)
        checks = settings.health_check_interval * (settings.healthy_threshold + 1)
        for arn in stage.fixture.service.running_tasks():
            _stop(stage, arn)
            # Long enough for a replacement to serve, if health checks let it start.
            stage.wait(stage.facts.real(self.starts + checks) + 2 * _START_SECONDS, lambda: False)
        stage.wait((settings.lame_duck or 0) + 2 * _START_SECONDS, lambda: False)


@dataclass(frozen=True, kw_only=True)
class WithoutGracePeriod(SlowStarterInterrupted):
    """The same without a grace period: health checks kill every starting replacement, until no task is left."""

    name: str = causes.GRACE_PERIOD
    promise: str = "replacements are killed while they start, requests fail, and the grace period is named"

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.GRACE_PERIOD)

    def grace_period(self, settings: ServiceSettings) -> int:  # noqa: ARG002
        return 0
