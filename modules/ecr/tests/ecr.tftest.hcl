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
  name = "mclass-server"
}

run "keeps_tags_and_images_safe_by_default" {
  command = plan

  assert {
    condition     = aws_ecr_repository.this.name == "mclass-server" && aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag must not be moved to another image."
  }

  assert {
    condition     = output.url == "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server"
    error_message = "A plan must know the repository's URL before the repository exists."
  }

  assert {
    condition     = aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "Images must be scanned when they are pushed."
  }

  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].encryption_type == "AES256"
    error_message = "Without a key, images must be encrypted with ECR's own."
  }

  assert {
    condition     = !aws_ecr_repository.this.force_delete
    error_message = "A repository with images in it must not be deleted."
  }

  assert {
    condition     = length(aws_ecr_repository_policy.pull) == 0
    error_message = "No other account may pull by default."
  }

  assert {
    condition = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : [rule.selection.tagStatus, rule.selection.countType, rule.selection.countNumber]] == [
      ["tagged", "imageCountMoreThan", 1000],
      ["untagged", "sinceImagePushed", 14],
      ["tagged", "imageCountMoreThan", 30],
    ]
    error_message = "Untagged images must expire after 14 days, and all but the last 30 pushes."
  }

  assert {
    condition = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.rulePriority if try(rule.selection.tagPatternList[0], "") == "released-*"] == [
      min([for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.rulePriority]...)
    ]
    error_message = "The rule that keeps released images must come first: an image that it matches is expired by no other."
  }
}

run "takes_every_option" {
  command = plan

  variables {
    force_delete         = true
    image_tag_mutability = "MUTABLE"
    kms_key_arn          = "arn:aws:kms:ap-northeast-2:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    lifecycle_policy     = { keep_releases = 5, release_tag_patterns = ["v*"], untagged_days = 1 }
    pull_account_ids     = ["333333333333", "222222222222"]
    scan_on_push         = false
    tags                 = { Team = "mclass" }
  }

  assert {
    condition     = aws_ecr_repository.this.force_delete && aws_ecr_repository.this.image_tag_mutability == "MUTABLE" && !aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push && aws_ecr_repository.this.tags["Team"] == "mclass"
    error_message = "The repository must be as asked."
  }

  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].encryption_type == "KMS" && aws_ecr_repository.this.encryption_configuration[0].kms_key == var.kms_key_arn
    error_message = "Images must be encrypted with the given key."
  }

  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[1].selection.countNumber == 1 && jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[2].selection.countNumber == 5 && jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[2].selection.tagPatternList == ["v*"]
    error_message = "Images must expire as asked."
  }

  assert {
    condition     = jsondecode(aws_ecr_repository_policy.pull[0].policy).Statement[0].Principal.AWS == ["arn:aws:iam::222222222222:root", "arn:aws:iam::333333333333:root"]
    error_message = "The named accounts, and no others, must be let in."
  }

  assert {
    condition     = alltrue([for action in jsondecode(aws_ecr_repository_policy.pull[0].policy).Statement[0].Action : can(regex("^ecr:(Batch(Check|Get)|Get|Describe)", action))])
    error_message = "Other accounts may read and nothing else."
  }
}

run "refuses_names_keys_and_accounts_that_do_not_exist" {
  command = plan

  variables {
    image_tag_mutability = "immutable"
    kms_key_arn          = "alias/mclass"
    lifecycle_policy     = { keep_releases = 1 }
    name                 = "Mclass"
    pull_account_ids     = ["222"]
  }

  expect_failures = [var.image_tag_mutability, var.kms_key_arn, var.lifecycle_policy, var.name, var.pull_account_ids]
}

run "refuses_untagged_images_that_expire_at_once" {
  command = plan

  variables {
    lifecycle_policy = { untagged_days = 0 }
  }

  expect_failures = [var.lifecycle_policy]
}

run "refuses_a_lifecycle_without_release_tags" {
  command = plan

  variables {
    lifecycle_policy = { release_tag_patterns = [] }
  }

  expect_failures = [var.lifecycle_policy]
}

run "refuses_a_lifecycle_that_expires_what_it_keeps" {
  command = plan

  variables {
    lifecycle_policy = { release_tag_patterns = ["released-*"] }
  }

  expect_failures = [var.lifecycle_policy]
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    lifecycle_policy = { release_tag_patterns = [null] }
    pull_account_ids = [null]
    tags             = { Team = null }
  }

  expect_failures = [
    var.lifecycle_policy,
    var.pull_account_ids,
    var.tags,
  ]
}
