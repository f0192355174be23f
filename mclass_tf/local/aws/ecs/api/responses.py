"""The API calls of ECS in JSON.

moto parses requests and serializes responses with the model of the installed botocore, which drops parameters and attributes that
it does not know. Here requests are read raw, and responses are written in full.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.model import OperationNotFoundError
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

from mclass_tf.local.aws.ecs.api import deployment_calls, parameters, run_task, task_calls
from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.checks import FARGATE_PROVIDERS
from mclass_tf.local.aws.ecs.model.service import Service


class EcsResponses(EC2ContainerServiceResponse):  # type: ignore[misc]  # moto is not typed for us
    def parse_parameters(self, request: Any) -> None:
        """Accept calls that the installed botocore does not know. Their parameters are read from the body."""
        try:
            super().parse_parameters(request)
        except OperationNotFoundError:
            self.params: dict[str, Any] = {}

    @property
    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(self.body or "{}")
        return request

    @property
    def _backend(self) -> EcsBackend:
        backend: EcsBackend = self.ecs_backend
        return backend

    def create_cluster(self) -> Any:
        return ActionResult({"cluster": self._backend.create_cluster_from(self._request)})

    def update_cluster(self) -> Any:
        return ActionResult({"cluster": self._backend.update_cluster_from(self._request)})

    def put_cluster_capacity_providers(self) -> Any:
        return ActionResult({"cluster": self._backend.put_cluster_providers(self._request)})

    def describe_capacity_providers(self) -> str:
        """Describe the Fargate providers, which AWS predefines. moto knows only created ones."""
        asked = [name.split("/")[-1] for name in self._request.get("capacityProviders") or FARGATE_PROVIDERS]
        prefix = f"arn:aws:ecs:{self.region}:{self.current_account}:capacity-provider"
        providers: list[dict[str, Any]] = [
            {"capacityProviderArn": f"{prefix}/{name}", "name": name, "status": "ACTIVE", "tags": []}
            for name in asked
            if name in FARGATE_PROVIDERS
        ]
        failures = [
            {"arn": f"{prefix}/{name}", "reason": "MISSING"}
            for name in asked
            if name not in FARGATE_PROVIDERS
        ]
        return self._json({"capacityProviders": providers, "failures": failures})

    def register_task_definition(self) -> Any:
        registered = self._backend.register_task_definition_from(self._request)
        return ActionResult({"taskDefinition": registered, "tags": registered.tags})

    def create_service(self) -> str:
        return self._json(
            {"service": self._refreshed(self._backend.create_service_from(self._request)).document(tags=True)}
        )

    def update_service(self) -> str:
        return self._json(
            {"service": self._refreshed(self._backend.update_service_from(self._request)).document(tags=True)}
        )

    def delete_service(self) -> str:
        return self._json(
            {"service": self._refreshed(self._backend.delete_service_from(self._request)).document()}
        )

    def describe_services(self) -> str:
        request = self._request
        services, failures = self._backend.describe_services(
            request.get("cluster") or "default", request.get("services") or []
        )
        tags = "TAGS" in (request.get("include") or [])
        return self._json(
            {
                "services": [self._refreshed(entry).document(tags=tags) for entry in services],
                "failures": failures,
            }
        )

    def tag_resource(self) -> Any:
        """Reject invalid tags; moto accepts tags without a key."""
        parameters.check_tags(self._request.get("tags") or [])
        return super().tag_resource()

    def run_task(self) -> str:
        return self._json(run_task.run_task(self._backend, self._request))

    def list_tasks(self) -> str:
        return self._json(task_calls.list_tasks(self._backend, self._request))

    def describe_tasks(self) -> str:
        return self._json(task_calls.describe_tasks(self._backend, self._request))

    def stop_task(self) -> str:
        return self._json(task_calls.stop_task(self._backend, self._request))

    def list_service_deployments(self) -> str:
        return self._json(deployment_calls.list_service_deployments(self._backend, self._request))

    def describe_service_deployments(self) -> str:
        return self._json(deployment_calls.describe_service_deployments(self._backend, self._request))

    def describe_service_revisions(self) -> str:
        return self._json(deployment_calls.describe_service_revisions(self._backend, self._request))

    def stop_service_deployment(self) -> str:
        return self._json(deployment_calls.stop_service_deployment(self._backend, self._request))

    def continue_service_deployment(self) -> str:
        return self._json(deployment_calls.continue_service_deployment(self._backend, self._request))

    def list_task_definitions(self) -> str:
        """List the ARNs by family and revision, honouring `sort`, which moto ignores."""
        request = self._request
        family, status = request.get("familyPrefix"), request.get("status") or "ACTIVE"
        definitions = [
            entry
            for revisions in self._backend.task_definitions.values()
            for entry in revisions.values()
            if family in (None, entry.family) and entry.status == status
        ]
        latest_first = request.get("sort") == "DESC"
        ordered = sorted(definitions, key=lambda entry: (entry.family, entry.revision), reverse=latest_first)
        return self._json({"taskDefinitionArns": [entry.arn for entry in ordered]})

    def _refreshed(self, service: Service) -> Service:
        return self._backend.refresh_counts(service)

    def _json(self, document: dict[str, Any]) -> str:
        self.response_headers["Content-Type"] = "application/x-amz-json-1.1"
        return json.dumps(document)
