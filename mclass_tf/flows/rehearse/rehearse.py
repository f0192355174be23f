"""`rehearse`: performs a release on the local AWS under traffic, and reports what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mclass_tf import local
from mclass_tf.cloud import local_home
from mclass_tf.errors import ConfigurationError, Hint, UsageError
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.environments import applied_state, apply, make_plan
from mclass_tf.flows.promote import require_path
from mclass_tf.flows.rehearse.kill import require_step
from mclass_tf.flows.rehearse.load_plan import require_possible
from mclass_tf.flows.rehearse.releasing import service_of
from mclass_tf.flows.rehearse.request import RehearsalRequest
from mclass_tf.flows.rehearse.run import run
from mclass_tf.flows.rehearse.scene import Scene, with_release
from mclass_tf.flows.rehearse.versions import BuiltVersion, make_version, push_version, revision_of
from mclass_tf.local.clock import FASTEST, SLOWEST
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.plan import LoadEndpoint, LoadPlan
from mclass_tf.rehearsal.report import Report
from mclass_tf.rehearsal.scenarios import PlainRelease, Scenario, ScenarioFacts, Variables
from mclass_tf.rehearsal.service_reader import ServiceReader
from mclass_tf.session import Session
from mclass_tf.strategy import Strategy


def rehearse(
    session: Session, request: RehearsalRequest, *, show: Show, source: Session | None = None
) -> Report:
    """Release one version after another on the local AWS under load, and report the results of the requests.

    With `source`, each version is first proven in that environment, then promoted. At the end, everything that the scenario
    changed except the versions is restored, and so is the clock.
    """
    scenario = request.scenario()
    if not SLOWEST <= request.speed <= FASTEST:
        raise UsageError(f"a speed of {request.speed:g} is not possible", hint="choose one from 1 to 1000")
    require_possible(
        LoadPlan(where=LoadEndpoint(scheme="http", host="", port=0, host_header=""), rate=request.rate)
    )
    if source is not None:
        require_path(source, session)
    instrument = _instrument(session)
    session = _with_strategy(session, request.strategy)
    _require_shift(session, scenario)
    require_step(request.at, fault=request.fault, shifts=session.environment.release.strategy.shifts)
    with _clock(instrument, request.speed):
        outputs = _all_applied(session, source)
        service = service_of(session)
        scene = Scene(
            session=session,
            source=source,
            request=request,
            scenario=scenario,
            instrument=instrument,
            fixture=ServiceFixture(service, report=session.report),
            facts=_facts(service, speed=request.speed, desired=outputs["desired_count"]),
            outputs=outputs,
            show=show,
        )
        old, new = _versions(scene)
        runs = []
        for number in range(1, request.runs + 1):
            if request.runs > 1:
                session.report(f"run {number} of {request.runs}")
            if number > 1:
                push_version(source or session, new)  # the fault may have deleted it
            runs.append(run(scene, old=old, new=new))
            if isinstance(scenario, PlainRelease):
                # What serves now is the old version of the next run.
                old, new = new, old
    return Report(
        environment=session.environment.name,
        target=session.cloud.label,
        scenario=request.description,
        promise=scenario.promise,
        source=request.source or "",
        strategy=session.environment.release.strategy.name,
        runs=tuple(runs),
    )


def _with_strategy(session: Session, name: str | None) -> Session:
    before = session.environment.release
    if name is None or name == before.strategy.name:
        return session
    release = dataclasses.replace(before, strategy=Strategy(name=name, alarms=before.strategy.alarms))
    return with_release(session, release)


def _require_shift(session: Session, scenario: Scenario) -> None:
    if scenario.shifts and not session.environment.release.strategy.shifts:
        raise UsageError(
            f"{scenario.name} needs a strategy that shifts traffic: in a rolling release a new version is not tested before it "
            "has users, nor compared with the old one",
            hint="--strategy blue-green, canary or linear",
        )


def _instrument(session: Session) -> Instrument:
    running = local.status(home=local_home(session.project.home))
    if not session.cloud.is_local or running is None:
        raise ConfigurationError(
            f"rehearsals run only against the local AWS, not {session.cloud.label}",
            hint=Hint(("local", "up")),
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
    """Apply both environments in parallel, as an apply mostly waits. Return `session`'s outputs."""
    if source is None:
        return _applied(session)
    with ThreadPoolExecutor(max_workers=2) as pool:
        outputs, _ = pool.map(_applied, (session, source))
    return outputs


def _applied(session: Session) -> Mapping[str, Any]:
    """Apply the configuration if it has changes; return the outputs."""
    planned = make_plan(session)
    planned.decision.require()
    if planned.plan.has_changes:
        apply(session)
    return applied_state(session).outputs


def _facts(service: ServiceReader, *, speed: float, desired: int) -> ScenarioFacts:
    """Return the facts of the service, with `desired` as the desired count during the rehearsal."""
    settings = service.settings(speed=speed, service_variables={})
    return ScenarioFacts(
        settings=dataclasses.replace(settings, desired_count=desired), memory_mib=service.memory_mib()
    )


def _versions(scene: Scene) -> tuple[BuiltVersion, BuiltVersion]:
    """Build and push the version that serves first and the one that replaces it; return both."""
    variables = _variables(scene)
    first = scene.session if scene.source is None else scene.source
    revision = revision_of(first)
    old = make_version(first, revision, "a", variables.old)
    new = make_version(first, revision, "b", variables.new) if scene.scenario.releases else old
    if scene.source is not None:
        # The old version is released directly; the new one arrives by the promotion.
        push_version(scene.session, old)
    in_force = scene.outputs.get("image_digest")
    if variables == Variables() and in_force == new.digest and isinstance(scene.scenario, PlainRelease):
        return new, old
    return old, new


def _variables(scene: Scene) -> Variables:
    """Return the variables of the versions. The fault of a promoted version must not appear in its source environment."""
    variables = scene.scenario.variables(scene.facts)
    if scene.source is None:
        return variables
    account, cluster = scene.session.environment.account_id, scene.outputs["cluster_name"]
    only = {"MCLASS_FAULT_ONLY_IN": f"{account}:task/{cluster}"}
    old, new = ({**each, **only} if each else each for each in (variables.old, variables.new))
    return Variables(old=old, new=new)
