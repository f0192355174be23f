"""The fix for each Checkov rule, in words. Checkov itself publishes them only on the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Checkov's own index of its rules. The pages of single rules have no stable address.
GUIDELINES: Final = "https://www.checkov.io/5.Policy%20Index/terraform.html"

FIXES: Final[Mapping[str, str]] = {
    "CKV2_AWS_1": "associate every network ACL with subnets (subnet_ids), or delete it",
    "CKV2_AWS_5": "attach the security group to a load balancer, service or endpoint, or delete it",
    "CKV2_AWS_6": "add an aws_s3_bucket_public_access_block that sets all four arguments to true",
    "CKV2_AWS_11": "add an aws_flow_log for the VPC; the root's network.flow_log = true does it",
    "CKV2_AWS_12": "add aws_default_security_group for the VPC without ingress and egress blocks",
    "CKV2_AWS_19": "use the address in a NAT gateway or instance, or release it",
    "CKV2_AWS_20": "give the HTTP listener a redirect to HTTPS as its default action; the root does so when certificate_arn is set",
    "CKV2_AWS_28": "associate a web ACL with the load balancer (aws_wafv2_web_acl_association)",
    "CKV2_AWS_35": "route 0.0.0.0/0 of private subnets to a NAT gateway, not to an instance",
    "CKV2_AWS_40": "name the IAM actions that are needed in place of iam:*",
    "CKV2_AWS_44": "narrow the peering route to the peer's own CIDR block",
    "CKV2_AWS_56": "attach a policy with the actions that are needed in place of IAMFullAccess",
    "CKV2_AWS_61": "add an aws_s3_bucket_lifecycle_configuration",
    "CKV2_AWS_62": "add an aws_s3_bucket_notification, or waive it where nobody would listen",
    "CKV2_AWS_64": "state the key's policy: policy on aws_kms_key, or an aws_kms_key_policy",
    "CKV2_AWS_74": 'set ssl_policy on the listener to a TLS 1.3 policy, such as "ELBSecurityPolicy-TLS13-1-2-2021-06"',
    "CKV2_AWS_76": "add the managed rule group AWSManagedRulesKnownBadInputsRuleSet to the web ACL",
    "CKV_AWS_2": "make the listener HTTPS (the root does so when certificate_arn is set), or let it redirect to HTTPS",
    "CKV_AWS_7": "set enable_key_rotation = true on the key",
    "CKV_AWS_18": "add an aws_s3_bucket_logging with a bucket that collects the logs",
    "CKV_AWS_19": "add an aws_s3_bucket_server_side_encryption_configuration",
    "CKV_AWS_20": "take the public-read ACL away from the bucket",
    "CKV_AWS_21": 'add an aws_s3_bucket_versioning with status = "Enabled"',
    "CKV_AWS_23": "give the security group, and each of its rules, a description that says who may do what",
    "CKV_AWS_24": "take port 22 out of the rule, or narrow cidr_ipv4; ECS Exec reaches tasks without an open port",
    "CKV_AWS_25": "take port 3389 out of the rule, or narrow cidr_ipv4",
    "CKV_AWS_26": "set kms_master_key_id on the topic",
    "CKV_AWS_32": "name the accounts that may pull as principals of the repository policy, in place of *",
    "CKV_AWS_33": "name the account's root or roles as principals of the key policy, in place of *",
    "CKV_AWS_51": 'set image_tag_mutability = "IMMUTABLE" on the repository',
    "CKV_AWS_57": "take the public-read-write ACL away from the bucket",
    "CKV_AWS_60": "name the service or the roles that may assume the role, in place of *",
    "CKV_AWS_61": "name the service that may assume the role, in place of all services",
    "CKV_AWS_62": 'name actions and resources in the policy, in place of "*" on "*"',
    "CKV_AWS_63": 'name the actions in the policy, in place of "*"',
    "CKV_AWS_65": 'add setting { name = "containerInsights", value = "enabled" } to the cluster',
    "CKV_AWS_66": "set retention_in_days on the log group; the root's logs.retention_in_days does it",
    "CKV_AWS_70": "name principals in the bucket policy, in place of *",
    "CKV_AWS_91": "add access_logs with a bucket and enabled = true; the root does so when access_logs_bucket is set",
    "CKV_AWS_97": 'set transit_encryption = "ENABLED" on the EFS volume',
    "CKV_AWS_103": 'set ssl_policy on the HTTPS listener to one of TLS 1.2 or later, such as "ELBSecurityPolicy-TLS13-1-2-2021-06"',
    "CKV_AWS_130": "set map_public_ip_on_launch = false on the subnet",
    "CKV_AWS_131": "set drop_invalid_header_fields = true on the load balancer",
    "CKV_AWS_136": 'add encryption_configuration with encryption_type = "KMS" to the repository (chosen at creation: changing it replaces the repository)',
    "CKV_AWS_144": "add an aws_s3_bucket_replication_configuration, or waive it where one region is enough",
    "CKV_AWS_145": 'encrypt the bucket with sse_algorithm = "aws:kms"',
    "CKV_AWS_150": "set enable_deletion_protection = true; the root's alb.deletion_protection does it",
    "CKV_AWS_152": "set enable_cross_zone_load_balancing = true on the load balancer",
    "CKV_AWS_158": "set kms_key_id on the log group; the root's customer_managed_key.enabled does it",
    "CKV_AWS_163": "add image_scanning_configuration { scan_on_push = true } to the repository",
    "CKV_AWS_223": 'set logging of execute_command_configuration to "DEFAULT" or "OVERRIDE"',
    "CKV_AWS_224": "set kms_key_id in the cluster's execute_command_configuration and encrypt the log it names; the root's customer_managed_key.enabled does it",
    "CKV_AWS_227": "set is_enabled = true on the key",
    "CKV_AWS_249": "give execution_role_arn and task_role_arn two roles: ECS needs one, the service the other",
    "CKV_AWS_260": "take port 80 out of the rule, or narrow cidr_ipv4; serve HTTPS and waive only the port that redirects to it",
    "CKV_AWS_261": "add health_check with a path to the target group",
    "CKV_AWS_274": "attach a policy with the actions that are needed in place of AdministratorAccess",
    "CKV_AWS_277": "name the ports of the rule, in place of all of them",
    "CKV_AWS_286": "take away the actions by which the role could give itself more rights, such as iam:PassRole on any role",
    "CKV_AWS_287": "name the resources of actions that return credentials",
    "CKV_AWS_288": "name the resources of actions that read data",
    "CKV_AWS_289": "name the resources of actions that manage permissions, or add conditions",
    "CKV_AWS_290": "name the resources of actions that write, or add conditions",
    "CKV_AWS_319": "set actions_enabled = true on the alarm",
    "CKV_AWS_328": 'set desync_mitigation_mode = "defensive" on the load balancer',
    "CKV_AWS_332": 'set platform_version = "LATEST" on the service',
    "CKV_AWS_333": "set assign_public_ip = false and give the tasks a NAT gateway or VPC endpoints",
    "CKV_AWS_334": "take privileged = true away from the container",
    "CKV_AWS_335": 'take pid_mode = "host" away from the task definition',
    "CKV_AWS_336": "set readonlyRootFilesystem = true on every container, and mount a volume where it must write",
    "CKV_AWS_338": "set retention_in_days to 365 or more; the root's logs.retention_in_days does it",
    "CKV_AWS_355": 'name the resources in the policy, in place of "*"',
    "CKV_AWS_378": 'set protocol = "HTTPS" on the target group and let the tasks serve TLS, or waive it where traffic stays inside the VPC',
    "CKV_AWS_382": "name the ports and destinations of the egress rule, in place of all of them",
    "CKV_AWS_393": "pin the subject claim of the role's trust policy to one repository and branch or environment",
}


def fix_for(check: str, *, title: str) -> str:
    """Return the fix. For a check that this module does not list, derive it from the title, which states the rule."""
    known = FIXES.get(check)
    if known is not None:
        return known
    rule = title.strip().rstrip(".")
    for opening in ("Ensure that ", "Ensure "):
        rule = rule.removeprefix(opening)
    return f"change the resource so that this holds: {rule}"
