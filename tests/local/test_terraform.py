"""The real Terraform and provider find what they applied, and lock the state."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.local.conftest import REGION, Account, plugin_mirror
from tests.time_limits import seconds_left

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform on PATH"),
]

_PROVIDER = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
  backend "s3" {}
}
provider "aws" {
  default_tags { tags = { project = "mclass" } }
}
"""

_NETWORK = """
resource "aws_vpc" "this" { cidr_block = "10.0.0.0/16" }
resource "aws_subnet" "this" {
  for_each          = { a = 0, c = 1 }
  vpc_id            = aws_vpc.this.id
  availability_zone = "ap-northeast-2${each.key}"
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 8, each.value)
}
data "aws_prefix_list" "s3" { name = "com.amazonaws.ap-northeast-2.s3" }
resource "aws_security_group" "this" {
  for_each    = toset(["balancer", "tasks"])
  name        = each.key
  description = each.key
  vpc_id      = aws_vpc.this.id
}
resource "aws_vpc_security_group_ingress_rule" "this" {
  security_group_id            = aws_security_group.this["tasks"].id
  referenced_security_group_id = aws_security_group.this["balancer"].id
  description                  = var.description
  from_port                    = 3000
  to_port                      = 3000
  ip_protocol                  = "tcp"
}
resource "aws_vpc_security_group_egress_rule" "this" {
  security_group_id = aws_security_group.this["tasks"].id
  prefix_list_id    = data.aws_prefix_list.s3.id
  description       = var.description
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}
variable "description" { default = "from the load balancer" }
"""

_SERVICE = """
resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/web"
  retention_in_days = 30
}
resource "aws_iam_role" "this" {
  for_each = toset(["ecs-tasks", "ecs"])
  name     = each.key
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "${each.key}.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}
resource "aws_iam_role_policy_attachment" "this" {
  role       = aws_iam_role.this["ecs"].name
  policy_arn = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}
resource "aws_ecs_cluster" "this" {
  name = "web"
  setting {
    name  = "containerInsights"
    value = "enhanced"
  }
}
resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}
resource "aws_ecs_task_definition" "this" {
  family                   = "web"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.this["ecs-tasks"].arn
  skip_destroy             = true
  runtime_platform {
    cpu_architecture        = "ARM64"
    operating_system_family = "LINUX"
  }
  volume { name = "tmp" }
  container_definitions = jsonencode([{
    name                   = "web"
    image                  = "example/web@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    essential              = true
    readonlyRootFilesystem = true
    user                   = "10001:10001"
    stopTimeout            = 60
    portMappings           = [{ containerPort = 3000, protocol = "tcp" }]
    environment            = [{ name = "PORT", value = "3000" }]
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp" }]
    linuxParameters        = { initProcessEnabled = true }
    healthCheck            = { command = ["CMD-SHELL", "true"], interval = 10, timeout = 5, retries = 3 }
    logConfiguration = {
      logDriver = "awslogs"
      options   = { awslogs-group = "/ecs/web", awslogs-region = "ap-northeast-2", awslogs-stream-prefix = "ecs" }
    }
  }])
}
resource "aws_ecs_service" "this" {
  name                          = "web"
  cluster                       = aws_ecs_cluster.this.arn
  task_definition               = aws_ecs_task_definition.this.arn
  desired_count                 = 0
  availability_zone_rebalancing = "ENABLED"
  enable_ecs_managed_tags       = true
  enable_execute_command        = true
  propagate_tags                = "SERVICE"
  wait_for_steady_state         = true
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  capacity_provider_strategy {
    capacity_provider = "FARGATE_SPOT"
    weight            = 1
  }
  network_configuration {
    subnets         = [for subnet in aws_subnet.this : subnet.id]
    security_groups = [aws_security_group.this["tasks"].id]
  }
  depends_on = [aws_ecs_cluster_capacity_providers.this]
}
resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = 0
  max_capacity       = 3
}
resource "aws_appautoscaling_policy" "this" {
  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  target_tracking_scaling_policy_configuration {
    target_value = 60
    predefined_metric_specification { predefined_metric_type = "ECSServiceAverageCPUUtilization" }
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class Terraform:
    folder: Path
    env: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_left(),
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def terraform(fresh: Account, tmp_path: Path) -> Callable[[str], Terraform]:
    """Create a folder with the configuration, initialised with its state in the local AWS."""

    def make(configuration: str) -> Terraform:
        (tmp_path / "main.tf").write_text(_PROVIDER + configuration)
        mirror = plugin_mirror()
        source = f'filesystem_mirror {{ path = "{mirror}" }}' if mirror else "direct {}"
        (tmp_path / "terraformrc").write_text(f"provider_installation {{ {source} }}\n")
        bucket = f"state-{fresh.account_id}"
        fresh.client("s3").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        env = {
            **fresh.environment(),
            "TF_CLI_CONFIG_FILE": str(tmp_path / "terraformrc"),
            "CHECKPOINT_DISABLE": "1",
        }
        made = Terraform(folder=tmp_path, env=env)
        backend = {"bucket": bucket, "key": "k", "region": REGION, "use_lockfile": "true", "encrypt": "true"}
        made.ok(
            "init", "-input=false", *(f"-backend-config={name}={value}" for name, value in backend.items())
        )
        return made

    return make


def test_the_plan_after_an_apply_is_empty_and_a_destroy_leaves_nothing(
    fresh: Account, terraform: Callable[[str], Terraform]
) -> None:
    tf = terraform(_NETWORK + _SERVICE)
    tf.ok("apply", "-auto-approve", "-input=false")
    assert tf.run("plan", "-detailed-exitcode", "-input=false").returncode == 0
    changed = ("-var=description=changed", "-input=false")
    tf.ok("apply", "-auto-approve", *changed)
    assert tf.run("plan", "-detailed-exitcode", *changed).returncode == 0
    tf.ok("destroy", "-auto-approve", "-input=false")
    assert fresh.client("ecs").list_services(cluster="web")["serviceArns"] == []
    assert fresh.client("logs").describe_log_groups()["logGroups"] == []


def test_a_state_that_is_locked_says_by_whom(fresh: Account, terraform: Callable[[str], Terraform]) -> None:
    tf = terraform('resource "aws_cloudwatch_log_group" "this" { name = "/locked" }\n')
    fresh.client("s3").put_object(
        Bucket=f"state-{fresh.account_id}",
        Key="k.tflock",
        Body=b'{"ID":"00000000-0000-4000-8000-000000000000","Operation":"OperationTypeApply","Who":"somebody@else",'
        b'"Version":"1.11.4","Created":"2026-01-01T00:00:00Z","Path":"k"}',
    )
    done = tf.run("apply", "-auto-approve", "-input=false")
    assert done.returncode == 1
    assert "Error acquiring the state lock" in done.stderr
    assert "somebody@else" in done.stderr
    assert fresh.client("logs").describe_log_groups()["logGroups"] == []


def test_a_resource_that_is_not_modelled_fails_at_once(terraform: Callable[[str], Terraform]) -> None:
    tf = terraform(
        'resource "aws_verifiedaccess_trust_provider" "this" {\n'
        '  policy_reference_name    = "x"\n'
        '  trust_provider_type      = "user"\n'
        '  user_trust_provider_type = "iam-identity-center"\n'
        "}\n"
    )
    done = tf.run("apply", "-auto-approve", "-input=false")
    assert done.returncode == 1
    assert "does not model ec2:CreateVerifiedAccessTrustProvider" in " ".join(done.stderr.split())
