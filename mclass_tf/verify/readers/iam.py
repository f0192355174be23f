"""Reads IAM for the checks."""

from __future__ import annotations

from mclass_tf.verify.iam import Policies
from mclass_tf.verify.readers.reader import AwsReader, Item, items


class Iam(AwsReader):
    """The roles that the outputs name, by ARN."""

    def role(self, arn: str) -> Item:
        return self.answers.once(
            f"role {arn}", lambda: self.aws.iam.get_role(RoleName=_role_name(arn))["Role"]
        )

    def role_policies(self, arn: str) -> Policies:
        """Return the policies of a role. A missing role is an error, not a role without permissions."""
        self.role(arn)
        return self.answers.once(f"policies of {arn}", lambda: self._role_policies(_role_name(arn)))

    def _role_policies(self, name: str) -> Policies:
        iam = self.aws.iam
        attached = items(
            iam.get_paginator("list_attached_role_policies").paginate(RoleName=name), "AttachedPolicies"
        )
        inline = items(iam.get_paginator("list_role_policies").paginate(RoleName=name), "PolicyNames")
        documents = [iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in inline]
        for policy in attached:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            answer = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            documents.append(answer["PolicyVersion"]["Document"])
        return Policies.parse(documents, attached=[policy["PolicyName"] for policy in attached])


def _role_name(arn: str) -> str:
    """Return the name of a role, which follows its path: arn:aws:iam::111111111111:role/path/name."""
    return arn.rsplit("/", 1)[-1]
