locals {
  https = var.certificate_arn != null

  production_port = coalesce(var.production_port, local.https ? 443 : 80)
  protocol        = local.https ? "HTTPS" : "HTTP"
  ssl_policy      = local.https ? var.ssl_policy : null

  rule_priorities = { production = var.rule_priority, test = coalesce(var.test_rule_priority, var.rule_priority - 1) }
  test_header     = { name = "X-Test-Traffic", value = sensitive(terraform_data.test_header.output) }

  # Initial weights; the rollout owns them from then on.
  weights = { blue = 100, green = 0 }
}

resource "aws_lb" "this" {
  name               = "${var.name}-alb"
  load_balancer_type = "application"
  internal           = var.internal
  security_groups    = [aws_security_group.this.id]
  subnets            = var.subnet_ids

  desync_mitigation_mode     = "defensive"
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  idle_timeout               = var.idle_timeout

  dynamic "access_logs" {
    for_each = var.access_logs == null ? [] : [var.access_logs]

    content {
      bucket  = access_logs.value.bucket
      enabled = true
      prefix  = access_logs.value.prefix
    }
  }

  tags = var.tags
}

# Two groups of one shape: ECS moves traffic from the one in use to the other, and back.
resource "aws_lb_target_group" "this" {
  for_each = local.weights

  name                          = "${var.name}-${each.key}"
  vpc_id                        = var.vpc_id
  port                          = 80
  protocol                      = "HTTP"
  target_type                   = "ip"
  deregistration_delay          = var.target_group.deregistration_delay
  load_balancing_algorithm_type = var.target_group.load_balancing_algorithm_type
  slow_start                    = var.target_group.slow_start

  health_check {
    enabled             = true
    healthy_threshold   = var.health_check.healthy_threshold
    interval            = var.health_check.interval
    matcher             = var.health_check.matcher
    path                = var.health_check.path
    port                = "traffic-port"
    protocol            = "HTTP"
    timeout             = var.health_check.timeout
    unhealthy_threshold = var.health_check.unhealthy_threshold
  }

  tags = var.tags

  lifecycle {
    # Each target is registered with its own port. This one is only a default, and no change of it is worth a new group:
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    ignore_changes = [port]
  }
}
