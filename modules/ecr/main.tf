data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  # As ECR will name it: written out, a plan knows the image of a task before the repository exists, and policy checks see
  # it. The region's id is its name on every supported release of the provider; `name` is deprecated in 6.x.
  registry = "${data.aws_caller_identity.current.account_id}.dkr.ecr.${data.aws_region.current.id}.${data.aws_partition.current.dns_suffix}"
  url      = "${local.registry}/${var.name}"

  released_tag_pattern = "released-*"

  # An image that matches the tags of a rule is expired by no rule after it. So the first rule keeps what serves, and what a
  # rollback would need: the wrapper puts the tag before a release changes anything, and takes it away when nothing needs the
  # image. Its own count is out of reach; ECR has no rule without one, and counts by the time of the push, not of the release.
  # ECR wants every rule for tagged images to name its tags.
  lifecycle_rules = [
    {
      rulePriority = 1
      description  = "Keep what serves or may serve again"
      selection = {
        tagStatus      = "tagged"
        tagPatternList = [local.released_tag_pattern]
        countType      = "imageCountMoreThan"
        countNumber    = 1000
      }
      action = { type = "expire" }
    },
    {
      rulePriority = 2
      description  = "Expire untagged images after ${var.lifecycle_policy.untagged_days} days"
      selection = {
        tagStatus   = "untagged"
        countType   = "sinceImagePushed"
        countUnit   = "days"
        countNumber = var.lifecycle_policy.untagged_days
      }
      action = { type = "expire" }
    },
    {
      rulePriority = 3
      description  = "Keep the last ${var.lifecycle_policy.keep_releases} pushes"
      selection = {
        tagStatus      = "tagged"
        tagPatternList = var.lifecycle_policy.release_tag_patterns
        countType      = "imageCountMoreThan"
        countNumber    = var.lifecycle_policy.keep_releases
      }
      action = { type = "expire" }
    },
  ]
}

resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = var.image_tag_mutability
  force_delete         = var.force_delete

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }

  image_scanning_configuration {
    scan_on_push = var.scan_on_push
  }

  tags = var.tags
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy     = jsonencode({ rules = local.lifecycle_rules })
}

resource "aws_ecr_repository_policy" "pull" {
  count = length(var.pull_account_ids) > 0 ? 1 : 0

  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "PullFromOtherAccounts"
      Effect    = "Allow"
      Principal = { AWS = [for id in sort(var.pull_account_ids) : "arn:${data.aws_partition.current.partition}:iam::${id}:root"] }
      Action = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
      ]
    }]
  })
}
