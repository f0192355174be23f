"""The errors of ECS: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html ."""

from __future__ import annotations

from collections.abc import Sequence

from moto.ecs.exceptions import ECSException


def invalid(message: str) -> Exception:
    return _error("InvalidParameterException", message)


def client(message: str) -> Exception:
    return _error("ClientException", message)


def denied(message: str) -> Exception:
    return _error("AccessDeniedException", message)


def unknown_service(message: str = "Service not found.") -> Exception:
    return _error("ServiceNotFoundException", message)


def inactive_service() -> Exception:
    return _error("ServiceNotActiveException", "Service was not ACTIVE.")


def inactive_cluster() -> Exception:
    return _error("ClusterNotFoundException", "The referenced cluster was inactive.")


def cluster_has_services() -> Exception:
    return _error(
        "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
    )


def cluster_has_tasks() -> Exception:
    return _error("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")


def unknown_service_deployment() -> Exception:
    return _error("ServiceDeploymentNotFoundException", "The service deployment was not found.")


def conflict(message: str, *, resource_ids: Sequence[str] = ()) -> Exception:
    """`resource_ids` are the ARNs of the conflicting resources, if ECS names them."""
    error = _error("ConflictException", message)
    if resource_ids:
        error.resource_ids = list(resource_ids)  # type: ignore[attr-defined]  # moto answers with the attributes of the model
    return error


def platform_unknown() -> Exception:
    return _error("PlatformUnknownException", "The specified platform version does not exist.")


def in_use(message: str) -> Exception:
    return _error("ResourceInUseException", message)


def _error(code: str, message: str) -> Exception:
    error: Exception = ECSException(code, message)
    return error
