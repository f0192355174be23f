"""The commands that answer a rollout under way: continue, abort."""

from __future__ import annotations

from functools import partial

from mclass_tf import flows
from mclass_tf.cli.call import Call, open_environment
from mclass_tf.cli.live import RolloutDisplay
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.cli.release_commands import (
    ask_what_now,
    not_rolled_out,
    report_above_progress,
    rolled_out,
    rollout_display,
    served,
)
from mclass_tf.errors import RolloutError
from mclass_tf.flows import Continued, Released
from mclass_tf.session import Session


def continue_rollout(call: Call) -> CommandOutcome:
    session = open_environment(call, call.arguments.environment)
    live = rollout_display()
    try:
        done = flows.continue_rollout(
            report_above_progress(session, live),
            skips_smoke=call.arguments.skip_smoke,
            show=live.show,
            on_interrupt=partial(ask_what_now, live),
        )
    except RolloutError as error:
        return not_rolled_out(session, error)
    return continued(done) if done.released is None else served(session, done.released)


def continued(done: Continued) -> CommandOutcome:
    """Return the outcome of `continue` for a rollout that another command watches."""
    stage = done.stage.lower().replace("_", " ")
    return CommandOutcome(
        text=f"{done.environment} continues after {stage}; the command that started the release shows the rest",
        document={
            "environment": done.environment,
            "digest": done.digest,
            "outcome": "continued",
            "stage": done.stage,
            "task_definition": done.task_definition_arn,
            "service_deployment": done.service_deployment_arn,
        },
    )


def abort(call: Call) -> CommandOutcome:
    def work(session: Session, live: RolloutDisplay) -> Released:
        return flows.abort(session, show=live.show, on_interrupt=partial(ask_what_now, live))

    return rolled_out(open_environment(call, call.arguments.environment), work)
