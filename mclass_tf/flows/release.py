"""The verb that brings an image to the users: plan, gates, apply, roll out, watch, verify, record."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass

from mclass_tf import verify
from mclass_tf.errors import ServiceEvent
from mclass_tf.flows.environments import Confirm
from mclass_tf.rollout import View
from mclass_tf.session import Session

Show = Callable[[View], None]
"""Takes every change of a rollout."""


class Choice(enum.Enum):
    """What is to become of a rollout whose command was interrupted. LEAVE: ECS goes on by itself, and the command ends."""

    KEEP = "keep going"
    ROLL_BACK = "roll back"
    LEAVE = "leave"


OnInterrupt = Callable[[], Choice]
"""Asks what an interrupt means; called once for each."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a release came to. `outcome` is "released" or "unchanged"; `record` is where the ledger has it (s3://…)."""

    environment: str
    digest: str
    outcome: str
    task_definition_arn: str
    service_deployment_arn: str | None
    started_at: dt.datetime
    ended_at: dt.datetime
    events: tuple[ServiceEvent, ...]
    verification: verify.VerifyReport
    record: str
    cause: str = ""


def leave(*_: object) -> Choice:
    return Choice.LEAVE


def release(
    session: Session,
    *,
    digest: str | None,
    confirm: Confirm,
    show: Show,
    on_interrupt: OnInterrupt = leave,
    stall_after: float | None = None,
) -> Released:
    """Release an image, by default the one that was built last, and return when it serves.

    `stall_after` is how many seconds nothing may move; None takes the environment's. Raises RolloutError and its kin
    (exit 6), VerificationError (7), NoImageError (3) where the repository does not have the image.
    """
    raise NotImplementedError
