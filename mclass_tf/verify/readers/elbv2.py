"""Reads Elastic Load Balancing for the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mclass_tf.verify.readers.reader import AwsReader, Item, items, named, once, only


class Elbv2(AwsReader):
    """The load balancer of the outputs, with its listeners, rules and target groups."""

    @once
    def load_balancer(self) -> Item:
        answer = self.aws.elbv2.describe_load_balancers(LoadBalancerArns=[self.outputs.alb_arn])
        return only(answer["LoadBalancers"], f"load balancer {self.outputs.alb_arn}")

    @once
    def load_balancer_attributes(self) -> Mapping[str, str]:
        answer = self.aws.elbv2.describe_load_balancer_attributes(LoadBalancerArn=self.outputs.alb_arn)
        return {item["Key"]: item["Value"] for item in answer["Attributes"]}

    @once
    def listeners(self) -> Mapping[str, Item]:
        arn = self.outputs.alb_arn
        listeners = items(
            self.aws.elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=arn), "Listeners"
        )
        return {listener["ListenerArn"]: listener for listener in listeners}

    def listener(self, arn: str) -> Item:
        return named(self.listeners, arn, f"listener {arn} on {self.outputs.alb_arn}")

    def rules(self, of: str) -> Sequence[Item]:
        """Return the rules of the listener `of`."""
        elbv2 = self.aws.elbv2
        return self.answers.once(
            f"rules of {of}",
            lambda: items(elbv2.get_paginator("describe_rules").paginate(ListenerArn=of), "Rules"),
        )

    def rule(self, arn: str, *, of: str) -> Item:
        """Return the rule `arn` of the listener `of`."""
        by_arn = {rule["RuleArn"]: rule for rule in self.rules(of)}
        return named(by_arn, arn, f"rule {arn} of the listener {of}")

    @once
    def target_groups(self) -> Mapping[str, Item]:
        """Return the target groups that the outputs name, by colour."""
        arns = self.outputs.target_group_arns
        pages = self.aws.elbv2.get_paginator("describe_target_groups")
        groups = items(pages.paginate(TargetGroupArns=sorted(arns.values())), "TargetGroups")
        by_arn: dict[str, Item] = {group["TargetGroupArn"]: group for group in groups}
        return {colour: named(by_arn, arn, f"target group {arn}") for colour, arn in arns.items()}

    @once
    def target_group_attributes(self) -> Mapping[str, Mapping[str, str]]:
        return {
            colour: {
                item["Key"]: item["Value"]
                for item in self.aws.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
            }
            for colour, arn in self.outputs.target_group_arns.items()
        }

    @once
    def target_states(self) -> Mapping[str, Sequence[str]]:
        """Return the health of every registered target, by the ARN of its target group."""
        return {
            arn: [
                target["TargetHealth"]["State"]
                for target in self.aws.elbv2.describe_target_health(TargetGroupArn=arn)[
                    "TargetHealthDescriptions"
                ]
            ]
            for arn in self.outputs.target_group_arns.values()
        }
