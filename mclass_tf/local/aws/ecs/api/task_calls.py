"""The API calls for tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.pages import page
from mclass_tf.local.aws.ecs.api.task_document import document
from mclass_tf.local.aws.ecs.model.errors import invalid
from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.model.task import Task

_MOST_DESCRIBED = 100


def list_tasks(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html"""
    cluster = backend.active_cluster(request.get("cluster"))
    tasks: Iterable[Task] = backend.tasks_of(cluster)
    if request.get("containerInstance"):
        raise invalid("The local AWS has no container instances: tasks run on Fargate.")
    if request.get("serviceName"):
        service = backend.active_service(cluster=cluster, reference=request["serviceName"])
        tasks = [task for task in tasks if task.launch.service_name == service.name]
    if request.get("family"):
        tasks = [task for task in tasks if task.launch.definition.family == request["family"]]
    if request.get("startedBy"):
        tasks = [task for task in tasks if task.launch.started_by == request["startedBy"]]
    if request.get("launchType") not in (None, "FARGATE"):
        tasks = []
    desired_status = request.get("desiredStatus") or "RUNNING"
    if desired_status not in {"RUNNING", "PENDING", "STOPPED"}:
        raise invalid("desiredStatus should be one of [RUNNING,PENDING,STOPPED].")
    arns, more = page([task.arn for task in tasks if task.desired_status == desired_status], request)
    return {"taskArns": arns, **more}


def describe_tasks(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html"""
    cluster = backend.active_cluster(request.get("cluster"))
    asked = request.get("tasks") or []
    if not asked:
        raise invalid("Tasks cannot be empty.")
    if len(asked) > _MOST_DESCRIBED:
        raise invalid(f"Tasks cannot be more than {_MOST_DESCRIBED}.")
    known = {task.id: task for task in backend.tasks_of(cluster)}
    tags = "TAGS" in (request.get("include") or [])
    prefix = f"arn:aws:ecs:{backend.region_name}:{backend.account_id}:task/{cluster.name}"
    ids = [_id(reference) for reference in asked]
    return {
        "tasks": [document(known[task_id], tags=tags) for task_id in ids if task_id in known],
        "failures": [
            {"arn": f"{prefix}/{task_id}", "reason": "MISSING"} for task_id in ids if task_id not in known
        ],
    }


def stop_task(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html"""
    cluster = backend.active_cluster(request.get("cluster"))
    task_id = _id(str(request.get("task")))
    task = next((task for task in backend.tasks_of(cluster) if task.id == task_id), None)
    if task is None or runner_holder.runner is None:
        raise invalid("The referenced task was not found.")
    reason = request.get("reason") or "Task stopped by user"
    runner_holder.runner.stop(task, code="UserInitiated", reason=reason, drain=False)
    return {"task": document(task, tags=False)}


def _id(reference: str) -> str:
    return reference.rsplit("/", maxsplit=1)[-1]
