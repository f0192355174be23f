mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { id = "ap-northeast-2" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mclass" }
  }

  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:1" }
  }

  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:ap-northeast-2:111111111111:cluster/mclass-cluster" }
  }
}

variables {
  container                       = { name = "mclass-server" }
  execute_command_log             = { log_group_name = "/ecs/mclass-exec" }
  image_digest                    = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  load_balancer_security_group_id = "sg-00000000000000001"
  log_group_arn                   = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task"
  log_group_name                  = "/ecs/mclass-task"
  name                            = "mclass"
  repository_arn                  = "arn:aws:ecr:ap-northeast-2:111111111111:repository/mclass-server"
  repository_url                  = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server"
  subnet_ids                      = ["subnet-00000000000000003", "subnet-00000000000000004"]
  target_group_arn                = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass-blue/73e2d6bc24d8a067"
  vpc_id                          = "vpc-00000000000000001"
}

run "runs_a_safe_service_by_default" {
  command = plan

  assert {
    condition     = aws_ecs_cluster.this.name == "mclass-cluster" && one(aws_ecs_cluster.this.setting).value == "enabled"
    error_message = "The cluster must have its name, and Container Insights."
  }

  assert {
    condition     = aws_ecs_cluster_capacity_providers.this.capacity_providers == toset(["FARGATE", "FARGATE_SPOT"])
    error_message = "The cluster must offer Fargate and Fargate Spot."
  }

  assert {
    condition     = aws_ecs_service.this.name == "mclass-service" && aws_ecs_service.this.desired_count == 2
    error_message = "The service must have its name and two tasks."
  }

  assert {
    condition     = [for provider in aws_ecs_service.this.capacity_provider_strategy : provider.capacity_provider] == ["FARGATE"]
    error_message = "Tasks must run on Fargate, not on Spot, by default."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_minimum_healthy_percent == 100 && aws_ecs_service.this.deployment_maximum_percent == 200 && aws_ecs_service.this.health_check_grace_period_seconds == 60
    error_message = "A rolling deployment must keep all tasks healthy, run up to twice as many, and be patient for 60 s."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback && aws_ecs_service.this.deployment_controller[0].type == "ECS"
    error_message = "A failing deployment must stop and be rolled back by ECS."
  }

  assert {
    condition     = aws_ecs_service.this.availability_zone_rebalancing == "ENABLED" && !aws_ecs_service.this.enable_execute_command && !aws_ecs_service.this.network_configuration[0].assign_public_ip
    error_message = "Tasks must be balanced over the zones, without a shell and without public addresses."
  }

  assert {
    condition     = one(aws_ecs_service.this.load_balancer).target_group_arn == var.target_group_arn && one(aws_ecs_service.this.load_balancer).container_name == "mclass-server" && one(aws_ecs_service.this.load_balancer).container_port == 3000
    error_message = "The first tasks must be registered in the given target group."
  }

  assert {
    condition     = aws_ecs_task_definition.this.family == "mclass-task" && aws_ecs_task_definition.this.cpu == "256" && aws_ecs_task_definition.this.memory == "512" && aws_ecs_task_definition.this.runtime_platform[0].cpu_architecture == "X86_64" && aws_ecs_task_definition.this.network_mode == "awsvpc" && aws_ecs_task_definition.this.requires_compatibilities == toset(["FARGATE"])
    error_message = "The task must be the smallest that Fargate offers."
  }

  assert {
    condition     = aws_ecs_task_definition.this.skip_destroy
    error_message = "Old revisions must stay: rollback points the service at them."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].image == "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    error_message = "The image must be named by its digest."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user == "10001:10001"
    error_message = "The container must not run as root, nor write to its root file system."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].mountPoints == [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }] && [for volume in aws_ecs_task_definition.this.volume : volume.name] == ["tmp"]
    error_message = "/tmp must stay writable."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout == 60
    error_message = "A stopping task must have 60 s to finish."
  }

  assert {
    condition     = strcontains(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command[3], "('127.0.0.1', 3000)") && strcontains(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command[3], "GET /health HTTP/1.0") && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command[1] == "python"
    error_message = "The container must be checked from inside, by Python: the image has no curl."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].logConfiguration.options == { "awslogs-group" = "/ecs/mclass-task", "awslogs-region" = "ap-northeast-2", "awslogs-stream-prefix" = "mclass-server" }
    error_message = "The container must log to the given group."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.execution.policy).Statement == [
      { Sid = "AuthorizeAtRegistry", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      { Sid = "PullImage", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = ["arn:aws:ecr:ap-northeast-2:111111111111:repository/mclass-server"] },
      { Sid = "WriteLog", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task:*"] },
    ]
    error_message = "The execution role must pull from this repository, write to this log group, and nothing else."
  }

  assert {
    condition = alltrue([for role in [aws_iam_role.execution, aws_iam_role.task] :
      jsondecode(role.assume_role_policy).Statement[0].Condition == { ArnLike = { "aws:SourceArn" = "arn:aws:ecs:ap-northeast-2:111111111111:*" }, StringEquals = { "aws:SourceAccount" = "111111111111" } }
    ])
    error_message = "ECS may take the roles only for this account and region."
  }

  assert {
    condition     = jsondecode(aws_iam_role.infrastructure.assume_role_policy).Statement[0].Condition == { ArnLikeIfExists = { "aws:SourceArn" = "arn:aws:ecs:ap-northeast-2:111111111111:*" }, StringEqualsIfExists = { "aws:SourceAccount" = "111111111111" } }
    error_message = "ECS must be able to take the infrastructure role when it does not say for whom it acts."
  }

  assert {
    condition     = jsondecode(aws_iam_role.infrastructure.assume_role_policy).Statement[0].Principal.Service == "ecs.amazonaws.com" && aws_iam_role_policy_attachment.infrastructure.policy_arn == "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
    error_message = "ECS must be able to shift traffic."
  }

  assert {
    condition     = jsondecode(aws_iam_role.execution.assume_role_policy).Statement[0].Principal.Service == "ecs-tasks.amazonaws.com" && jsondecode(aws_iam_role.task.assume_role_policy).Statement[0].Principal.Service == "ecs-tasks.amazonaws.com"
    error_message = "Tasks must be able to take the execution role and their own."
  }

  assert {
    condition     = length(aws_iam_role_policy.execute_command) == 0 && length(aws_iam_role_policy_attachment.task) == 0
    error_message = "The task role must allow nothing by default."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.load_balancer.referenced_security_group_id == "sg-00000000000000001" && aws_vpc_security_group_ingress_rule.load_balancer.cidr_ipv4 == null && aws_vpc_security_group_ingress_rule.load_balancer.from_port == 0 && aws_vpc_security_group_ingress_rule.load_balancer.to_port == 65535
    error_message = "The load balancer alone must reach the tasks, on whichever port."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.from_load_balancer.security_group_id == "sg-00000000000000001" && aws_vpc_security_group_egress_rule.from_load_balancer.from_port == 0 && aws_vpc_security_group_egress_rule.from_load_balancer.to_port == 65535 && length(aws_vpc_security_group_egress_rule.this) == 0
    error_message = "The load balancer must have its way to the tasks, and the tasks no way out unless given."
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 6 && aws_appautoscaling_target.this.resource_id == "service/mclass-cluster/mclass-service"
    error_message = "The service must scale from 2 to 6 tasks."
  }

  assert {
    condition = { for metric, policy in aws_appautoscaling_policy.predefined : metric => policy.target_tracking_scaling_policy_configuration[0].target_value } == {
      ECSServiceAverageCPUUtilization    = 60
      ECSServiceAverageMemoryUtilization = 75
    }
    error_message = "CPU must be kept at 60 percent and memory at 75."
  }

  assert {
    condition     = length(aws_appautoscaling_policy.requests) == 0
    error_message = "Requests must not be tracked unless asked for."
  }
}

run "stands_at_no_tasks_before_the_first_image" {
  command = plan

  variables {
    image_digest = null
    task         = { cpu = 16384, memory = 122880 }
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "16384" && aws_ecs_task_definition.this.memory == "122880"
    error_message = "16 vCPU and 120 GiB is a size of Fargate."
  }

  assert {
    condition     = aws_ecs_service.this.desired_count == 0
    error_message = "Without an image there must be no tasks."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].image == "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    error_message = "Without an image the task definition must name one that cannot exist."
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 0 && aws_appautoscaling_target.this.max_capacity == 6
    error_message = "Without an image the minimum must be 0: registering another one starts tasks."
  }
}

run "takes_every_option" {
  command = plan

  variables {
    autoscaling = {
      max            = 20
      memory_percent = 80
      min            = 4
      requests = {
        per_target                = 1000
        target_group_arn_suffixes = { blue = "targetgroup/mclass-blue/1", green = "targetgroup/mclass-green/2" }
      }
      scale_in_cooldown  = 600
      scale_out_cooldown = 30
    }
    availability_zone_rebalancing = false
    capacity_providers            = { FARGATE = { base = 2 }, FARGATE_SPOT = { weight = 3 } }
    container                     = { name = "web", port = 8080, readonly_root_filesystem = false, user = "1000", writable_paths = ["/tmp", "/var/cache/web"] }
    container_health_check        = { command = ["CMD", "/app/healthy"], interval = 5, retries = 2, start_period = 30, timeout = 2 }
    container_insights            = "enhanced"
    deployment                    = { health_check_grace_period_seconds = 120, maximum_percent = 150, minimum_healthy_percent = 75 }
    desired_count                 = 5
    egress = {
      endpoints = { description = "Endpoints", security_group_id = "sg-00000000000000002" }
      s3        = { description = "S3", prefix_list_id = "pl-78a54011" }
      smtp      = { description = "Mail", cidr_ipv4 = "10.0.0.0/8", port = 587 }
    }
    enable_execute_command = true
    environment_variables  = { LOG_LEVEL = "info", APP_ENV = "prod" }
    execute_command_log    = { kms_key_arn = "arn:aws:kms:ap-northeast-2:111111111111:key/11111111-1111-1111-1111-111111111111", log_group_name = "/ecs/mclass-exec" }
    secret_kms_key_arns    = ["arn:aws:kms:ap-northeast-2:111111111111:key/22222222-2222-2222-2222-222222222222"]
    secrets = {
      API_KEY     = "arn:aws:ssm:ap-northeast-2:111111111111:parameter/mclass/api-key"
      DB_PASSWORD = "arn:aws:secretsmanager:ap-northeast-2:111111111111:secret:mclass/db-AbCdEf:password::"
      DB_USER     = "arn:aws:secretsmanager:ap-northeast-2:111111111111:secret:mclass/db-AbCdEf:username::"
    }
    shutdown              = { lame_duck = 58, longest_request = 60, stop_timeout = 120 }
    tags                  = { Team = "mclass" }
    task                  = { cpu = 8192, cpu_architecture = "ARM64", ephemeral_storage_gib = 50, memory = 61440 }
    task_role_policy_arns = { uploads = "arn:aws:iam::111111111111:policy/mclass-uploads" }
  }

  assert {
    condition     = { for provider in aws_ecs_service.this.capacity_provider_strategy : provider.capacity_provider => "${provider.base} ${provider.weight}" } == { FARGATE = "2 1", FARGATE_SPOT = "0 3" }
    error_message = "Tasks must be shared between Fargate and Spot as asked."
  }

  assert {
    condition     = aws_ecs_service.this.desired_count == 5 && aws_ecs_service.this.availability_zone_rebalancing == "DISABLED" && aws_ecs_service.this.enable_execute_command && aws_ecs_service.this.deployment_maximum_percent == 150 && aws_ecs_service.this.deployment_minimum_healthy_percent == 75 && aws_ecs_service.this.health_check_grace_period_seconds == 120 && aws_ecs_service.this.tags["Team"] == "mclass"
    error_message = "The service must be as asked."
  }

  assert {
    condition     = one(aws_ecs_cluster.this.setting).value == "enhanced" && aws_ecs_cluster.this.configuration[0].execute_command_configuration[0].kms_key_id == var.execute_command_log.kms_key_arn && aws_ecs_cluster.this.configuration[0].execute_command_configuration[0].log_configuration[0].cloud_watch_log_group_name == "/ecs/mclass-exec" && aws_ecs_cluster.this.configuration[0].execute_command_configuration[0].log_configuration[0].cloud_watch_encryption_enabled
    error_message = "Sessions must be recorded, encrypted with the given key."
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "8192" && aws_ecs_task_definition.this.memory == "61440" && aws_ecs_task_definition.this.runtime_platform[0].cpu_architecture == "ARM64" && aws_ecs_task_definition.this.ephemeral_storage[0].size_in_gib == 50
    error_message = "The task must be of the size asked for."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment == [{ name = "APP_ENV", value = "prod" }, { name = "LOG_LEVEL", value = "info" }]
    error_message = "Environment variables must reach the container, in an order that does not change."
  }

  assert {
    condition     = { for secret in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].secrets : secret.name => secret.valueFrom } == { for name, arn in var.secrets : name => arn }
    error_message = "Secrets must reach the container by reference."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck == { command = ["CMD", "/app/healthy"], interval = 5, retries = 2, startPeriod = 30, timeout = 2 } && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout == 120
    error_message = "The container must be checked and stopped as asked."
  }

  assert {
    condition     = [for mount in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].mountPoints : "${mount.sourceVolume} ${mount.containerPath}"] == ["tmp /tmp", "var-cache-web /var/cache/web"] && !jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user == "1000"
    error_message = "The container's files and user must be as asked."
  }

  assert {
    condition = { for statement in slice(jsondecode(aws_iam_role_policy.execution.policy).Statement, 3, 6) : statement.Sid => statement.Resource } == {
      DecryptSecrets = ["arn:aws:kms:ap-northeast-2:111111111111:key/22222222-2222-2222-2222-222222222222"]
      ReadParameters = ["arn:aws:ssm:ap-northeast-2:111111111111:parameter/mclass/api-key"]
      ReadSecrets    = ["arn:aws:secretsmanager:ap-northeast-2:111111111111:secret:mclass/db-AbCdEf"]
    }
    error_message = "The execution role must read these secrets and no others, once each."
  }

  assert {
    condition     = { for statement in jsondecode(aws_iam_role_policy.execute_command[0].policy).Statement : statement.Sid => statement.Resource } == { OpenSession = ["*"], RecordSession = ["arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-exec:*"], DecryptSession = ["arn:aws:kms:ap-northeast-2:111111111111:key/11111111-1111-1111-1111-111111111111"] }
    error_message = "With ECS Exec the task role must open and record sessions."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].linuxParameters.initProcessEnabled && aws_iam_role_policy_attachment.task["uploads"].policy_arn == "arn:aws:iam::111111111111:policy/mclass-uploads"
    error_message = "ECS Exec needs an init process, and the task role its policies."
  }

  assert {
    condition = { for name, rule in aws_vpc_security_group_egress_rule.this : name => "${coalesce(rule.cidr_ipv4, rule.prefix_list_id, rule.referenced_security_group_id)} ${rule.from_port}" } == {
      endpoints = "sg-00000000000000002 443"
      s3        = "pl-78a54011 443"
      smtp      = "10.0.0.0/8 587"
    }
    error_message = "Tasks must connect to what is named, and nothing else."
  }

  assert {
    condition     = keys(aws_appautoscaling_policy.predefined) == ["ECSServiceAverageMemoryUtilization"] && aws_appautoscaling_target.this.min_capacity == 4 && aws_appautoscaling_target.this.max_capacity == 20
    error_message = "A load that is left out must not be tracked."
  }

  assert {
    condition     = aws_appautoscaling_policy.requests[0].target_tracking_scaling_policy_configuration[0].target_value == 1000 && aws_appautoscaling_policy.requests[0].target_tracking_scaling_policy_configuration[0].scale_in_cooldown == 600
    error_message = "Requests per target must be kept at what was asked."
  }

  assert {
    condition     = { for metric in aws_appautoscaling_policy.requests[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : metric.id => try(one(metric.metric_stat[0].metric[0].dimensions).value, metric.expression) } == { blue = "targetgroup/mclass-blue/1", green = "targetgroup/mclass-green/2", busiest = "IF(FILL(blue, 0) >= FILL(green, 0), blue, green)" }
    error_message = "The busier of the two target groups must be tracked, whichever is in production."
  }
}

# A rule that reads another variable is tried only when that one is right.
run "refuses_what_ecs_would_refuse" {
  command = plan

  variables {
    autoscaling            = { min = 3, max = 2 }
    capacity_providers     = { EC2 = {} }
    container              = { name = "mclass server" }
    container_health_check = { command = ["/app/healthy"] }
    container_insights     = "on"
    egress                 = { nowhere = { description = "Nowhere" } }
    image_digest           = "latest"
    log_group_arn          = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task:*"
    name                   = "M"
    repository_arn         = "arn:aws:ecr:ap-northeast-2:111111111111:repository/*"
    repository_url         = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server:latest"
    secret_kms_key_arns    = ["*"]
    secrets                = { PASSWORD = "hunter2" }
    shutdown               = { stop_timeout = 121 }
    subnet_ids             = ["subnet-00000000000000003"]
    task                   = { cpu = 256, memory = 4096 }
  }

  expect_failures = [
    var.autoscaling,
    var.capacity_providers,
    var.container,
    var.container_health_check,
    var.container_insights,
    var.egress,
    var.image_digest,
    var.log_group_arn,
    var.name,
    var.repository_arn,
    var.repository_url,
    var.secret_kms_key_arns,
    var.secrets,
    var.shutdown,
    var.subnet_ids,
    var.task,
  ]
}

run "refuses_a_deployment_that_cannot_move" {
  command = plan

  variables {
    autoscaling           = { min = 1 }
    capacity_providers    = { FARGATE = { weight = 0 } }
    container             = { name = "web", user = "0" }
    deployment            = { maximum_percent = 150 }
    egress                = { all = { cidr_ipv4 = "0.0.0.0/0", description = "All", port = 0 } }
    environment_variables = { PASSWORD = "hunter2" }
    secrets               = { PASSWORD = "arn:aws:ssm:ap-northeast-2:111111111111:parameter/mclass/password" }
    shutdown              = { lame_duck = 29, longest_request = 30, stop_timeout = 60 }
    task                  = { cpu = 8192, memory = 18432 }
  }

  expect_failures = [
    var.capacity_providers,
    var.container,
    var.deployment,
    var.egress,
    var.environment_variables,
    var.shutdown,
    var.task,
  ]
}

run "refuses_loads_bases_and_architectures_that_do_not_exist" {
  command = plan

  variables {
    autoscaling            = { cpu_percent = 95 }
    capacity_providers     = { FARGATE = { base = 1 }, FARGATE_SPOT = { base = 1 } }
    container              = { name = "web", port = 0 }
    container_health_check = { interval = 1 }
    shutdown               = { lame_duck = -1 }
    task                   = { cpu_architecture = "arm64" }
  }

  expect_failures = [
    var.autoscaling,
    var.capacity_providers,
    var.container,
    var.container_health_check,
    var.shutdown,
    var.task,
  ]
}

run "refuses_a_shell_whose_agent_could_not_write" {
  command = plan

  variables {
    enable_execute_command = true
  }

  expect_failures = [var.enable_execute_command]
}

run "refuses_more_tasks_than_autoscaling_allows" {
  command = plan

  variables {
    container              = { name = "web", writable_paths = ["tmp"] }
    container_health_check = { path = "/it's" }
    desired_count          = 7
    task                   = { ephemeral_storage_gib = 20 }
  }

  expect_failures = [var.container, var.container_health_check, var.desired_count, var.task]
}

run "refuses_one_target_group_where_there_are_two" {
  command = plan

  variables {
    autoscaling = { requests = { per_target = 1000, target_group_arn_suffixes = { blue = "targetgroup/mclass-blue/1" } } }
  }

  expect_failures = [var.autoscaling]
}

run "refuses_a_negative_cooldown" {
  command = plan

  variables {
    autoscaling = { scale_in_cooldown = -1 }
  }

  expect_failures = [var.autoscaling]
}

run "refuses_a_deployment_in_which_nobody_need_serve" {
  command = plan

  variables {
    deployment = { minimum_healthy_percent = 0 }
  }

  expect_failures = [var.deployment]
}

run "refuses_to_rebalance_zones_without_room_for_another_task" {
  command = plan

  variables {
    deployment = { maximum_percent = 100, minimum_healthy_percent = 50 }
  }

  expect_failures = [var.availability_zone_rebalancing]
}

run "refuses_a_grace_period_shorter_than_the_start" {
  command = plan

  variables {
    container_health_check = { start_period = 120 }
  }

  expect_failures = [var.deployment]
}

run "refuses_bounds_sizes_and_destinations_that_ecs_does_not_know" {
  command = plan

  variables {
    autoscaling            = { min = 0 }
    capacity_providers     = { FARGATE = { weight = 1001 } }
    container_health_check = { command = ["CMD"] }
    egress                 = { two = { cidr_ipv4 = "0.0.0.0/0", description = "Two", prefix_list_id = "pl-78a54011" } }
    secrets                = { PASSWORD = "arn:aws:ssm:ap-northeast-2:111111111111:parameter/mclass/password:1" }
    task                   = { cpu = 300 }
  }

  expect_failures = [
    var.autoscaling,
    var.capacity_providers,
    var.container_health_check,
    var.egress,
    var.secrets,
    var.task,
  ]
}

run "refuses_memory_without_room_and_a_timeout_of_minutes" {
  command = plan

  variables {
    autoscaling            = { memory_percent = 95 }
    capacity_providers     = { FARGATE = { base = 100001 } }
    container_health_check = { timeout = 61 }
  }

  expect_failures = [var.autoscaling, var.capacity_providers, var.container_health_check]
}

run "refuses_no_requests_per_target_and_no_retries" {
  command = plan

  variables {
    autoscaling            = { requests = { per_target = 0, target_group_arn_suffixes = { blue = "targetgroup/mclass-blue/1", green = "targetgroup/mclass-green/2" } } }
    container_health_check = { retries = 0 }
  }

  expect_failures = [var.autoscaling, var.container_health_check]
}

run "refuses_a_start_of_more_than_five_minutes" {
  command = plan

  variables {
    container_health_check = { start_period = 301 }
  }

  expect_failures = [var.container_health_check]
}

run "refuses_more_than_four_times_the_tasks" {
  command = plan

  variables {
    deployment = { maximum_percent = 401 }
  }

  expect_failures = [var.deployment]
}

run "refuses_a_grace_period_that_ecs_cannot_count" {
  command = plan

  variables {
    deployment = { health_check_grace_period_seconds = 2147483648 }
  }

  expect_failures = [var.deployment]
}

run "refuses_a_first_task_that_could_never_be_replaced" {
  command = plan

  variables {
    deployment    = { maximum_percent = 150 }
    desired_count = 0
  }

  expect_failures = [var.deployment]
}

run "refuses_a_negative_number_of_tasks" {
  command = plan

  variables {
    desired_count = -1
  }

  expect_failures = [var.desired_count]
}

run "refuses_half_a_task" {
  command = plan

  variables {
    desired_count = 2.5
  }

  expect_failures = [var.desired_count]
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    autoscaling            = { requests = { per_target = 1000, target_group_arn_suffixes = { blue = null, green = "targetgroup/mclass-green/1" } } }
    capacity_providers     = { FARGATE = null, FARGATE_SPOT = {} }
    container              = { name = "mclass-server", writable_paths = [null] }
    container_health_check = { command = ["CMD", null] }
    egress                 = { https = null }
    environment_variables  = { FEATURE = null }
    execute_command_log    = { log_group_name = null }
    secret_kms_key_arns    = [null]
    subnet_ids             = ["subnet-00000000000000003", null]
    tags                   = { Team = null }
    task_role_policy_arns  = { uploads = null }
  }

  expect_failures = [
    var.autoscaling,
    var.capacity_providers,
    var.container,
    var.container_health_check,
    var.egress,
    var.environment_variables,
    var.execute_command_log,
    var.secret_kms_key_arns,
    var.subnet_ids,
    var.tags,
    var.task_role_policy_arns,
  ]
}

run "refuses_a_null_among_the_secrets" {
  command = plan

  variables {
    secrets = { DATABASE_URL = null }
  }

  expect_failures = [var.secrets]
}
