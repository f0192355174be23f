"""Reads the repository from ECR for the checks."""

from __future__ import annotations

from collections.abc import Sequence

from mclass_tf.aws import error_code
from mclass_tf.verify.iam import document
from mclass_tf.verify.readers.reader import AwsReader, Item, once, only


class Ecr(AwsReader):
    """The repository of the outputs."""

    @once
    def repository(self) -> Item:
        name = self.outputs.repository_name
        answer = self.aws.ecr.describe_repositories(repositoryNames=[name])
        return only(answer["repositories"], f"repository {name}")

    @once
    def lifecycle_rules(self) -> Sequence[Item]:
        answer = self.aws.ecr.get_lifecycle_policy(repositoryName=self.outputs.repository_name)
        rules: Sequence[Item] = document(answer["lifecyclePolicyText"]).get("rules", [])
        return rules

    @once
    def repository_policy(self) -> Item | None:
        try:
            answer = self.aws.ecr.get_repository_policy(repositoryName=self.outputs.repository_name)
        except Exception as error:
            if error_code(error) == "RepositoryPolicyNotFoundException":
                return None
            raise
        return document(answer["policyText"])
