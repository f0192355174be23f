mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_partition" {
    defaults = { dns_suffix = "amazonaws.com", partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { id = "ap-northeast-2" }
  }
}

variables {
  environment = "test"
  network     = { availability_zones = ["ap-northeast-2a", "ap-northeast-2c"] }
}

run "names_everything_as_the_guide_does" {
  command = plan

  assert {
    condition     = output.repository_name == "mclass-server" && output.container_name == "mclass-server" && output.cluster_name == "mclass-cluster" && output.service_name == "mclass-service" && output.task_definition_family == "mclass-task" && output.log_group_name == "/ecs/mclass-task" && output.region == "ap-northeast-2"
    error_message = "The guide's commands must work as they are written."
  }

  assert {
    condition     = output.image_digest == null && output.desired_count == 2 && output.autoscaling.min == 2
    error_message = "Before the first image the outputs must say what the first release raises the service to."
  }

  assert {
    condition     = output.egress == "endpoints" && output.deployment.minimum_healthy_percent == 100 && output.deployment.maximum_percent == 200
    error_message = "The defaults must be prod's: endpoints, and no task less than desired."
  }

  assert {
    condition     = output.deletion_protection && output.availability_zone_rebalancing && !output.execute_command_enabled && output.container_insights == "enabled" && output.log_retention_days == 365
    error_message = "The defaults must be the strict ones: protected, balanced, without a shell, with insights and a year of logs."
  }

  assert {
    condition     = length(module.kms) == 1 && length(module.flow_logs) == 1
    error_message = "By default there must be a key of one's own and a flow log."
  }

  assert {
    condition     = output.certificate_arn == null && output.redirect_listener_arn == null && output.access_logs_bucket == null
    error_message = "What was not given must be null."
  }
}

run "suffixes_everything_where_environments_share_an_account" {
  command = plan

  variables {
    customer_managed_key = { enabled = false }
    name                 = "mclass-dev"
    network              = { availability_zones = ["ap-northeast-2a", "ap-northeast-2c"], egress = "nat", flow_log = false }
  }

  assert {
    condition     = output.repository_name == "mclass-dev-server" && output.cluster_name == "mclass-dev-cluster" && output.service_name == "mclass-dev-service" && output.log_group_name == "/ecs/mclass-dev-task"
    error_message = "Every name must come from the application's."
  }

  assert {
    condition     = output.kms_key_arn == null && length(module.kms) == 0 && length(module.flow_logs) == 0 && output.vpc_endpoint_ids == {} && output.egress == "nat"
    error_message = "Key, flow log and endpoints must go when they are not asked for."
  }
}

run "opens_the_way_of_a_shell_in_a_container" {
  command = plan

  variables {
    container              = { readonly_root_filesystem = false }
    enable_execute_command = true
  }

  assert {
    condition     = setsubtract(keys(output.vpc_endpoint_ids), ["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "ssm"]) == toset(["kms", "ssmmessages"])
    error_message = "Without the internet a session must reach Systems Manager, and the key that encrypts it, by endpoints."
  }
}

run "needs_no_way_to_a_key_that_is_aws_s_own" {
  command = plan

  variables {
    container              = { readonly_root_filesystem = false }
    customer_managed_key   = { enabled = false }
    enable_execute_command = true
  }

  assert {
    condition     = contains(keys(output.vpc_endpoint_ids), "ssmmessages") && !contains(keys(output.vpc_endpoint_ids), "kms")
    error_message = "The endpoint of the key service must be there for a key of one's own alone."
  }
}

run "tells_the_service_what_the_load_balancer_and_ecs_do_to_it" {
  command = plan

  variables {
    alb                   = { idle_timeout = 4000 }
    environment_variables = { MCLASS_LOG_LEVEL = "DEBUG" }
    shutdown              = { lame_duck = 2.5, longest_request = 40, stop_timeout = 45 }
  }

  assert {
    condition = local.service_times == {
      MCLASS_IDLE_TIMEOUT_SECONDS    = "4000"
      MCLASS_KEEP_ALIVE_SECONDS      = "4015"
      MCLASS_LAME_DUCK_SECONDS       = "2.5"
      MCLASS_LONGEST_REQUEST_SECONDS = "40"
      MCLASS_STOP_TIMEOUT_SECONDS    = "45"
    }
    error_message = "Service, load balancer and task definition must have the same times, and the service keep connections longer."
  }
}

run "uses_an_existing_vpc" {
  command = plan

  variables {
    alb = { internal = true }
    network = {
      egress = "none"
      existing_vpc = {
        cidr_block         = "172.16.0.0/16"
        private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
        public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
        vpc_id             = "vpc-00000000000000001"
      }
    }
  }

  assert {
    condition     = output.vpc_id == "vpc-00000000000000001" && length(module.flow_logs) == 0 && output.private_subnet_ids == tolist(["subnet-00000000000000003", "subnet-00000000000000004"])
    error_message = "The service must move into the given VPC, which keeps its own flow log."
  }
}

run "refuses_what_is_no_account_environment_name_or_region" {
  command = plan

  variables {
    account_id   = "dev"
    environment  = "Dev"
    health_check = { grace_period = 20 }
    name         = "mclass_server"
    region       = "Seoul"
    shutdown     = { deregistration_delay = 10, longest_request = 30 }
  }

  expect_failures = [
    var.account_id,
    var.environment,
    var.health_check,
    var.name,
    var.region,
    var.shutdown,
  ]
}

run "refuses_a_second_place_for_a_time" {
  command = plan

  variables {
    environment_variables = { MCLASS_LAME_DUCK_SECONDS = "5" }
  }

  expect_failures = [var.environment_variables]
}

run "refuses_a_tag_that_is_null" {
  command = plan

  variables {
    tags = { Team = null }
  }

  expect_failures = [var.tags]
}
