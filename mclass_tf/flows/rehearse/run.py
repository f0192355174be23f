"""One run of a rehearsal: a version replaces another under traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.aws import Aws
from mclass_tf.errors import RolloutError
from mclass_tf.flows.rehearse.kill import KillPlan, kill_and_resume
from mclass_tf.flows.rehearse.load_plan import load_plan
from mclass_tf.flows.rehearse.releasing import bring_up, prove_in_source, release_new, tuned
from mclass_tf.flows.rehearse.request import KILLED, SHORTEST_PHASE
from mclass_tf.flows.rehearse.scene import Scene
from mclass_tf.flows.rehearse.versions import BuiltVersion
from mclass_tf.rehearsal.exposure import exposure_of
from mclass_tf.rehearsal.load_sender import LoadSender
from mclass_tf.rehearsal.plan import LoadPlan
from mclass_tf.rehearsal.recorder import RecordedService, Recorder
from mclass_tf.rehearsal.report import RehearsalRun
from mclass_tf.rehearsal.result import (
    Exposure,
    Incident,
    KilledCommand,
    LoadResult,
    ObservedDeployment,
    Promotion,
    Rehearsal,
    ReleaseResult,
    ServiceSettings,
)
from mclass_tf.rehearsal.scenarios import ScenarioContext
from mclass_tf.rehearsal.verdict import judge

_WARM_UP_SECONDS = 3.0
_PATIENCE_SECONDS = 24 * 3600.0


def run(scene: Scene, *, old: BuiltVersion, new: BuiltVersion) -> RehearsalRun:
    """Bring the old version into service, then the new one under traffic; judge the results."""
    with scene.fixture as fixture:
        count = scene.outputs["desired_count"]
        # Verification requires that scaling is not suspended, which holding the count would do.
        (fixture.set_count if scene.request.is_verified else fixture.hold_count)(count)
        bring_up(scene, old)
        if scene.source is not None:
            prove_in_source(scene, scene.source, new)
        scene.scenario.prepare(fixture)
        rehearsal = _under_traffic(scene, old=old, new=new)
    return RehearsalRun(rehearsal=rehearsal, verdict=judge(rehearsal, scene.scenario.expected()))


def _under_traffic(scene: Scene, *, old: BuiltVersion, new: BuiltVersion) -> Rehearsal:
    plan = load_plan(scene)
    # boto3 clients must not be created in two threads at once.
    recorder = Recorder(Aws(scene.session.aws.access), _watched(scene.outputs))
    requests, in_use = _requests_by_group(scene), scene.service.group_in_use()
    scene.session.report(f"{plan.rate:g} requests a second")
    recorder.start()
    try:
        seen = _observe(scene, plan, recorder, old=old, new=new)
    finally:
        recorder.stop()
    requests = _since(requests, _requests_by_group(scene))
    return _rehearsal(scene, seen, recorder, requests=requests, in_use=in_use)


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """The observations of a run: the load, the release and, if its command was killed, how it was resumed."""

    load: LoadResult
    settings: ServiceSettings
    release: ReleaseResult | None
    killed: KilledCommand | None
    incidents: tuple[Incident, ...]


def _observe(
    scene: Scene, plan: LoadPlan, recorder: Recorder, *, old: BuiltVersion, new: BuiltVersion
) -> _Observation:
    # A scenario may need a slower load than requested: keep its duration.
    enough = scene.request.total * plan.rate / scene.request.rate
    incidents: list[Incident] = []
    with LoadSender(plan) as load:
        stage = ScenarioContext(
            fixture=scene.fixture,
            instrument=scene.instrument,
            facts=scene.facts,
            digest=new.digest,
            wait=lambda seconds, until: load.wait(seconds=seconds, until=until),
            note=recorder.note,
            incident=incidents.append,
        )
        load.wait(seconds=_WARM_UP_SECONDS)
        load.enter("before")
        load.wait(seconds=scene.request.before)
        release, killed = _perform(scene, load, stage, recorder, old=old, new=new)
        settings = scene.service.settings(speed=scene.request.speed, service_variables=old.variables)
        load.enter("after")
        load.wait(seconds=SHORTEST_PHASE)
        load.wait(seconds=_PATIENCE_SECONDS, until=lambda: load.sent >= enough)
        return _Observation(
            load=load.stop(), settings=settings, release=release, killed=killed, incidents=tuple(incidents)
        )


def _rehearsal(
    scene: Scene, seen: _Observation, recorder: Recorder, *, requests: Mapping[str, int], in_use: str
) -> Rehearsal:
    """Assemble the rehearsal; `requests` are those of each target group since the load began."""
    deployments, load = recorder.deployments(), seen.load
    return Rehearsal(
        environment=scene.session.environment.name,
        target=scene.session.cloud.label,
        scenario=scene.request.description,
        started_at=load.started_at,
        ended_at=load.ended_at,
        load=load,
        settings=seen.settings,
        release=seen.release,
        strategy=scene.session.environment.release.strategy.name,
        deployments=deployments,
        killed=seen.killed,
        promotion=_promotion(scene, seen.release, deployments),
        exposure=_exposure(scene, load, seen.release, deployments, requests=requests, in_use=in_use),
        tasks=tuple(task for task in recorder.tasks() if task.lived_at(load.started_at)),
        events=recorder.events(since=load.started_at),
        balancer_failures=scene.instrument.failures(
            load_balancer_arn=scene.outputs["alb_arn"], since=load.started_at
        ),
        incidents=seen.incidents,
        notes=(
            *_soak_note(scene),
            *(f"the recorder met: {problem}" for problem in sorted(recorder.problems)),
        ),
    )


def _perform(
    scene: Scene,
    load: LoadSender,
    stage: ScenarioContext,
    recorder: Recorder,
    *,
    old: BuiltVersion,
    new: BuiltVersion,
) -> tuple[ReleaseResult | None, KilledCommand | None]:
    if scene.request.fault == KILLED:
        return _release_killed(scene, load, stage, recorder, old=old, new=new)
    if scene.scenario.releases:
        return _release_new(scene, load, stage, old=old, new=new), None
    load.enter("during")
    scene.scenario.happen(stage)
    return None, None


def _release_new(
    scene: Scene, load: LoadSender, stage: ScenarioContext, *, old: BuiltVersion, new: BuiltVersion
) -> ReleaseResult:
    """Release the new version; a failure is a result, not an error."""
    load.enter("prepare")
    asked_at = began = time.time()

    def before_update() -> Mapping[str, Any]:
        nonlocal began
        added = scene.scenario.before_new(stage)
        began = time.time()
        load.enter("during")
        stage.note(f"UpdateService: {new.name} is to replace {old.name}")
        return added

    try:
        done = release_new(scene, new, before_update=before_update)
    except RolloutError as error:
        return ReleaseResult(
            outcome="failed",
            digest=new.digest,
            cause=error.cause,
            error=str(error),
            exit_code=error.exit_code,
            asked_at=asked_at,
            started_at=began,
            ended_at=time.time(),
            old_version=old.name,
            new_version=new.name,
        )
    return ReleaseResult(
        outcome=done.outcome,
        digest=new.digest,
        cause=done.cause,
        verified=done.verification.ok if scene.request.is_verified else None,
        asked_at=asked_at,
        started_at=began,
        ended_at=time.time(),
        old_version=old.name,
        new_version=new.name,
    )


def _release_killed(
    scene: Scene,
    load: LoadSender,
    stage: ScenarioContext,
    recorder: Recorder,
    *,
    old: BuiltVersion,
    new: BuiltVersion,
) -> tuple[ReleaseResult, KilledCommand]:
    """Release or promote the new version by a separate command, kill it, and resume the release."""
    name, began = scene.session.environment.name, time.time()
    source = scene.source
    promotion = () if source is None else ("promote", source.environment.name, name)
    load.enter("during")
    killed = kill_and_resume(
        KillPlan(
            session=tuned(scene),
            words=promotion or ("release", name, "--image", new.digest),
            digest=new.digest,
            step=scene.request.step,
            deployments=recorder.deployments,
            is_waiting=scene.service.is_waiting,
            is_at_rest=scene.service.is_at_rest,
            wait=stage.wait,
            note=stage.note,
        )
    )
    done = ReleaseResult(
        outcome="released" if killed.exit_code == 0 else "failed",
        digest=new.digest,
        cause=killed.cause,
        error=killed.cause,
        exit_code=killed.exit_code,
        asked_at=began,
        started_at=began,
        ended_at=killed.ended_at,
        old_version=old.name,
        new_version=new.name,
    )
    return done, killed


def _promotion(
    scene: Scene, done: ReleaseResult | None, deployments: tuple[ObservedDeployment, ...]
) -> Promotion | None:
    """Return the duration of the promotion; None without a promotion, or without an observed deployment."""
    if scene.source is None or done is None or scene.request.fault == KILLED:
        return None
    spans = [(each.created_at, each.finished_at) for each in deployments if each.created_at < done.ended_at]
    if not spans:
        return None
    return Promotion(
        source=scene.source.environment.name,
        seconds=done.ended_at - done.asked_at,
        ecs_seconds=sum((finished or done.ended_at) - created for created, finished in spans),
    )


def _requests_by_group(scene: Scene) -> Mapping[str, int]:
    return scene.instrument.requests(rule_arn=scene.outputs["production_listener_rule_arn"])


def _since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {group: count - before.get(group, 0) for group, count in after.items()}


def _exposure(
    scene: Scene,
    load: LoadResult,
    done: ReleaseResult | None,
    deployments: tuple[ObservedDeployment, ...],
    *,
    requests: Mapping[str, int],
    in_use: str,
) -> Exposure | None:
    """Return the exposure of users to a new version that was rolled back; None if there was no failed release.

    In a rolling release both versions share a target group, so that the load balancer cannot count them apart.
    """
    if done is None or done.outcome != "failed":
        return None
    strategy = scene.session.environment.release.strategy
    to_others = sum(count for group, count in requests.items() if group != in_use)
    return exposure_of(
        load,
        version=done.new_version,
        strategy=strategy,
        deployments=deployments,
        balancer_requests=to_others if strategy.shifts else None,
    )


def _soak_note(scene: Scene) -> Iterator[str]:
    if scene.source is not None and scene.asked_soak > scene.soak:
        asked = scene.session.environment.promotion.soak_minutes
        yield f"{asked:g} minutes of soak time are required; the rehearsal waited {scene.soak:g} s"


def _watched(outputs: Mapping[str, Any]) -> RecordedService:
    return RecordedService(
        cluster=outputs["cluster_name"],
        service=outputs["service_name"],
        target_group_arns=tuple(outputs["target_group_arns"].values()),
    )
