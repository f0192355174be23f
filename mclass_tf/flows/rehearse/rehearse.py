"""The verb that shows a release before it happens: on the local AWS, under traffic, with a report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mclass_tf import local
from mclass_tf.aws import Aws
from mclass_tf.cloud import local_home
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import ConfigurationError, RolloutError, UsageError
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.environments import applied_state, apply, make_plan
from mclass_tf.flows.located import located
from mclass_tf.flows.promote import require_path
from mclass_tf.flows.rehearse.intercept import Announcing, promoted, released
from mclass_tf.flows.rehearse.kill import Plot, killed, require_step
from mclass_tf.flows.rehearse.request import KILLED, SHORTEST_PHASE, Request
from mclass_tf.flows.rehearse.versions import Version, make_version, push_version, revision_of
from mclass_tf.flows.release import Released
from mclass_tf.local.clock import FASTEST, SLOWEST
from mclass_tf.rehearsal.exposure import exposure_of
from mclass_tf.rehearsal.generator import Generator
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.plan import LoadPlan, Probe, Where
from mclass_tf.rehearsal.recorder import Recorder, Watched
from mclass_tf.rehearsal.report import Report, Run
from mclass_tf.rehearsal.result import (
    Deployment,
    Exposure,
    Incident,
    Killed,
    Load,
    Promotion,
    Rehearsal,
    Release,
    Settings,
)
from mclass_tf.rehearsal.scenarios import Facts, Plain, Scenario, Stage, Variables
from mclass_tf.rehearsal.surroundings import Place, Surroundings
from mclass_tf.rehearsal.verdict import judge
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, Strategy

_WARM_UP_SECONDS = 3.0
_STEADY_SECONDS = 180.0
_PATIENCE_SECONDS = 24 * 3600.0
# Of the deregistration delay: a long request must be over well before it.
_LONG_SHARE_OF_DELAY = 0.6
_LONGEST_MS = 2000
# By which a long request may take longer than it was asked to, and is not slow.
_BESIDES_SECONDS = 1.0
# Idle connections of a service that keeps them longer are not waited for.
_PROBED_KEEP_ALIVE = 30.0
# What an environment asks for to be proven is waited for at the clock's speed, and no longer than this.
_LONGEST_SOAK = 30.0


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """Where a run takes place."""

    session: Session
    source: Session | None
    request: Request
    scenario: Scenario
    instrument: Instrument
    surroundings: Surroundings
    facts: Facts
    outputs: Mapping[str, Any]
    show: Show


def rehearse(session: Session, request: Request, *, show: Show, source: Session | None = None) -> Report:
    """Release one version after another on the local AWS while requests come, and report what they met.

    With `source` each comes from there: proven in that environment first, then promoted. Whatever a scenario changes besides the versions is put back in the end, and so is the clock.
    """
    scenario = request.scenario()
    if not SLOWEST <= request.speed <= FASTEST:
        raise UsageError(f"a speed of {request.speed:g} is not possible", hint="choose one from 1 to 1000")
    _check(LoadPlan(where=Where(scheme="http", host="", port=0, host_header=""), rate=request.rate))
    if source is not None:
        require_path(source, session)
    instrument = _instrument(session)
    session = _with_strategy(session, request.strategy)
    _require_shift(session, scenario)
    require_step(request.at, fault=request.fault, shifts=session.environment.release.strategy.shifts)
    with _clock(instrument, request.speed):
        outputs = _all_applied(session, source)
        surroundings = Surroundings(session.aws, _place(outputs), report=session.report)
        facts = _facts(surroundings, speed=request.speed, desired=outputs["desired_count"])
        scene = _Scene(
            session=session,
            source=source,
            request=request,
            scenario=scenario,
            instrument=instrument,
            surroundings=surroundings,
            facts=facts,
            outputs=outputs,
            show=show,
        )
        old, new = _versions(scene)
        runs = []
        for number in range(1, request.runs + 1):
            if request.runs > 1:
                session.report(f"run {number} of {request.runs}")
            if number > 1:
                push_version(source or session, new)  # the fault may be that it is gone
            runs.append(_run(scene, old=old, new=new))
            if isinstance(scenario, Plain):
                # What serves now is the old version of the next run.
                old, new = new, old
    return Report(
        environment=session.environment.name,
        target=session.cloud.label,
        scenario=request.told,
        promise=scenario.promise,
        source=request.source or "",
        strategy=session.environment.release.strategy.name,
        runs=tuple(runs),
    )


def _with_strategy(session: Session, name: str | None) -> Session:
    """Return the session with that strategy in the place of its environment's."""
    before = session.environment.release
    if name is None or name == before.strategy.name:
        return session
    release = dataclasses.replace(before, strategy=Strategy(name=name, alarms=before.strategy.alarms))
    return _with_release(session, release)


def _require_shift(session: Session, scenario: Scenario) -> None:
    """Refuse what a rolling release cannot show."""
    if scenario.shifts and not session.environment.release.strategy.shifts:
        raise UsageError(
            f"{scenario.name} needs a strategy that shifts traffic: in a rolling release a new version is not tested before it "
            "has users, nor compared with the old one",
            hint="--strategy blue-green, canary or linear",
        )


def _check(plan: LoadPlan) -> None:
    problems = plan.problems()
    if problems:
        raise UsageError("; ".join(problems))


def _instrument(session: Session) -> Instrument:
    running = local.status(home=local_home(session.project.home))
    if not session.cloud.is_local or running is None:
        raise ConfigurationError(
            f"rehearsals run only against the local AWS, not {session.cloud.label}", hint="`local up`"
        )
    return Instrument(running)


@contextmanager
def _clock(instrument: Instrument, speed: float) -> Iterator[None]:
    before = instrument.speed()
    instrument.set_speed(speed)
    try:
        yield
    finally:
        instrument.set_speed(before)


def _all_applied(session: Session, source: Session | None) -> Mapping[str, Any]:
    """Apply what is written in both environments, side by side: nearly all of an apply is waiting. Return `session`'s outputs."""
    if source is None:
        return _applied(session)
    with ThreadPoolExecutor(max_workers=2) as pool:
        outputs, _ = pool.map(_applied, (session, source))
    return outputs


def _applied(session: Session) -> Mapping[str, Any]:
    """Apply what is written, if it is not applied; return the outputs."""
    planned = make_plan(session)
    planned.decision.require()
    if planned.plan.has_changes:
        apply(session)
    return applied_state(session).outputs


def _place(outputs: Mapping[str, Any]) -> Place:
    return Place(
        cluster=outputs["cluster_name"],
        service=outputs["service_name"],
        repository=outputs["repository_name"],
        target_group_arns=tuple(outputs["target_group_arns"].values()),
        load_balancer_arn=outputs["alb_arn"],
        production_rule_arn=outputs["production_listener_rule_arn"],
        execution_role=outputs["execution_role_arn"].rpartition("/")[2],
        vpc_id=outputs["vpc_id"],
        security_group_id=outputs["service_security_group_id"],
        subnet_ids=tuple(outputs["private_subnet_ids"]),
    )


def _facts(surroundings: Surroundings, *, speed: float, desired: int) -> Facts:
    """Whatever runs now, `desired` will run."""
    settings = surroundings.settings(speed=speed, service_variables={})
    return Facts(
        settings=dataclasses.replace(settings, desired_count=desired), memory_mib=surroundings.memory_mib()
    )


def _versions(scene: _Scene) -> tuple[Version, Version]:
    """Return the version that serves first and the one that replaces it, both built and pushed."""
    wanted = _variables(scene)
    first = scene.session if scene.source is None else scene.source
    revision = revision_of(first)
    old = make_version(first, revision, "a", wanted.old)
    new = make_version(first, revision, "b", wanted.new) if scene.scenario.releases else old
    if scene.source is not None:
        # The old one is released here, to be replaced; the new one comes by the promotion.
        push_version(scene.session, old)
    in_force = scene.outputs.get("image_digest")
    if wanted == Variables() and in_force == new.digest and isinstance(scene.scenario, Plain):
        return new, old
    return old, new


def _variables(scene: _Scene) -> Variables:
    """Return what makes the versions; one that is promoted is well where it is to be proven."""
    wanted = scene.scenario.variables(scene.facts)
    if scene.source is None:
        return wanted
    account, cluster = scene.session.environment.account_id, scene.outputs["cluster_name"]
    only = {"MCLASS_FAULT_ONLY_IN": f"{account}:task/{cluster}"}
    old, new = ({**each, **only} if each else each for each in (wanted.old, wanted.new))
    return Variables(old=old, new=new)


def _run(scene: _Scene, *, old: Version, new: Version) -> Run:
    with scene.surroundings as surroundings:
        count = scene.outputs["desired_count"]
        # What is promoted, or gone on with, must stand every check of the environment: one is that scaling is not suspended.
        (surroundings.set_count if scene.request.is_verified else surroundings.hold_count)(count)
        _bring_up(scene, old)
        if scene.source is not None:
            _prove_in_source(scene, scene.source, new)
        scene.scenario.prepare(surroundings)
        rehearsal = _under_traffic(scene, old=old, new=new)
    return Run(rehearsal=rehearsal, verdict=judge(rehearsal, scene.scenario.expected()))


def _bring_up(scene: _Scene, old: Version) -> None:
    """Have the old version serve, all of it."""
    session, scenario = scene.session, scene.scenario
    session.report(f"bringing {old.name} into service in {session.environment.name}")
    # What an apply or a rehearsal before this one has started may not be over.
    _rest(scene, scene.surroundings.is_at_rest)
    there = dataclasses.replace(scene, session=_at_once(session))
    _release(there, old, before=lambda: scenario.before_old(scene.surroundings))
    _rest(scene, scene.surroundings.is_steady)


def _at_once(session: Session) -> Session:
    """Return the session with a strategy that wires the service and waits for nothing: no user is there to be spared."""
    release = session.environment.release
    if not release.strategy.shifts:
        return session
    strategy = Strategy(name=BLUE_GREEN, bake_minutes=0)
    return _with_release(session, dataclasses.replace(release, strategy=strategy))


def _with_release(session: Session, release: ReleaseSettings) -> Session:
    return dataclasses.replace(session, environment=dataclasses.replace(session.environment, release=release))


def _prove_in_source(scene: _Scene, source: Session, new: Version) -> None:
    """Release the new version where it is to be promoted from, and let it serve there for as long as it must."""
    session = scene.session
    session.report(f"releasing {new.name} in {source.environment.name}, to be promoted from there")
    there = Surroundings(source.aws, _place(applied_state(source).outputs), report=source.report)
    _rest(scene, there.is_at_rest)
    released(source, digest=new.digest, show=scene.show)
    soak = _soak(scene)
    if soak:
        session.report(f"it is to be proven for {soak:g} s")
        time.sleep(soak)


def _soak(scene: _Scene) -> float:
    """Return how many seconds the new version is to be proven: the environment's, at the clock's speed, cut to the longest."""
    asked = scene.session.environment.promotion.soak_minutes * 60
    return min(asked / scene.request.speed, _LONGEST_SOAK)


def _rest(scene: _Scene, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STEADY_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            name = scene.session.environment.name
            raise ConfigurationError(
                f"the service of {name} does not come to rest", hint=f"`status {name}` shows why"
            )
        time.sleep(0.5)


def _release(scene: _Scene, version: Version, *, before: Callable[[], Mapping[str, Any]]) -> Released:
    session = dataclasses.replace(scene.session, aws=Announcing(scene.session.aws, before))
    return released(session, digest=version.digest, show=scene.show)


def _release_new(scene: _Scene, version: Version, *, before: Callable[[], Mapping[str, Any]]) -> Released:
    """Release the new version with the settings that the scenario is about, or promote it with them."""
    scene = dataclasses.replace(scene, session=_tuned(scene))
    if scene.source is None:
        return _release(scene, version, before=before)
    return _promote(scene, scene.source, before=before)


def _tuned(scene: _Scene) -> Session:
    """Return the session with what the scenario is about, and a comparison that does not take long requests for slow ones.

    One request in fifty is asked to take up to two seconds: whether a 99th percentile is one of them is chance.
    """
    release = scene.scenario.settings(scene.session.environment.release)
    floor = max(release.analysis.latency_floor_seconds, _long_ms(scene) / 1000 + _BESIDES_SECONDS)
    limits = dataclasses.replace(release.analysis, latency_floor_seconds=floor)
    return _with_release(scene.session, dataclasses.replace(release, analysis=limits))


def _promote(scene: _Scene, source: Session, *, before: Callable[[], Mapping[str, Any]]) -> Released:
    """Promote what the source serves; the soak time that was waited for is what is asked for."""
    environment = scene.session.environment
    asked = dataclasses.replace(environment.promotion, soak_minutes=_soak(scene) / 60)
    session = dataclasses.replace(
        scene.session,
        aws=Announcing(scene.session.aws, before),
        environment=dataclasses.replace(environment, promotion=asked),
    )
    return promoted(source, session, show=scene.show)


def _under_traffic(scene: _Scene, *, old: Version, new: Version) -> Rehearsal:
    plan = _load_plan(scene)
    # Clients of boto3 are not to be made in two threads at once.
    recorder = Recorder(Aws(scene.session.aws.access), _watched(scene.outputs))
    incidents: list[Incident] = []
    given = _given(scene)
    in_use = scene.surroundings.group_in_use()
    # A scenario may need a load that is slower than the one that was asked for; it lasts as long.
    enough = scene.request.total * plan.rate / scene.request.rate
    scene.session.report(f"{plan.rate:g} requests a second")
    recorder.start()
    try:
        with Generator(plan) as load:
            stage = Stage(
                surroundings=scene.surroundings,
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
            done: Release | None
            ended: Killed | None = None
            if scene.request.fault == KILLED:
                done, ended = _killed(scene, load, stage, recorder, old=old, new=new)
            else:
                done = _happens(scene, load, stage, old=old, new=new)
            settings = _settings(scene, old)
            load.enter("after")
            load.wait(seconds=SHORTEST_PHASE)
            load.wait(seconds=_PATIENCE_SECONDS, until=lambda: load.sent >= enough)
            found = load.stop()
    finally:
        recorder.stop()
    return Rehearsal(
        environment=scene.session.environment.name,
        target=scene.session.cloud.label,
        scenario=scene.request.told,
        started_at=found.started_at,
        ended_at=found.ended_at,
        load=found,
        settings=settings,
        release=done,
        strategy=scene.session.environment.release.strategy.name,
        deployments=recorder.deployments(),
        killed=ended,
        promotion=_promotion(scene, done, recorder.deployments()),
        exposure=_exposure(
            scene, found, done, recorder.deployments(), given=_since(given, _given(scene)), in_use=in_use
        ),
        tasks=tuple(task for task in recorder.tasks() if task.lived_at(found.started_at)),
        events=recorder.events(since=found.started_at),
        balancer_failures=scene.instrument.failures(
            load_balancer_arn=scene.outputs["alb_arn"], since=found.started_at
        ),
        incidents=tuple(incidents),
        notes=(
            *_soak_note(scene),
            *(f"the recorder met: {problem}" for problem in sorted(recorder.problems)),
        ),
    )


def _happens(scene: _Scene, load: Generator, stage: Stage, *, old: Version, new: Version) -> Release | None:
    """Release the new version, or do what the scenario does in its place."""
    if not scene.scenario.releases:
        load.enter("during")
        scene.scenario.happen(stage)
        return None
    load.enter("prepare")
    asked_at = began = time.time()

    def before() -> Mapping[str, Any]:
        nonlocal began
        added = scene.scenario.before_new(stage)
        began = time.time()
        load.enter("during")
        stage.note(f"UpdateService: {new.name} is to replace {old.name}")
        return added

    try:
        done = _release_new(scene, new, before=before)
    except RolloutError as error:
        return Release(
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
    return Release(
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


def _killed(
    scene: _Scene, load: Generator, stage: Stage, recorder: Recorder, *, old: Version, new: Version
) -> tuple[Release, Killed]:
    """Have a command release or promote the new version, kill it, and go on with it."""
    name, began = scene.session.environment.name, time.time()
    source = scene.source
    promotion = () if source is None else ("promote", source.environment.name, name)
    load.enter("during")
    found = killed(
        Plot(
            session=_tuned(scene),
            words=promotion or ("release", name, "--image", new.digest),
            digest=new.digest,
            step=scene.request.step,
            deployments=recorder.deployments,
            is_waiting=scene.surroundings.is_waiting,
            is_at_rest=scene.surroundings.is_at_rest,
            wait=stage.wait,
            note=stage.note,
        )
    )
    done = Release(
        outcome="released" if found.exit_code == 0 else "failed",
        digest=new.digest,
        cause=found.cause,
        error=found.cause,
        exit_code=found.exit_code,
        asked_at=began,
        started_at=began,
        ended_at=found.ended_at,
        old_version=old.name,
        new_version=new.name,
    )
    return done, found


def _promotion(scene: _Scene, done: Release | None, deployments: tuple[Deployment, ...]) -> Promotion | None:
    """Return what the promotion took; None where nothing was promoted, or where ECS was not seen to its end."""
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


def _given(scene: _Scene) -> Mapping[str, int]:
    """Return how many requests the production listener has given to each target group so far."""
    rule = scene.outputs["production_listener_rule_arn"]
    listener = rule.replace(":listener-rule/", ":listener/").rpartition("/")[0]
    return scene.instrument.requests(listener_arn=listener)


def _since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {group: count - before.get(group, 0) for group, count in after.items()}


def _exposure(
    scene: _Scene,
    load: Load,
    done: Release | None,
    deployments: tuple[Deployment, ...],
    *,
    given: Mapping[str, int],
    in_use: str,
) -> Exposure | None:
    """Return who met a new version that was taken back; None of one that stayed, or where there was none.

    In a rolling release both versions are in one target group, and the load balancer tells nothing of either.
    """
    if done is None or done.outcome != "failed":
        return None
    strategy = scene.session.environment.release.strategy
    to_others = sum(count for group, count in given.items() if group != in_use)
    return exposure_of(
        load,
        version=done.new_version,
        strategy=strategy,
        deployments=deployments,
        balancer_requests=to_others if strategy.shifts else None,
    )


def _soak_note(scene: _Scene) -> Iterator[str]:
    asked = scene.session.environment.promotion.soak_minutes
    if scene.source is not None and asked * 60 / scene.request.speed > _LONGEST_SOAK:
        yield f"{asked:g} minutes of soak time are asked for; {_LONGEST_SOAK:g} s were waited for"


def _settings(scene: _Scene, old: Version) -> Settings:
    return scene.surroundings.settings(speed=scene.request.speed, service_variables=old.variables)


def _watched(outputs: Mapping[str, Any]) -> Watched:
    return Watched(
        cluster=outputs["cluster_name"],
        service=outputs["service_name"],
        target_group_arns=tuple(outputs["target_group_arns"].values()),
    )


def _load_plan(scene: _Scene) -> LoadPlan:
    """Return the load: long requests shorter than what the environment gives them, bursts around the service's keep-alive."""
    request, facts = scene.request, scene.facts
    outputs = scene.outputs
    found = located(scene.session, outputs["url"], certificate_arn=outputs.get("certificate_arn"))
    plan = LoadPlan(
        where=Where(
            scheme=found.scheme,
            host=found.host,
            port=found.port,
            host_header=found.host_header,
            server_name=found.server_name,
            certificates=found.trust.certificates,
        ),
        rate=request.rate,
        long_share=request.long_share,
        long_ms=_long_ms(scene),
        new_connection_share=request.new_connection_share,
        probe=_probe(facts.settings.keep_alive),
    )
    wanted = scene.scenario.load(plan, facts)
    _check(wanted)
    return wanted


def _long_ms(scene: _Scene) -> int:
    drained = scene.facts.real(scene.facts.settings.deregistration_delay)
    return min(_LONGEST_MS, round(drained * _LONG_SHARE_OF_DELAY * 1000))


def _probe(keep_alive: float | None) -> Probe:
    """Bursts at the keep-alive that the service has, or at the default of many servers, where that is long."""
    if keep_alive is None or keep_alive > _PROBED_KEEP_ALIVE:
        return Probe()
    return Probe(intervals=tuple(keep_alive + offset for offset in (-0.01, 0.0, 0.005, 0.01, 0.02)))
