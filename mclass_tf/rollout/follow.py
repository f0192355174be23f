"""Follows a rollout to its end, shows its changes, and carries out the user's choice after an interrupt."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from mclass_tf.aws import error_message
from mclass_tf.errors import LeaseLostError
from mclass_tf.rollout.client import EcsClient, Patience
from mclass_tf.rollout.view import View
from mclass_tf.rollout.watch import RolloutEnd, Watch
from mclass_tf.service import HookState, ServiceDeployment


class Choice(enum.Enum):
    """What to do with a rollout after an interrupt. DETACH: the command ends, and ECS continues the rollout."""

    KEEP = "keep going"
    ROLL_BACK = "roll back"
    DETACH = "leave"


class Interruption(Protocol):
    """`wait` returns True as soon as the user interrupts, else False after the seconds.

    `is_final`: this process must end, and nobody can be asked.
    """

    @property
    def is_final(self) -> bool: ...

    def wait(self, seconds: float, /) -> bool: ...
    def clear(self) -> None: ...


OnPause = Callable[[str, HookState], bool | None]
"""Decides on a hook that waits at a stage: continue (True), roll back (False), or leave it unanswered (None)."""


def _leave_unanswered(_stage: str, _hook: HookState) -> None:
    return None


def follow(
    watch: Watch,
    client: EcsClient,
    *,
    show: Callable[[View], None],
    interruption: Interruption,
    on_interrupt: Callable[[], Choice],
    patience: Patience,
    reset_to: int | None = None,
    on_pause: OnPause = _leave_unanswered,
    on_look: Callable[[ServiceDeployment], bool] = lambda _: False,
) -> RolloutEnd | None:
    """Return the end of the rollout; None if the user detaches.

    `reset_to` is the desired count to set when ECS rolls back: 0 for a first release, since the placeholder cannot start.
    `on_pause` is called once for each waiting hook. `on_look` gets the service deployment at every look; while it returns True,
    ECS is asked to roll back until it accepts.
    """
    handled: set[str] = set()
    refusal: str | None = None
    while True:
        view = watch.look()
        if view is not None:
            show(view)
        if reset_to is not None and watch.is_rolling_back:
            count, reset_to = reset_to, None
            _set_desired_count(client, count, patience=patience)
        must_roll_back = watch.deployment is not None and on_look(watch.deployment)
        if watch.end is not None:
            return watch.end
        if must_roll_back and refusal != "" and not watch.is_rolling_back:
            refusal = _roll_back(client, watch, patience=patience, reported=refusal)
        _answer_pauses(client, watch, handled, on_pause, patience=patience)
        if not interruption.wait(watch.pause):
            continue
        choice = Choice.DETACH if interruption.is_final else on_interrupt()
        interruption.clear()
        if choice is Choice.DETACH:
            return None
        if choice is Choice.ROLL_BACK:
            _roll_back(client, watch, patience=patience)


def _set_desired_count(client: EcsClient, count: int, *, patience: Patience) -> None:
    patience(lambda: client.update(task_definition=None, desired=count))


def _answer_pauses(
    client: EcsClient,
    watch: Watch,
    handled: set[str],
    on_pause: OnPause,
    *,
    patience: Patience,
) -> None:
    for hook in watch.pauses:
        if hook.id in handled or not watch.stage:
            continue  # who answers it depends on the stage
        handled.add(hook.id)
        goes_on = on_pause(watch.stage, hook)
        if goes_on is not None:
            _answer(client, watch, hook.id, goes_on=goes_on, patience=patience)


def _answer(client: EcsClient, watch: Watch, hook: str, *, goes_on: bool, patience: Patience) -> None:
    """Answer a pause; if ECS no longer accepts an answer, report that and keep watching."""
    try:
        patience(lambda: client.answer_pause(watch.service_deployment_arn, hook, goes_on=goes_on))
    except LeaseLostError:
        raise
    except Exception as error:  # noqa: BLE001  (it timed out, or somebody else answered it)
        patience.report(f"ECS does not take the answer: {error_message(error)}")


def _roll_back(client: EcsClient, watch: Watch, *, patience: Patience, reported: str | None = None) -> str:
    """Ask ECS to roll back; return "" or the reason of its refusal, reported unless it equals `reported`."""
    try:
        patience(lambda: client.roll_back(watch.service_deployment_arn))
    except LeaseLostError:
        raise
    except Exception as error:  # noqa: BLE001  (a refusal must not end the watch: the deployment continues)
        refusal = error_message(error) or type(error).__name__
        if refusal != reported:
            patience.report(f"ECS does not roll it back: {refusal}")
        return refusal
    return ""
