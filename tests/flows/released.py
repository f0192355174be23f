"""An environment that really runs on a local AWS: builds and pushes versions, and sets up the service as a test needs it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3

from mclass_tf.aws import Access, Aws
from tests.commands import CommandLine, CommandResult
from tests.local.ecs_cluster import list_all
from tests.snapshots import build

CLUSTER, SERVICE = "mclass-cluster", "mclass-service"
PATIENCE = 120.0
_BUCKET = "mclass-tfstate-111111111111"
ONGOING = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")


@dataclass
class Dev:
    """dev, applied on its own local AWS. `digests` are those of the pushed versions."""

    commands: CommandLine
    digests: dict[str, str] = field(default_factory=dict)
    _revisions: dict[str, str] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)
    _read: dict[str, Any] = field(default_factory=dict)

    def version(self, name: str, **variables: str) -> str:
        """Build and push the service as version `name`, with further environment variables; return its digest."""
        if name not in self.digests:
            self.digests[name] = build(self.commands, name, **variables)
        return self.digests[name]

    def release(self, digest: str) -> CommandResult:
        return self.commands.run("release", "dev", "--local", "--yes", "--json", "--image", digest)

    def rollback(self, *arguments: str) -> CommandResult:
        return self.commands.run("rollback", "dev", "--local", "--json", *arguments)

    def status(self) -> Any:
        return self.commands.ok("status", "dev", "--local", "--json").document

    def released(self, digest: str) -> str:
        """Release an image, which must succeed; return the ARN of its task definition."""
        self.rest()
        done = self.release(digest)
        assert done.status == 0, done.stderr
        self._revisions[digest] = str(done.document["task_definition"])
        return self._revisions[digest]

    def history(self) -> list[Any]:
        """Return the attempts, latest first."""
        found: list[Any] = self.commands.ok("history", "dev", "--local", "--json").document["attempts"]
        return found

    def serves(self, digest: str) -> None:
        """Release an image unless it was released last."""
        latest = self.history()[0]
        if (latest["digest"], latest["outcome"]) != (digest, "released"):
            self.released(digest)

    def runs(self, digest: str) -> str:
        """Roll back to an image released before, or release it; return the ARN of its task definition."""
        if digest not in self._revisions and self.status()["digest"] == digest:
            self._revisions[digest] = str(self.service()["taskDefinition"])
        if digest not in self._revisions:
            return self.released(digest)
        self.rest()
        if self.service()["taskDefinition"] != self._revisions[digest]:
            self.point_at(self._revisions[digest], desired=max(self.service()["desiredCount"], 1))
            self.rest()
        return self._revisions[digest]

    def rest(self) -> None:
        """Wait until no deployment of the service is under way."""
        deadline = time.monotonic() + PATIENCE
        while any(each["status"] in ONGOING for each in self.deployments()):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def deployments(self) -> list[Any]:
        """Return the service deployments, latest first."""
        return list_all(self.client("ecs"), cluster=CLUSTER, service=SERVICE)[::-1]

    def service(self) -> Any:
        found = self.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])
        return found["services"][0]

    def point_at(self, task_definition: str, *, desired: int | None = None) -> None:
        """Update the service as somebody else would."""
        count = {} if desired is None else {"desiredCount": desired}
        self.client("ecs").update_service(
            cluster=CLUSTER, service=SERVICE, taskDefinition=task_definition, **count
        )

    def empty(self) -> None:
        """Return the service to its state before the first release: 0 tasks of the placeholder."""
        self.rest()
        self.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{CLUSTER}/{SERVICE}",
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=0,
        )
        self.point_at("mclass-task:1", desired=0)
        self.rest()

    @cached_property
    def address(self) -> str:
        """The actual address of the load balancer."""
        return str(self.status()["address"])

    def answers(self, path: str = "/version") -> Any:
        """Return the answer of the load balancer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.address}{path}", timeout=30) as answer:
            return json.load(answer)

    def records(self) -> list[tuple[Any, Any]]:
        """Return the ledger's attempts, oldest first: each one's beginning, and its end or None."""
        bodies = {key: self.read(key) for key in self.objects()}
        folders = sorted({key.rpartition("/")[0] for key in bodies})
        return [(bodies[f"{folder}/started.json"], bodies.get(f"{folder}/ended.json")) for folder in folders]

    def objects(self) -> list[str]:
        """Return the keys of all attempts in the ledger."""
        pages = self.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=_BUCKET, Prefix="mclass/releases/dev/").build_full_result()
        return [each["Key"] for each in found.get("Contents", []) if "/by-image/" not in each["Key"]]

    def read(self, key: str) -> Any:
        """Return an object of the ledger; objects never change."""
        if key not in self._read:
            self._read[key] = json.loads(self.client("s3").get_object(Bucket=_BUCKET, Key=key)["Body"].read())
        return self._read[key]

    def ecs(self, action: str, **request: Any) -> Any:
        """Call an ECS action that the installed SDK lacks, or whose answer it would truncate."""
        return self.aws.call_ecs(action, request)

    @cached_property
    def env(self) -> Mapping[str, str]:
        """The settings of an AWS client for dev."""
        return self.commands.shell_environment("dev")

    @cached_property
    def aws(self) -> Aws:
        """Dev's account."""
        return Aws(
            Access(
                region=self.env["AWS_REGION"],
                endpoint_url=self.env["AWS_ENDPOINT_URL"],
                access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
                session_token=self.env["AWS_SESSION_TOKEN"],
            )
        )

    def client(self, service: str) -> Any:
        if service not in self._clients:
            make: Any = boto3.client
            self._clients[service] = make(
                service,
                endpoint_url=self.env["AWS_ENDPOINT_URL"],
                region_name=self.env["AWS_REGION"],
                aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=self.env["AWS_SESSION_TOKEN"],
                verify=False,
            )
        return self._clients[service]
