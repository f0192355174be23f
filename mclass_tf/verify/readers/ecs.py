"""Reads ECS for the checks."""

from __future__ import annotations

from collections.abc import Sequence

from mclass_tf.verify.readers.reader import AwsReader, Item, once, only


class Ecs(AwsReader):
    """The cluster and the service of the outputs, and the task definition revisions."""

    @once
    def cluster(self) -> Item:
        name = self.outputs.cluster_name
        answer = self.aws.ecs.describe_clusters(clusters=[name], include=["SETTINGS"])
        return only(answer["clusters"], f"cluster {name}")

    @once
    def service(self) -> Item:
        cluster, name = self.outputs.cluster_name, self.outputs.service_name
        answer = self.aws.ecs.describe_services(cluster=cluster, services=[name])
        return only(answer["services"], f"service {name} in {cluster}")

    @once
    def applied_task_definition(self) -> Item:
        """Return the latest task definition revision of Terraform. A service may still run an earlier one."""
        arn = self.outputs.task_definition_arn
        return self.aws.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]

    @once
    def task_definitions(self) -> Sequence[Item]:
        """Return the applied task definition revision and, if it differs, that of the service."""
        applied, running = self.applied_task_definition, self.service["taskDefinition"]
        if running in (applied["taskDefinitionArn"], self.outputs.task_definition_arn):
            return (applied,)
        return (applied, self.aws.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"])
