"""The life of an environment, chapter by chapter, by the flows that users run."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.aws import Aws, ecs_items
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.conformance.recording import PRODUCTION, TEST
from mclass_tf.conformance.watcher import AwsView, Watched
from mclass_tf.errors import Hint, RolloutError, StalledError
from mclass_tf.flows.answer import abort, continue_rollout
from mclass_tf.flows.conform.versions import NONE, Versions, push_versions
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.environments import applied_state, apply, bootstrap, make_plan
from mclass_tf.flows.one_off.run import run_command
from mclass_tf.flows.rehearse.releasing import service_of
from mclass_tf.flows.release import release
from mclass_tf.flows.rollback import rollback
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, CANARY, LINEAR, NAMES, ROLLING, Strategy

FIRST, PAUSE, STOP, ROLLBACK, ONE_OFF, REFUSED = (
    "first release", "pause and continue", "stop", "rollback", "one-off task", "refused calls",
)  # fmt: skip
STRATEGIES: Mapping[str, Strategy] = {
    ROLLING: Strategy(name=ROLLING, bake_minutes=1),
    BLUE_GREEN: Strategy(name=BLUE_GREEN, bake_minutes=1),
    CANARY: Strategy(name=CANARY, bake_minutes=1, canary_percent=20, canary_bake_minutes=1),
    LINEAR: Strategy(name=LINEAR, bake_minutes=1, step_percent=40, step_bake_minutes=1),
}
"""The shortest bake times that let every stage be seen."""
# A path that no service answers, so that the smoke test fails, and the release with it.
_NO_PATH = "/conform-no-such-path"
_PAUSE_AT = "POST_PRODUCTION_TRAFFIC_SHIFT"
_STOP_MINUTES = 15
_REST_SECONDS, _STEADY_SECONDS = 1200.0, 120.0
_MACHINE_SECONDS = 60.0
_STEADY = "has reached a steady state."
_LOOK = 0.5
_CREATED = "created"
_NAMING = ("_name", "name", "_family", "_dns_name", "_bucket")
_SAYING = ("python", "-c", "import sys; print('conform'); sys.exit(3)")


@dataclass(kw_only=True)
class Life:
    """An environment with nothing in it when it begins. The clock runs `speed` times as fast as AWS's.

    `buckets` are those that were made for it.
    """

    session: Session
    recorder: Recorder
    show: Show
    speed: float
    buckets: tuple[str, ...] = ()
    _outputs: Mapping[str, Any] = field(default_factory=dict)
    _versions: Versions = NONE
    _looking: Any = None
    _serving: str = ""
    _before: str = ""
    _uses_two: bool = False

    def begin(self) -> None:
        """Create the environment, and start to watch it."""
        with self.recorder.chapter("bootstrap"):
            changed = bootstrap(self.session)
            self.buckets = tuple(bucket for bucket, what in changed.items() if _CREATED in what)
        with self.recorder.chapter("apply"):
            planned = make_plan(self.session)
            planned.decision.require()
            apply(self.session)
        self._outputs = applied_state(self.session).outputs
        self.recorder.learn(_names(self._outputs))
        self._versions = push_versions(self.session)
        self._looking = Aws(self.session.aws.access)
        self.recorder.watch(AwsView(self._looking, watched(self._outputs)))

    def live(self) -> None:
        """Run the chapters between the apply and the destruction: releases, failures, pauses, a stop, a rollback, a one-off task."""
        self._release(FIRST, STRATEGIES[ROLLING])
        with self._held_count():
            for name in NAMES:
                self._release(name, STRATEGIES[name])
                self._fail(name)
            self._pause()
            self._stop()
            self._roll_back()
            with self._chapter(ONE_OFF):
                run_command(self.session, _SAYING, show=lambda _: None)
            with self._chapter(REFUSED):
                self._be_refused()

    # ---- chapters

    def _release(self, name: str, strategy: Strategy) -> None:
        digest = self._next()
        with self._chapter(name):
            done = release(self._by(strategy), digest=digest, confirm=lambda _: True, show=self.show)
            self._before, self._serving = self._serving, done.task_definition_arn
        self._swap()

    def _fail(self, name: str) -> None:
        """Release a version that fails: by a crash, which the circuit breaker detects, or by the smoke test, which answers a pause."""
        by_smoke = name in (BLUE_GREEN, LINEAR)
        session = self._by(STRATEGIES[name], smoke=(_NO_PATH,) if by_smoke else None)
        digest = self._next() if by_smoke else self._versions.crashing
        with self._expected_failure(), self._chapter(f"{name}, failing"):
            release(session, digest=digest, confirm=lambda _: True, show=self.show)

    def _pause(self) -> None:
        session, digest = self._by(STRATEGIES[BLUE_GREEN]), self._next()

        def goes_on(other: Session) -> None:
            continue_rollout(other, skips_smoke=True, show=self.show)

        with self._chapter(PAUSE), self._meanwhile(_PAUSE_AT, goes_on, is_paused=True):
            done = release(
                session, digest=digest, confirm=lambda _: True, show=self.show, pause_at=(_PAUSE_AT,)
            )
            self._before, self._serving = self._serving, done.task_definition_arn
        self._swap()

    def _stop(self) -> None:
        strategy = dataclasses.replace(STRATEGIES[BLUE_GREEN], bake_minutes=_STOP_MINUTES)

        def stops(other: Session) -> None:
            abort(other, show=self.show)

        with (
            self._expected_failure(),
            self._chapter(STOP),
            self._meanwhile("BAKE_TIME", stops, is_paused=False),
        ):
            release(self._by(strategy), digest=self._next(), confirm=lambda _: True, show=self.show)

    def _roll_back(self) -> None:
        to = self._before.rpartition("/")[2]
        with self._chapter(ROLLBACK):
            rollback(self._by(STRATEGIES[ROLLING]), to=to, show=self.show)
        self._swap()

    def _be_refused(self) -> None:
        """Make calls that AWS refuses, each for a different reason. None changes anything."""
        cluster, service = self._outputs["cluster_name"], self._outputs["service_name"]
        call = self.session.aws.call_ecs
        of_service = {"cluster": cluster, "service": service}
        listed = ecs_items(call, "ListServiceDeployments", of_service, "serviceDeployments")
        ended = min(listed, key=lambda each: float(each["createdAt"]))["serviceDeploymentArn"]
        unknown = f"{ended.rpartition('/')[0]}/AAAAAAAAAAAAAAAAAAAAA"
        requests: Sequence[tuple[str, Mapping[str, Any]]] = (
            ("StopServiceDeployment", {"serviceDeploymentArn": ended}),
            ("StopServiceDeployment", {"serviceDeploymentArn": unknown}),
            ("UpdateService", {"cluster": "no-such-cluster", "service": service, "desiredCount": 1}),
            ("UpdateService", {"cluster": cluster, "service": "no-such-service", "desiredCount": 1}),
            ("RunTask", {"cluster": cluster, "taskDefinition": "no-such-family", "launchType": "FARGATE"}),
            ("DescribeServices", {"cluster": cluster, "services": ["no-such-service"]}),
        )
        for action, request in requests:
            with suppress(Exception):
                call(action, request)

    # ---- helpers

    def _next(self) -> str:
        """Return the version that does not serve."""
        return self._versions.two if self._uses_two else self._versions.one

    def _swap(self) -> None:
        self._uses_two = not self._uses_two

    def _by(self, strategy: Strategy, *, smoke: tuple[str, ...] | None = None) -> Session:
        """Return the session with this strategy, without settings that wait for traffic or run something before a release."""
        before = self.session.environment.release
        limits = dataclasses.replace(before.analysis, is_on=False)
        changed = dataclasses.replace(before, strategy=strategy, smoke=smoke, before=(), analysis=limits)
        environment = dataclasses.replace(self.session.environment, release=changed)
        return dataclasses.replace(self.session, environment=environment)

    @contextmanager
    def _chapter(self, name: str) -> Iterator[None]:
        """Record a chapter until the service is at rest, even if the command fails."""
        self.session.report(f"recording: {name}")
        with self.recorder.chapter(name):
            try:
                yield
            finally:
                self._rest()

    @contextmanager
    def _expected_failure(self) -> Iterator[None]:
        with suppress(RolloutError):
            yield

    def _rest(self) -> None:
        """Wait until no deployment is under way, no task is coming or going, no target drains, and ECS calls the service steady."""
        view = AwsView(self._looking, watched(self._outputs))
        began = time.monotonic()
        while not _is_at_rest(view) or not (_is_steady(view) or self._since(began) > _STEADY_SECONDS):
            if self._since(began) > _REST_SECONDS:
                name = self.session.environment.name
                raise StalledError(
                    f"the service of {name} does not come to rest", hint=Hint(("status", name), " shows why")
                )
            time.sleep(_LOOK)

    def _since(self, began: float) -> float:
        """Return how many of AWS's seconds have passed, without the time that this machine needs for its work."""
        return max(0.0, time.monotonic() - began - _MACHINE_SECONDS) * self.speed

    @contextmanager
    def _held_count(self) -> Iterator[None]:
        """Keep autoscaling from changing the number of tasks. Without traffic, it would scale in."""
        with ServiceFixture(service_of(self.session), report=self.session.report) as fixture:
            fixture.hold_count(int(self._outputs["desired_count"]))
            yield

    @contextmanager
    def _meanwhile(self, stage: str, act: Callable[[Session], None], *, is_paused: bool) -> Iterator[None]:
        """Do something, as another user would, as soon as the rollout inside the block reaches a stage."""
        aws = Aws(self.session.aws.access)
        aws.calls.observe(self.recorder.calls)
        other = dataclasses.replace(self.session, aws=aws)
        over = threading.Event()
        problems: list[Exception] = []

        def work() -> None:
            view = AwsView(self._looking, watched(self._outputs))
            try:
                while not over.wait(_LOOK):
                    if _is_at(view, stage, is_paused=is_paused):
                        act(other)
                        return
            except Exception as error:  # noqa: BLE001  # raised below, in the thread that others see
                problems.append(error)

        thread = threading.Thread(target=work, name=stage, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if problems:
            raise problems[0]


def watched(outputs: Mapping[str, Any]) -> Watched:
    """Return the names of the resources to watch."""
    return Watched(
        cluster=outputs["cluster_name"],
        service=outputs["service_name"],
        target_groups=tuple(outputs["target_group_arns"].values()),
        rules={
            PRODUCTION: outputs["production_listener_rule_arn"],
            TEST: outputs["test_listener_rule_arn"],
        },
    )


def _names(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the names among the outputs, each with what it names."""
    return {str(value): key.replace("_", "-") for key, value in outputs.items() if key.endswith(_NAMING)}


def _is_at_rest(view: AwsView) -> bool:
    is_under_way = any(not each.get("finishedAt") for each in view.deployments())
    is_moving = any(task["lastStatus"] not in ("RUNNING", "STOPPED") for task in view.tasks())
    return not (is_under_way or is_moving or any(state != "healthy" for _, state, _ in view.targets()))


def _is_steady(view: AwsView) -> bool:
    return any(str(event["message"]).endswith(_STEADY) for event in view.events()[:1])


def _is_at(view: AwsView, stage: str, *, is_paused: bool) -> bool:
    """Return whether the deployment under way is at a stage and, if required, waits there for an answer."""
    return any(
        each.get("lifecycleStage") == stage
        and each.get("status") == "IN_PROGRESS"
        and (
            not is_paused
            or any(hook.get("status") == "AWAITING_ACTION" for hook in each.get("lifecycleHookDetails") or ())
        )
        for each in view.deployments()
    )
