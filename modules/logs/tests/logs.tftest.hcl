mock_provider "aws" {}

variables {
  name = "/ecs/mclass-task"
}

run "keeps_events_for_a_year_and_goes_with_the_environment_by_default" {
  command = plan

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/ecs/mclass-task"
    error_message = "The group must be named as it was asked to be."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 365
    error_message = "The default retention must be a year."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == null
    error_message = "Without a key, CloudWatch Logs must use its own."
  }

  assert {
    condition     = !aws_cloudwatch_log_group.this.skip_destroy
    error_message = "By default the group must go with the environment."
  }
}

run "takes_every_option" {
  command = plan

  variables {
    kms_key_arn       = "arn:aws:kms:ap-northeast-2:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    retention_in_days = 0
    skip_destroy      = true
    tags              = { Team = "mclass" }
  }

  assert {
    condition     = output.kms_key_arn == var.kms_key_arn
    error_message = "Events must be encrypted with the given key."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 0 && output.retention_in_days == 0
    error_message = "0 must keep events for ever."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.skip_destroy
    error_message = "skip_destroy must leave the group behind."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.tags["Team"] == "mclass"
    error_message = "The group must carry the given tags."
  }
}

run "refuses_what_cloudwatch_logs_would_refuse" {
  command = plan

  variables {
    kms_key_arn       = "alias/mclass"
    name              = "/ecs/mclass task"
    retention_in_days = 42
  }

  expect_failures = [var.kms_key_arn, var.name, var.retention_in_days]
}

run "refuses_the_reserved_prefix" {
  command = plan

  variables {
    name = "aws/mclass"
  }

  expect_failures = [var.name]
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    tags = { Team = null }
  }

  expect_failures = [
    var.tags,
  ]
}
