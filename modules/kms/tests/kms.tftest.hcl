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
  alias = "mclass"
}

run "rotates_and_leaves_use_to_iam_by_default" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "The key must rotate, and leave 30 days to change one's mind."
  }

  assert {
    condition     = aws_kms_alias.this.name == "alias/mclass"
    error_message = "The key must have the given alias."
  }

  assert {
    condition     = [for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Principal] == [{ AWS = "arn:aws:iam::111111111111:root" }]
    error_message = "Nobody but the account may use a key that no log group was named for."
  }
}

run "takes_every_option_and_lets_no_other_log_group_use_the_key" {
  command = plan

  variables {
    deletion_window_in_days = 7
    description             = "Encrypts the test"
    log_group_names         = ["/vpc/mclass", "/ecs/mclass-task"]
    tags                    = { Team = "mclass" }
  }

  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 7 && aws_kms_key.this.description == "Encrypts the test" && aws_kms_key.this.tags["Team"] == "mclass"
    error_message = "Window, description and tags must be as given."
  }

  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[1].Principal == { Service = "logs.ap-northeast-2.amazonaws.com" }
    error_message = "CloudWatch Logs of this region must be let in."
  }

  assert {
    condition = jsondecode(aws_kms_key.this.policy).Statement[1].Condition.ArnEquals["kms:EncryptionContext:aws:logs:arn"] == [
      "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task",
      "arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass",
    ]
    error_message = "Only the named log groups may use the key."
  }
}

run "refuses_names_and_periods_that_kms_does_not_know" {
  command = plan

  variables {
    alias                   = "alias/mclass"
    deletion_window_in_days = 6
    log_group_names         = ["/ecs/*"]
  }

  expect_failures = [var.alias, var.deletion_window_in_days, var.log_group_names]
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    log_group_names = [null]
    tags            = { Team = null }
  }

  expect_failures = [
    var.log_group_names,
    var.tags,
  ]
}

run "names_the_principal_of_the_partition" {
  command = plan

  variables {
    log_group_names = ["/ecs/mclass-task"]
  }

  override_data {
    target = data.aws_partition.current
    values = { dns_suffix = "amazonaws.com.cn", partition = "aws-cn" }
  }

  override_data {
    target = data.aws_region.current
    values = { id = "cn-north-1" }
  }

  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[1].Principal.Service == "logs.cn-north-1.amazonaws.com.cn"
    error_message = "In China, CloudWatch Logs has a principal with the suffix of that partition."
  }

  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[0].Principal.AWS == "arn:aws-cn:iam::111111111111:root"
    error_message = "Every ARN must name the partition."
  }
}
