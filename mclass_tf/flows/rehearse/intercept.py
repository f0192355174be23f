"""Brings a version into service as a rehearsal wants it: by the release or the promotion that users run, told of its moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mclass_tf.aws import Aws
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.promote import Shown, promote
from mclass_tf.flows.release import Released, release
from mclass_tf.session import Session


class Announcing(Aws):
    """AWS that says so just before a service is pointed at a task definition, and adds to that call what it is given."""

    def __init__(self, aws: Aws, before: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__(aws.access)
        self._before: Callable[[], Mapping[str, Any]] | None = before

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        before, is_rollout = self._before, action == "UpdateService" and "taskDefinition" in request
        if not is_rollout or before is None:
            return super().call_ecs(action, request)
        self._before = None
        added = dict(before())
        configuration = "deploymentConfiguration"
        if configuration in added and configuration in request:
            added[configuration] = {**request[configuration], **added[configuration]}
        return super().call_ecs(action, {**request, **added})


def released(session: Session, *, digest: str, show: Show) -> Released:
    return release(session, digest=digest, confirm=lambda _: True, show=show)


def promoted(source: Session, session: Session, *, show: Show) -> Released:
    """Promote what `source`'s environment serves."""
    return promote(source, session, confirm=lambda _: True, shown=Shown(rollout=show)).released
