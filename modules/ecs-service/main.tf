data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # The id is the region's name on every supported release of the provider; `name` is deprecated in 6.x.
  region = data.aws_region.current.id

  # An environment exists before its first image. Nothing can be pulled by this digest, and nothing tries:
  # the service then stands at 0 tasks.
  no_image_digest = "sha256:${join("", [for _ in range(64) : "0"])}"
  image           = "${var.repository_url}@${coalesce(var.image_digest, local.no_image_digest)}"

  # A service at 0 tasks gets its first one by a deployment, too.
  first_count = max(var.desired_count, 1)
}

resource "aws_ecs_service" "this" {
  name            = "${var.name}-service"
  cluster         = aws_ecs_cluster.this.arn
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.image_digest == null ? 0 : var.desired_count

  availability_zone_rebalancing      = var.availability_zone_rebalancing ? "ENABLED" : "DISABLED"
  deployment_maximum_percent         = var.deployment.maximum_percent
  deployment_minimum_healthy_percent = var.deployment.minimum_healthy_percent
  enable_ecs_managed_tags            = true
  enable_execute_command             = var.enable_execute_command
  health_check_grace_period_seconds  = var.deployment.health_check_grace_period_seconds
  platform_version                   = "LATEST"
  propagate_tags                     = "SERVICE"

  # Without it a changed capacity provider strategy replaces the service (5.x) or fails the plan (6.x).
  force_new_deployment = true

  dynamic "capacity_provider_strategy" {
    for_each = var.capacity_providers

    content {
      base              = capacity_provider_strategy.value.base
      capacity_provider = capacity_provider_strategy.key
      weight            = capacity_provider_strategy.value.weight
    }
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  deployment_controller {
    type = "ECS"
  }

  load_balancer {
    container_name   = var.container.name
    container_port   = var.container.port
    target_group_arn = var.target_group_arn
  }

  network_configuration {
    assign_public_ip = false
    security_groups  = [aws_security_group.this.id]
    subnets          = var.subnet_ids
  }

  tags = var.tags

  # A task can start, log, work and answer only when these are there; on the way down they outlive the last task.
  depends_on = [
    aws_ecs_cluster_capacity_providers.this,
    aws_iam_role_policy.execute_command,
    aws_iam_role_policy.execution,
    aws_iam_role_policy_attachment.infrastructure,
    aws_iam_role_policy_attachment.task,
    aws_vpc_security_group_egress_rule.from_load_balancer,
    aws_vpc_security_group_egress_rule.this,
    aws_vpc_security_group_ingress_rule.load_balancer,
  ]

  lifecycle {
    # The rollout owns the revision that runs, the wiring to the target groups and the alarms, autoscaling the number of tasks.
    ignore_changes = [alarms, desired_count, load_balancer, task_definition]
  }
}
