data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # The id is the region's name on every supported release of the provider; `name` is deprecated in 6.x.
  region = data.aws_region.current.id

  account_statement = {
    Sid       = "AccountDelegatesToIam"
    Effect    = "Allow"
    Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }

  # The principal of CloudWatch Logs has the region and, in China, that partition's suffix:
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
  logs_principal = "logs.${local.region}.${data.aws_partition.current.dns_suffix}"

  # CloudWatch Logs names the log group in the encryption context: no other group's events can use the key.
  logs_statements = [for names in [var.log_group_names] : {
    Sid       = "LogGroupsOfThisEnvironment"
    Effect    = "Allow"
    Principal = { Service = local.logs_principal }
    Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    Resource  = "*"
    Condition = {
      ArnEquals = {
        "kms:EncryptionContext:aws:logs:arn" = [
          for name in sort(names) : "arn:${local.partition}:logs:${local.region}:${local.account_id}:log-group:${name}"
        ]
      }
    }
  } if length(names) > 0]
}

resource "aws_kms_key" "this" {
  description             = var.description
  deletion_window_in_days = var.deletion_window_in_days
  enable_key_rotation     = true
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.account_statement], local.logs_statements)
  })
  tags = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.alias}"
  target_key_id = aws_kms_key.this.key_id
}
