"""The lists of ECS, page by page. moto returns everything at once, whatever `maxResults` says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from moto.ecs.responses import EC2ContainerServiceResponse

from mclass_tf.local.aws.ecs.api import task_calls
from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.pages import page

_PAGE = 100
_SERVICES_PER_PAGE = 10


class EcsLists(EC2ContainerServiceResponse):  # type: ignore[misc]  # moto is not typed for us
    @property
    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(self.body or "{}")
        return request

    @property
    def _backend(self) -> EcsBackend:
        backend: EcsBackend = self.ecs_backend
        return backend

    def list_clusters(self) -> str:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListClusters.html"""
        return self._listed("clusterArns", self._backend.list_clusters())

    def list_services(self) -> str:
        """Return 10 services where the request names no number.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServices.html
        """
        request = self._request
        arns = self._backend.list_services(
            request.get("cluster") or "default", request.get("schedulingStrategy"), request.get("launchType")
        )
        return self._listed("serviceArns", arns, size=_SERVICES_PER_PAGE)

    def list_task_definition_families(self) -> str:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitionFamilies.html"""
        families = self._backend.list_task_definition_families(self._request.get("familyPrefix"))
        return self._listed("families", sorted(families))

    def list_task_definitions(self) -> str:
        """List the ARNs by family and revision, honouring `sort`, which moto ignores.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
        """
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
        return self._listed("taskDefinitionArns", [entry.arn for entry in ordered])

    def list_tasks(self) -> str:
        return self._json(task_calls.list_tasks(self._backend, self._request))

    def _listed(self, name: str, items: Sequence[str], *, size: int = _PAGE) -> str:
        listed, more = page(items, self._request, size=size)
        return self._json({name: listed, **more})

    def _json(self, document: dict[str, Any]) -> str:
        self.response_headers["Content-Type"] = "application/x-amz-json-1.1"
        return json.dumps(document)
