"""The API calls for service deployments and service revisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.pages import page
from mclass_tf.local.aws.ecs.model import errors
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.service_deployment import STATUSES, ServiceDeployment
from mclass_tf.local.aws.ecs.scheduler.reconcile import reconcile
from mclass_tf.local.live import live

_MOST_DESCRIBED = 20


def list_service_deployments(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """List the deployments of a service, latest last: AWS documents no order, and clients often expect the other one.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
    """
    cluster = backend.active_cluster(request.get("cluster") or _cluster_of_arn(str(request.get("service"))))
    service = backend.active_service(cluster=cluster, reference=str(request.get("service")))
    statuses = request.get("status") or STATUSES
    for status in statuses:
        if status not in STATUSES:
            raise errors.invalid(f"status should be one of [{','.join(STATUSES)}], not {status}.")
    created = request.get("createdAt") or {}
    earliest, latest = float(created.get("after") or 0), float(created.get("before") or "inf")
    briefs = [
        record.brief()
        for record in reversed(service.records)
        if record.status in statuses and earliest <= record.created_at <= latest
    ]
    chosen, more = page(briefs, request)
    return {"serviceDeployments": chosen, **more}


def describe_service_deployments(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html"""
    for service in _services(backend):
        backend.refresh_counts(service)
    known = {record.arn: record for service in _services(backend) for record in service.records}
    return _describe(request, key="serviceDeploymentArns", name="serviceDeployments", known=known)


def describe_service_revisions(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceRevisions.html"""
    known = {arn: revision for service in _services(backend) for arn, revision in service.revisions.items()}
    return _describe(request, key="serviceRevisionArns", name="serviceRevisions", known=known)


def stop_service_deployment(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """Roll back the current deployment; "the valid values are ROLLBACK".

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html
    """
    service, record = _find(backend, request)
    stop_type = request.get("stopType") or "ROLLBACK"
    if stop_type != "ROLLBACK":
        raise errors.invalid(f"Invalid stop type {stop_type}. The valid values are ROLLBACK.")
    if record.has_ended or record is not service.primary.record:
        raise errors.conflict(f"The service deployment cannot be stopped: it is {record.status}.")
    if record.status in {"PENDING", "IN_PROGRESS"}:
        record.set_status("ROLLBACK_REQUESTED")
        reconcile(service)
        live.changed("ecs")
    return {"serviceDeploymentArn": record.arn}


def continue_service_deployment(backend: EcsBackend, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a PAUSE hook with CONTINUE (the default) or ROLLBACK.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContinueServiceDeployment.html
    """
    service, record = _find(backend, request)
    action = request.get("action") or "CONTINUE"
    if action not in {"CONTINUE", "ROLLBACK"}:
        raise errors.invalid(f"Invalid action {action}. The valid values are CONTINUE and ROLLBACK.")
    hook = record.progress.find_hook(str(request.get("hookId")))
    if hook is None:
        raise errors.invalid(f"The service deployment is not paused at the hook {request.get('hookId')}.")
    if not hook.is_awaiting or record.status != "IN_PROGRESS":
        raise errors.conflict(
            f"The hook {hook.id} does not await an action: it is {hook.status}, the service deployment {record.status}."
        )
    hook.answer(action)
    reconcile(service)
    live.changed("ecs")
    return {"serviceDeploymentArn": record.arn}


def _describe(request: Mapping[str, Any], *, key: str, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    arns = request.get(key) or []
    if not arns or len(arns) > _MOST_DESCRIBED:
        raise errors.invalid(f"{key} must hold from 1 to {_MOST_DESCRIBED} ARNs.")
    return {
        name: [known[arn].document() for arn in arns if arn in known],
        "failures": [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known],
    }


def _find(backend: EcsBackend, request: Mapping[str, Any]) -> tuple[Service, ServiceDeployment]:
    arn = request.get("serviceDeploymentArn")
    for service in _services(backend):
        for record in service.records:
            if record.arn == arn:
                return service, record
    raise errors.unknown_service_deployment()


def _services(backend: EcsBackend) -> Iterator[Service]:
    """ECS deletes service deployments with their service: developerguide/service-deployment.html."""
    for service in backend.services.values():
        if service.status != "INACTIVE":
            yield service


def _cluster_of_arn(reference: str) -> str | None:
    parts = reference.partition(":service/")[2].split("/")
    return parts[0] if len(parts) > 1 else None
