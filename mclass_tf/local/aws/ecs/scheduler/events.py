"""The messages of service events, worded as ECS words them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-unhealthy-event-messages.html
"""

from __future__ import annotations

from collections.abc import Sequence


def started(task_ids: Sequence[str], *, replacing: int) -> str:
    named = " ".join(f"(task {task_id})" for task_id in task_ids)
    text = f"has started {len(task_ids)} tasks: {named}."
    if replacing:
        text += f" Amazon ECS replaced {replacing} tasks due to an unhealthy status."
    return text


def stopped(task_ids: Sequence[str]) -> str:
    named = " ".join(f"(task {task_id})" for task_id in task_ids)
    return f"has stopped {len(task_ids)} running tasks: {named}."


def stopped_pending(count: int) -> str:
    return f"stopped {count} pending tasks."


def registered(count: int, *, target_group_arn: str) -> str:
    return f"registered {count} targets in (target-group {target_group_arn})"


def deregistered(count: int, *, target_group_arn: str) -> str:
    return f"deregistered {count} targets in (target-group {target_group_arn})"


def draining(count: int) -> str:
    return f"has begun draining connections on {count} tasks."


def failed_target(task_id: str, *, port: int, target_group_arn: str, reason: str) -> str:
    return (
        f"(task {task_id}) (port {port}) is unhealthy in (target-group {target_group_arn}) "
        f"due to (reason {reason})."
    )


def failed_container(task_id: str) -> str:
    return f"(task {task_id}) failed container health checks."


def deployment_completed(deployment_id: str) -> str:
    return f"(deployment {deployment_id}) deployment completed."


def deployment_failed(deployment_id: str, *, reason: str) -> str:
    return f"(deployment {deployment_id}) deployment failed: {reason}."


def rolling_back(deployment_id: str) -> str:
    return f"rolling back to deployment {deployment_id}."


STEADY = "has reached a steady state."
IMPAIRED = (
    "is unable to consistently start tasks successfully. "
    "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
)
STUCK = (
    "was unable to stop or start tasks during a deployment because of the service deployment configuration. "
    "Update the minimumHealthyPercent or maximumPercent value and try again."
)
