data "aws_caller_identity" "current" {}

locals {
  container_name  = coalesce(var.container.name, local.repository_name)
  repository_name = "${var.name}-server"

  # The service is told what the load balancer and ECS do to it, so that no two places say it. Its keep-alive outlasts the
  # load balancer's: otherwise a connection closes under a request, a 502.
  service_times = { for name, seconds in {
    MCLASS_IDLE_TIMEOUT_SECONDS    = var.alb.idle_timeout
    MCLASS_KEEP_ALIVE_SECONDS      = var.alb.idle_timeout + 15
    MCLASS_LAME_DUCK_SECONDS       = var.shutdown.lame_duck
    MCLASS_LONGEST_REQUEST_SECONDS = var.shutdown.longest_request
    MCLASS_STOP_TIMEOUT_SECONDS    = var.shutdown.stop_timeout
  } : name => tostring(seconds) }

  log_group_names = {
    execute_command = "/ecs/${var.name}-exec"
    flow            = "/vpc/${var.name}"
    task            = "/ecs/${var.name}-task"
  }

  flow_log = var.network.flow_log && var.network.existing_vpc == null

  # The ARN of a new key is unknown in a plan. The text that join makes of it is known not to be null, so that a plan
  # can say how the images are encrypted before the key exists.
  kms_key_arn = var.customer_managed_key.enabled ? join("", [module.kms[0].key_arn]) : null

  # A session of ECS Exec reaches Systems Manager, and the key that encrypts it, from inside the task.
  execute_command_endpoints = var.enable_execute_command ? concat(
    ["ssmmessages"],
    var.customer_managed_key.enabled ? ["kms"] : [],
  ) : []

  # Endpoints answer inside the VPC and S3 by its prefix list: tasks need no way to the internet then.
  egress = {
    for name, rule in {
      endpoints = { description = "Interface endpoints", security_group_id = module.network.endpoint_security_group_id }
      https     = { description = "HTTPS to anywhere", cidr_ipv4 = "0.0.0.0/0" }
      s3        = { description = "Image layers in S3", prefix_list_id = module.network.s3_prefix_list_id }
    } : name => rule if contains(var.network.egress == "endpoints" ? ["endpoints", "s3"] : ["https"], name)
  }
}

module "kms" {
  source = "../modules/kms"
  count  = var.customer_managed_key.enabled ? 1 : 0

  alias                   = var.name
  deletion_window_in_days = var.customer_managed_key.deletion_window_in_days
  description             = "Encrypts the logs and images of ${var.name} in ${var.environment}"
  log_group_names         = values(local.log_group_names)
}

module "task_logs" {
  source = "../modules/logs"

  kms_key_arn       = local.kms_key_arn
  name              = local.log_group_names.task
  retention_in_days = var.logs.retention_in_days
  skip_destroy      = var.logs.skip_destroy
}

module "execute_command_logs" {
  source = "../modules/logs"

  kms_key_arn       = local.kms_key_arn
  name              = local.log_group_names.execute_command
  retention_in_days = var.logs.retention_in_days
  skip_destroy      = var.logs.skip_destroy
}

module "flow_logs" {
  source = "../modules/logs"
  count  = local.flow_log ? 1 : 0

  kms_key_arn       = local.kms_key_arn
  name              = local.log_group_names.flow
  retention_in_days = var.logs.retention_in_days
  skip_destroy      = var.logs.skip_destroy
}

module "network" {
  source = "../modules/network"

  availability_zones  = var.network.availability_zones
  cidr_block          = var.network.cidr_block
  egress              = var.network.egress
  existing_vpc        = var.network.existing_vpc
  flow_log            = local.flow_log ? { log_group_arn = module.flow_logs[0].arn } : null
  interface_endpoints = setunion(var.network.interface_endpoints, local.execute_command_endpoints)
  name                = var.name
  single_nat_gateway  = var.network.single_nat_gateway
}

module "ecr" {
  source = "../modules/ecr"

  force_delete     = var.repository.force_delete
  kms_key_arn      = local.kms_key_arn
  name             = local.repository_name
  pull_account_ids = var.repository.pull_account_ids

  lifecycle_policy = {
    keep_releases = var.repository.keep_releases
    untagged_days = var.repository.untagged_days
  }
}

# A load balancer takes long, and so do NAT gateways and endpoints. An expression waits for all that it names, whichever
# side it takes: neither may be one that waits for those.
module "alb" {
  source = "../modules/alb"

  access_logs         = var.access_logs_bucket == null ? null : { bucket = var.access_logs_bucket, prefix = var.name }
  certificate_arn     = var.certificate_arn
  deletion_protection = var.alb.deletion_protection
  idle_timeout        = var.alb.idle_timeout
  ingress_cidr_blocks = var.alb.ingress_cidr_blocks
  internal            = var.alb.internal
  name                = var.name
  ssl_policy          = var.alb.ssl_policy
  subnet_ids          = var.alb.internal ? module.network.private_subnet_ids_before_egress : module.network.public_subnet_ids
  vpc_id              = module.network.vpc_id

  health_check = {
    healthy_threshold   = var.health_check.healthy_threshold
    interval            = var.health_check.interval
    path                = var.health_check.path
    timeout             = var.health_check.timeout
    unhealthy_threshold = var.health_check.unhealthy_threshold
  }

  target_group = {
    deregistration_delay = var.shutdown.deregistration_delay
  }
}

module "service" {
  source = "../modules/ecs-service"

  availability_zone_rebalancing   = var.deployment.availability_zone_rebalancing
  capacity_providers              = var.capacity_providers
  container_insights              = var.container_insights
  desired_count                   = var.desired_count
  egress                          = local.egress
  enable_execute_command          = var.enable_execute_command
  environment_variables           = merge(var.environment_variables, local.service_times)
  image_digest                    = var.image_digest
  load_balancer_security_group_id = module.alb.security_group_id
  log_group_arn                   = module.task_logs.arn
  log_group_name                  = module.task_logs.name
  name                            = var.name
  repository_arn                  = module.ecr.arn
  repository_url                  = module.ecr.url
  secret_kms_key_arns             = var.secret_kms_key_arns
  secrets                         = var.secrets
  subnet_ids                      = module.network.private_subnet_ids
  target_group_arn                = module.alb.target_group_arns["blue"]
  task                            = var.task
  task_role_policy_arns           = var.task_role_policy_arns
  vpc_id                          = module.network.vpc_id

  autoscaling = {
    cpu_percent    = var.autoscaling.cpu_percent
    max            = var.autoscaling.max
    memory_percent = var.autoscaling.memory_percent
    min            = var.autoscaling.min
    requests = var.autoscaling.requests_per_target == null ? null : {
      per_target                = var.autoscaling.requests_per_target
      target_group_arn_suffixes = module.alb.target_group_arn_suffixes
    }
    scale_in_cooldown  = var.autoscaling.scale_in_cooldown
    scale_out_cooldown = var.autoscaling.scale_out_cooldown
  }

  container = {
    name                     = local.container_name
    port                     = var.container.port
    readonly_root_filesystem = var.container.readonly_root_filesystem
    user                     = var.container.user
    writable_paths           = var.container.writable_paths
  }

  container_health_check = {
    command      = var.health_check.container_command
    path         = var.health_check.path
    start_period = var.health_check.start_period
  }

  deployment = {
    health_check_grace_period_seconds = var.health_check.grace_period
    maximum_percent                   = var.deployment.maximum_percent
    minimum_healthy_percent           = var.deployment.minimum_healthy_percent
  }

  execute_command_log = {
    kms_key_arn    = local.kms_key_arn
    log_group_name = module.execute_command_logs.name
  }

  shutdown = {
    lame_duck       = var.shutdown.lame_duck
    longest_request = var.shutdown.longest_request
    stop_timeout    = var.shutdown.stop_timeout
  }
}
