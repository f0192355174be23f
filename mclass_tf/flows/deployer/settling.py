"""How long ECS may take until a task that it starts serves, and checks that wait for as long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mclass_tf import verify
from mclass_tf.flows.deployer.analysis import pace_of
from mclass_tf.flows.environments import applied_state, fetcher
from mclass_tf.service import Ecs, Service
from mclass_tf.session import Session

# A Fargate task needs a network interface and its image before the grace period begins.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
_START_SECONDS: Final = 60.0
_COUNTED: Final = "reachability"
_PAUSE, _LOCAL_PAUSE = 3.0, 0.5


def settling_seconds(session: Session, outputs: verify.Outputs, service: Service) -> float:
    """Return the seconds in which a new task becomes a healthy target: its start, the grace period, and the health checks.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    arns = sorted(set(outputs.target_group_arns.values()))
    groups = session.aws.elbv2.describe_target_groups(TargetGroupArns=arns)["TargetGroups"]
    checks = (
        float(group.get("HealthCheckIntervalSeconds", 30) * group.get("HealthyThresholdCount", 5))
        for group in groups
    )
    seconds = _START_SECONDS + service.grace_period + max(checks, default=0.0)
    return seconds / pace_of(session.cloud).speed


def verify_environment(
    session: Session,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> verify.VerifyReport:
    """Run the integration tests against the applied outputs. Repeat those that count while tasks or targets are on their way.

    A scale-out, the rebalancing of zones or the loss of a Spot task would otherwise fail them at any moment.
    """
    state = applied_state(session)
    fetch, outputs = fetcher(session), verify.Outputs.parse(state.outputs)
    report = verify.run(state.outputs, session.aws, fetch=fetch)
    if not _differs_only_in_counts(report):
        return report
    ecs = Ecs(
        session.aws,
        cluster=outputs.cluster_name,
        name=outputs.service_name,
        environment=session.environment.name,
    )
    service = ecs.service()
    deadline = clock() + settling_seconds(session, outputs, service)
    session.report("waiting for the tasks and targets that are on their way")
    while _differs_only_in_counts(report) and clock() < deadline:
        is_last = not _is_settling(ecs)
        wait(_LOCAL_PAUSE if session.cloud.is_local else _PAUSE)
        again = verify.run(state.outputs, session.aws, fetch=fetch, only={_COUNTED})
        report = report.replaced(again)
        if is_last:
            break
    return report


def _differs_only_in_counts(report: verify.VerifyReport) -> bool:
    groups = {each.group for each in report.results if each.status is verify.CheckStatus.FAILED}
    return groups == {_COUNTED}


def _is_settling(ecs: Ecs) -> bool:
    """Return whether ECS starts tasks that do not fail, or the load balancer has not judged a target yet."""
    service = ecs.service()
    states = ecs.target_states(service.target_group_arns).values()
    is_counting = service.pending > 0 or service.running != service.desired or "initial" in states
    return is_counting and not any(each.failed for each in service.deployments)
