"""What can be rehearsed besides a release as it is: faults, and protections that are taken away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mclass_tf.environment import ReleaseSettings
from mclass_tf.rehearsal import causes
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.plan import LoadPlan, Probe
from mclass_tf.rehearsal.result import Incident, Settings
from mclass_tf.rehearsal.verdict import IN_FLIGHT, NONE, SOME, Expected

# What a task needs in real time to start its process and listen, on a busy machine.
_START_SECONDS = 2.0
_STEADY_SECONDS = 120.0
_LOOK_SECONDS = 0.5

Wait = Callable[[float, Callable[[], bool]], None]
"""Lets the load go on for so many seconds, or until something is so."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a scenario is made to measure from: the environment's own settings and its task's memory."""

    settings: Settings
    memory_mib: int

    def real(self, seconds: float) -> float:
        """Return how long so many seconds of AWS's last here: the service's own timers are never scaled."""
        return seconds / self.settings.speed


@dataclass(frozen=True, kw_only=True)
class Variables:
    """Environment variables that make the old and the new version what the scenario wants them to be."""

    old: Mapping[str, str] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a scenario acts on. `digest` is the new version's; `incident` takes down what was done to a task."""

    fixture: ServiceFixture
    instrument: Instrument
    facts: Facts
    digest: str
    wait: Wait
    note: Callable[[str], None]
    incident: Callable[[Incident], None]


class Scenario(Protocol):
    """One thing to rehearse. `promise` says in a sentence what must come of it; `releases` whether a new version is released.

    `shifts`: it is about traffic that is shifted, which a rolling release does not do.
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

    def variables(self, facts: Facts) -> Variables: ...

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        """Return the settings of the release that it is about, from the environment's."""

    def prepare(self, fixture: ServiceFixture) -> None:
        """Make what must be there before the new version is released."""

    def load(self, plan: LoadPlan, facts: Facts) -> LoadPlan:
        """Return the load that shows it, from the one that was asked for."""

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:
        """Act just before the old version is rolled out; return what is to be added to UpdateService."""

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        """Act just before the new version is rolled out; return what is to be added to UpdateService."""

    def happen(self, stage: Stage) -> None:
        """Act in mid-traffic, where nothing is released."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What most scenarios have in common: a release, the load as it was asked for, and no interference."""

    name: str
    promise: str
    releases: bool = True
    shifts: bool = False

    def expected(self) -> Expected:
        return Expected()

    def settings(self, release: ReleaseSettings) -> ReleaseSettings:
        return release

    def prepare(self, fixture: ServiceFixture) -> None:
        """Nothing."""

    def variables(self, facts: Facts) -> Variables:  # noqa: ARG002  # for those that need it
        return Variables()

    def load(self, plan: LoadPlan, facts: Facts) -> LoadPlan:  # noqa: ARG002
        return plan

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def before_new(self, stage: Stage) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def happen(self, stage: Stage) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class Plain(Base):
    """A release as it is: no request may fail."""

    name: str = ""
    promise: str = ""


_OLD_SERVES = (
    "the circuit breaker gives up on the new version, the old one keeps serving, and no request fails"
)


@dataclass(frozen=True, kw_only=True)
class BadVersion(Base):
    """A new version that cannot serve: the circuit breaker trips, the old version goes on, no request fails.

    `causes` are words of which one must stand in what `release` says: a failure must name its cause.
    """

    causes: tuple[str, ...]
    make: Callable[[Facts], Mapping[str, str]]
    promise: str = _OLD_SERVES

    def expected(self) -> Expected:
        return Expected(release="failed", failed_requests=NONE, causes=self.causes)

    def variables(self, facts: Facts) -> Variables:
        return Variables(new=self.make(facts))


def crash(_: Facts) -> Mapping[str, str]:
    return {"MCLASS_FAULT_CRASH_AFTER_SECONDS": "0"}


def sick(_: Facts) -> Mapping[str, str]:
    return {"MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS": "0"}


def crash_later(facts: Facts) -> Mapping[str, str]:
    """Crash when the container's own health check, which comes every ten seconds by default, has passed twice."""
    return {"MCLASS_FAULT_CRASH_AFTER_SECONDS": f"{max(facts.real(25), 0.5):.2f}"}


def leak(facts: Facts) -> Mapping[str, str]:
    """Take more memory than there is before the load balancer looks again."""
    seconds = max(facts.real(10), 0.2)
    return {"MCLASS_FAULT_LEAK_MIB_PER_SECOND": f"{min(facts.memory_mib / seconds, 2048):.0f}"}


def slow(facts: Facts) -> Mapping[str, str]:
    seconds = facts.real(2 * facts.settings.grace_period) + _START_SECONDS
    return {"MCLASS_FAULT_SLOW_START_SECONDS": f"{seconds:.0f}"}


def _sound(_: Facts) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class BriefVersion(BadVersion):
    """A new version that seems well at first and ends before the load balancer has found it healthy.

    The load balancer looks every two minutes meanwhile. Were it to find the new tasks healthy, which takes one check after they
    are registered, a rolling deployment would stop the old ones at once, and no circuit breaker helps against what comes later.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """

    interval: int = 120

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note(f"the load balancer checks targets every {self.interval} s")
        stage.fixture.set_health_check_interval(self.interval)
        return {}


@dataclass(frozen=True, kw_only=True)
class ImageMissing(BadVersion):
    """The image is deleted between the release's own check and the pull: the tasks cannot start."""

    name: str = "image-missing"
    causes: tuple[str, ...] = ("CannotPullContainerError", "pull")
    make: Callable[[Facts], Mapping[str, str]] = _sound

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note("the image of the new version is deleted from the repository")
        stage.fixture.delete_image(stage.digest)
        return {}

    def variables(self, facts: Facts) -> Variables:  # noqa: ARG002
        # An image of its own: the other one is needed again.
        return Variables(new={"MCLASS_LOG_LEVEL": "WARNING"})


@dataclass(frozen=True, kw_only=True)
class NoPullPermission(BadVersion):
    """The execution role may not pull: the tasks cannot start. Those that run need no role to go on."""

    name: str = "no-pull-permission"
    causes: tuple[str, ...] = ("CannotPullContainerError", "ResourceInitializationError", "not authorized")
    make: Callable[[Facts], Mapping[str, str]] = _sound

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note("the execution role loses its right to pull images")
        stage.fixture.forbid_pull()
        return {}


@dataclass(frozen=True, kw_only=True)
class SecurityGroupClosed(BadVersion):
    """The new tasks get a security group that lets nobody in: the load balancer cannot reach them."""

    name: str = "security-group-closed"
    causes: tuple[str, ...] = ("health check", "security group")
    make: Callable[[Facts], Mapping[str, str]] = _sound

    def expected(self) -> Expected:
        return replace(super().expected(), finding=causes.SECURITY_GROUP)

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note("the new tasks get a security group that lets nothing in")
        network = stage.fixture.keep_network()
        group = stage.fixture.closed_security_group()
        return {
            "networkConfiguration": {
                "awsvpcConfiguration": {**network["awsvpcConfiguration"], "securityGroups": [group]}
            }
        }


@dataclass(frozen=True, kw_only=True)
class TaskKilled(Base):
    """One task dies in mid-traffic, as by `kill -9`: what it worked on is lost, nothing else, and it is replaced."""

    name: str = "task-killed"
    promise: str = (
        "only requests that were at the task may fail, they are counted apart, and the task is replaced"
    )
    releases: bool = False

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=IN_FLIGHT, replaced=True)

    def happen(self, stage: Stage) -> None:
        at = time.time()
        killed = stage.instrument.kill_task(stage.fixture.service.running_tasks())
        stage.incident(Incident(at=at, kind="killed", task=_id(killed)))
        stage.note(f"the process of task {_id(killed)} is killed")
        _until_steady(stage)


@dataclass(frozen=True, kw_only=True)
class TaskStopped(Base):
    """One task is told to end at once, before the load balancer hears of it, as StopTask and Fargate Spot do.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
    """

    name: str = "spot-interruption"
    promise: str = (
        "the task goes on serving until nobody sends it anything more; no request fails, and it is replaced"
    )
    releases: bool = False

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=NONE, replaced=True)

    def happen(self, stage: Stage) -> None:
        _stop(stage, stage.fixture.service.running_tasks()[0])
        _until_steady(stage)


def _stop(stage: Stage, arn: str) -> None:
    stage.incident(Incident(at=time.time(), kind="stopped", task=_id(arn)))
    stage.note(f"StopTask: task {_id(arn)} gets SIGTERM")
    stage.fixture.stop_task(arn, reason="Rehearsal: as a Spot interruption does")


def _until_steady(stage: Stage) -> None:
    """Wait until the service is whole again, but not before it has noticed that it is not."""
    stage.wait(stage.facts.real(stage.facts.settings.health_check_interval) + _START_SECONDS, lambda: False)
    stage.wait(_STEADY_SECONDS, stage.fixture.service.is_steady)


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class WithoutLameDuck(TaskStopped):
    """The service ends at SIGTERM, as most do: what the load balancer still sends it is refused."""

    name: str = causes.LAME_DUCK
    promise: str = "requests fail at the task that stops, and the lame duck is named"

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.LAME_DUCK)

    def variables(self, facts: Facts) -> Variables:  # noqa: ARG002
        return Variables(old={"MCLASS_FAULT_EXIT_ON_SIGTERM": "true"})


@dataclass(frozen=True, kw_only=True)
class WithoutKeepAlive(Base):
    """The service closes connections that are idle for a shorter time than the load balancer keeps them.

    Bursts over many connections, exactly as far apart as the service waits, meet those that close.
    """

    name: str = causes.KEEP_ALIVE
    promise: str = "requests fail on connections that the service closes, and the keep-alive is named"
    releases: bool = False
    seconds: int = 2
    lasts: float = 45.0

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.KEEP_ALIVE)

    def variables(self, facts: Facts) -> Variables:  # noqa: ARG002
        return Variables(old={"MCLASS_FAULT_KEEP_ALIVE_SECONDS": str(self.seconds)})

    def load(self, plan: LoadPlan, facts: Facts) -> LoadPlan:  # noqa: ARG002
        offsets = (0.0, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02)
        probe = Probe(connections=64, intervals=tuple(self.seconds + offset for offset in offsets))
        # Few steady requests: those that are many keep every connection warm.
        return replace(plan, probe=probe, rate=min(plan.rate, 20.0))

    def happen(self, stage: Stage) -> None:
        stage.wait(self.lasts, lambda: False)


@dataclass(frozen=True, kw_only=True)
class WithoutDeregistrationDelay(Base):
    """The load balancer does not let the old tasks finish: long requests are cut off."""

    name: str = causes.DEREGISTRATION_DELAY
    promise: str = "long requests are cut off at the old tasks, and the deregistration delay is named"

    def expected(self) -> Expected:
        return Expected(failed_requests=SOME, finding=causes.DEREGISTRATION_DELAY)

    def load(self, plan: LoadPlan, facts: Facts) -> LoadPlan:  # noqa: ARG002
        return replace(plan, long_share=max(plan.long_share, 0.05))

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note("the deregistration delay is set to 0")
        stage.fixture.set_deregistration_delay(0)
        return {}


@dataclass(frozen=True, kw_only=True)
class WithoutMinimumPercent(Base):
    """The deployment may stop all old tasks before a new one serves, and may not run more than desired."""

    name: str = causes.MINIMUM_PERCENT
    promise: str = "requests find no task, and the minimum healthy percent is named"

    def expected(self) -> Expected:
        return Expected(failed_requests=SOME, finding=causes.MINIMUM_PERCENT)

    def before_new(self, stage: Stage) -> Mapping[str, Any]:
        stage.note("the minimum healthy percent is set to 0, the maximum to 100")
        before = stage.fixture.keep_deployment_configuration()
        # Rebalancing over zones is refused with a maximum of 100.
        return {
            "deploymentConfiguration": {**before, "minimumHealthyPercent": 0, "maximumPercent": 100},
            "availabilityZoneRebalancing": "DISABLED",
        }


@dataclass(frozen=True, kw_only=True)
class SlowStarterInterrupted(Base):
    """A service that starts slowly loses one task, and later the other: Spot takes them back one by one.

    Within the grace period health checks let each replacement start, so that there is always one that serves.
    """

    name: str = "slow-start-interrupted"
    promise: str = "each task is replaced before the next one is lost, and no request fails"
    releases: bool = False
    starts: float = 25.0
    """Seconds of AWS's that the service takes to start: longer than it takes to be found unhealthy, within the grace period."""

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=NONE, replaced=True)

    def variables(self, facts: Facts) -> Variables:
        return Variables(old={"MCLASS_FAULT_SLOW_START_SECONDS": f"{facts.real(self.starts):.2f}"})

    def before_old(self, fixture: ServiceFixture) -> Mapping[str, Any]:
        """Bring it into service in peace: it is the replacements that matter."""
        fixture.keep_grace_period()
        return {"healthCheckGracePeriodSeconds": 300}

    def grace_period(self, settings: Settings) -> int:
        """Return the grace period under which the tasks are lost: the environment's own."""
        return settings.grace_period

    def happen(self, stage: Stage) -> None:
        settings = stage.facts.settings
        grace = self.grace_period(settings)
        stage.note(f"the grace period is set to {grace} s")
        stage.fixture.set_grace_period(grace)
        checks = settings.health_check_interval * (settings.healthy_threshold + 1)
        for arn in stage.fixture.service.running_tasks():
            _stop(stage, arn)
            # Long enough for a replacement to serve, if it is let live.
            stage.wait(stage.facts.real(self.starts + checks) + 2 * _START_SECONDS, lambda: False)
        stage.wait((settings.lame_duck or 0) + 2 * _START_SECONDS, lambda: False)


@dataclass(frozen=True, kw_only=True)
class WithoutGracePeriod(SlowStarterInterrupted):
    """The same without a grace period: health checks kill every replacement while it starts, and the last loss leaves nobody."""

    name: str = causes.GRACE_PERIOD
    promise: str = "replacements are killed while they start, requests fail, and the grace period is named"

    def expected(self) -> Expected:
        return Expected(release="", failed_requests=SOME, finding=causes.GRACE_PERIOD)

    def grace_period(self, settings: Settings) -> int:  # noqa: ARG002
        return 0
