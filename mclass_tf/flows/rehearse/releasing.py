"""Brings the versions of a rehearsal into service by the same release and promotion that users run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from mclass_tf.errors import ConfigurationError, Hint
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.promote import PromotionDisplay, promote
from mclass_tf.flows.rehearse.load_plan import long_ms
from mclass_tf.flows.rehearse.scene import Scene, with_release
from mclass_tf.flows.rehearse.versions import BuiltVersion
from mclass_tf.flows.release import Released, release
from mclass_tf.rehearsal.service_reader import ServiceNames, ServiceReader
from mclass_tf.rollout import BeforeUpdate
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, Strategy

_STEADY_SECONDS = 180.0
# Extra time that a long request may take without being slow.
_BESIDES_SECONDS = 1.0


def service_of(session: Session) -> ServiceReader:
    """Return the reader of the applied service."""
    outputs = applied_state(session).outputs
    return ServiceReader(
        aws=session.aws,
        names=ServiceNames(
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
        ),
    )


def bring_up(scene: Scene, old: BuiltVersion) -> None:
    """Release the old version and wait until the service is steady."""
    session, scenario = scene.session, scene.scenario
    session.report(f"bringing {old.name} into service in {session.environment.name}")
    # A deployment of an earlier apply or rehearsal may be under way.
    _wait_until(scene, scene.service.is_at_rest)
    _release(scene, _at_once(session), old, before_update=lambda: scenario.before_old(scene.fixture))
    _wait_until(scene, scene.service.is_steady)


def prove_in_source(scene: Scene, source: Session, new: BuiltVersion) -> None:
    """Release the new version in the source environment of the promotion, and let it serve for its soak time."""
    session = scene.session
    session.report(f"releasing {new.name} in {source.environment.name}, to be promoted from there")
    _wait_until(scene, service_of(source).is_at_rest)
    _release(scene, source, new)
    if scene.soak:
        session.report(f"waiting for {scene.soak:g} s of soak time")
        time.sleep(scene.soak)


def release_new(scene: Scene, version: BuiltVersion, *, before_update: BeforeUpdate) -> Released:
    """Release or promote the new version with the scenario's settings."""
    session = tuned(scene)
    if scene.source is None:
        return _release(scene, session, version, before_update=before_update)
    # Require only the soak time that the rehearsal waited for.
    promotion = dataclasses.replace(session.environment.promotion, soak_minutes=scene.soak / 60)
    environment = dataclasses.replace(session.environment, promotion=promotion)
    return promote(
        scene.source,
        dataclasses.replace(session, environment=environment),
        confirm=lambda _: True,
        shown=PromotionDisplay(rollout=scene.show),
        before_update=before_update,
    ).released


def tuned(scene: Scene) -> Session:
    """Return the session with the scenario's settings, and an analysis that does not count long requests as slow.

    By default, one request in fifty asks for up to two seconds: it is chance whether the 99th percentile is one of them.
    """
    settings = scene.scenario.settings(scene.session.environment.release)
    floor = max(settings.analysis.latency_floor_seconds, long_ms(scene) / 1000 + _BESIDES_SECONDS)
    limits = dataclasses.replace(settings.analysis, latency_floor_seconds=floor)
    return with_release(scene.session, dataclasses.replace(settings, analysis=limits))


def _release(
    scene: Scene, session: Session, version: BuiltVersion, *, before_update: BeforeUpdate = dict
) -> Released:
    return release(
        session,
        digest=version.digest,
        confirm=lambda _: True,
        show=scene.show,
        before_update=before_update,
    )


def _at_once(session: Session) -> Session:
    """Return the session with a strategy that wires the service and does not bake: there are no users yet."""
    settings = session.environment.release
    if not settings.strategy.shifts:
        return session
    strategy = Strategy(name=BLUE_GREEN, bake_minutes=0)
    return with_release(session, dataclasses.replace(settings, strategy=strategy))


def _wait_until(scene: Scene, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STEADY_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            name = scene.session.environment.name
            raise ConfigurationError(
                f"the service of {name} does not settle", hint=Hint(("status", name), " shows why")
            )
        time.sleep(0.5)
