# terraform test -test-directory=tests/environments -var-file=../environments/dev/terraform.tfvars
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
  image_digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}

run "plans_with_the_environments_files_alone" {
  command = plan

  assert {
    condition     = output.service_name == "mclass-service" && output.cluster_name == "mclass-cluster" && output.log_group_name == "/ecs/mclass-task"
    error_message = "Both environments must have the guide's names, each in its own account."
  }

  assert {
    condition     = output.image_digest == var.image_digest
    error_message = "The digest that was given must be the one that is planned."
  }

  assert {
    condition     = output.environment == "dev" || (output.egress == "endpoints" && output.certificate_arn != null && output.access_logs_bucket != null && length(module.kms) == 1 && length(module.flow_logs) == 1 && output.autoscaling.min >= 2 && output.deployment.minimum_healthy_percent == 100)
    error_message = "Whatever is not dev must be closed, encrypted, logged and never short of a task."
  }
}
