"""Client tokens: a repeated request starts nothing again.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.aws.ecs.model.errors import conflict
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.clock import Clock

# AWS's seconds: 24 hours, or an hour after the task has stopped, whichever is less.
_KEPT = 24 * 3600.0
_KEPT_AFTER_STOP = 3600.0


@dataclass(frozen=True, kw_only=True)
class _Use:
    at: float
    request: str
    tasks: Sequence[Task]


class ClientTokens:
    """The tokens of one account and region. The scope of a token is its cluster."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], _Use] = {}

    def find(
        self, cluster_arn: str, token: str, *, request: Mapping[str, Any], clock: Clock
    ) -> Sequence[Task] | None:
        """Return the tasks of the same earlier request, or None. Raise ConflictException if the requests differ."""
        self._drop_expired(clock)
        use = self._uses.get((cluster_arn, token))
        if use is None:
            return None
        if use.request != _canonical(request):
            raise conflict(
                "The provided clientToken is already in use with a different RunTask request.",
                resource_ids=[task.arn for task in use.tasks],
            )
        return use.tasks

    def keep(
        self, cluster_arn: str, token: str, *, request: Mapping[str, Any], tasks: Sequence[Task]
    ) -> None:
        self._uses[cluster_arn, token] = _Use(at=time.time(), request=_canonical(request), tasks=tuple(tasks))

    def _drop_expired(self, clock: Clock) -> None:
        now = time.time()
        kept, after_stop = clock.real(_KEPT), clock.real(_KEPT_AFTER_STOP)

        def is_old(use: _Use) -> bool:
            stopped = [task.stopped_at for task in use.tasks if task.is_stopped and task.stopped_at]
            all_stopped = len(stopped) == len(use.tasks) and now - max(stopped, default=now) > after_stop
            return all_stopped or now - use.at > kept

        self._uses = {key: use for key, use in self._uses.items() if not is_old(use)}


def _canonical(request: Mapping[str, Any]) -> str:
    return json.dumps({**request, "clientToken": None}, sort_keys=True)
