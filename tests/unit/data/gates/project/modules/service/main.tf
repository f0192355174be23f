variable "access_logs_bucket" {
  type = string
}

variable "certificate_arn" {
  type = string
}

variable "image_digest" {
  type = string
}

variable "kms_key" {
  type = object({ arn = string })
}

variable "retention_days" {
  type = number
}

variable "secure" {
  type = bool
}

variable "subnet_ids" {
  type = list(string)
}

variable "vpc_id" {
  type = string
}

locals {
  https = var.certificate_arn != null
}

resource "aws_ecr_repository" "this" {
  name                 = "mclass-server"
  image_tag_mutability = var.secure ? "IMMUTABLE" : "MUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key == null ? "AES256" : "KMS"
    kms_key         = one(var.kms_key[*].arn)
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/mclass-task"
  retention_in_days = var.retention_days
  kms_key_id        = one(var.kms_key[*].arn)
}

resource "aws_security_group" "alb" {
  name_prefix = "mclass-alb-"
  description = "The load balancer"
  vpc_id      = var.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "alb" {
  security_group_id = aws_security_group.alb.id
  description       = "To the tasks"
  ip_protocol       = "tcp"
  from_port         = 3000
  to_port           = 3000
  cidr_ipv4         = "10.0.0.0/16"
}

resource "aws_lb" "this" {
  name                       = "mclass-alb"
  internal                   = true
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.alb.id]
  subnets                    = var.subnet_ids
  drop_invalid_header_fields = var.secure
  enable_deletion_protection = var.secure

  dynamic "access_logs" {
    for_each = var.access_logs_bucket == null ? [] : [var.access_logs_bucket]
    content {
      bucket  = access_logs.value
      enabled = true
    }
  }
}

resource "aws_lb_target_group" "this" {
  for_each = toset(["blue", "green"])

  name                 = "mclass-${each.key}"
  port                 = 3000
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = var.vpc_id
  deregistration_delay = var.secure ? 60 : 300

  health_check {
    path = "/health"
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  port              = local.https ? 443 : 80
  protocol          = local.https ? "HTTPS" : "HTTP"
  certificate_arn   = var.certificate_arn
  ssl_policy        = local.https ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this["blue"].arn
  }
}

resource "aws_ecs_cluster" "this" {
  name = "mclass-cluster"

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "execution" {
  name               = "mclass-execution"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_ecs_task_definition" "this" {
  family                   = "mclass-task"
  cpu                      = 256
  memory                   = 512
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  execution_role_arn       = aws_iam_role.execution.arn
  skip_destroy             = var.secure

  container_definitions = jsonencode([{
    name                   = "mclass-server"
    image                  = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server@${var.image_digest}"
    essential              = true
    readonlyRootFilesystem = var.secure
    user                   = "65532:65532"
    stopTimeout            = var.secure ? 90 : 30
    portMappings           = [{ containerPort = 3000 }]
  }])
}

resource "aws_ecs_service" "this" {
  name                               = "mclass-service"
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  launch_type                        = "FARGATE"
  deployment_minimum_healthy_percent = var.secure ? 100 : 0
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = var.secure ? 60 : 0

  deployment_circuit_breaker {
    enable   = var.secure
    rollback = var.secure
  }

  load_balancer {
    container_name   = "mclass-server"
    container_port   = 3000
    target_group_arn = aws_lb_target_group.this["blue"].arn
  }

  network_configuration {
    subnets = var.subnet_ids
  }
}

output "log_group_arn" {
  value = aws_cloudwatch_log_group.this.arn
}
