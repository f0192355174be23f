terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region                      = "ap-northeast-2"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

resource "aws_kms_key" "this" {
  count = var.secure ? 1 : 0

  description         = "Encrypts logs and images"
  enable_key_rotation = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "kms:*"
      Resource  = "*"
      Principal = { AWS = "arn:aws:iam::111111111111:root" }
    }]
  })
}

resource "aws_ssm_parameter" "api_key" {
  name   = "/mclass/api-key"
  type   = "SecureString"
  key_id = one(aws_kms_key.this[*].arn)
  value  = var.api_key
}

module "network" {
  source = "../modules/network"

  flow_log_role_arn = "arn:aws:iam::111111111111:role/flow-log"
  flow_log_arn      = var.secure ? module.service.log_group_arn : null
  flow_log          = var.secure
  zones             = var.zones
}

module "service" {
  source = "../modules/service"

  access_logs_bucket = var.access_logs_bucket
  certificate_arn    = var.certificate_arn
  image_digest       = var.image_digest
  kms_key            = var.secure ? { arn = aws_kms_key.this[0].arn } : null
  retention_days     = var.retention_days
  secure             = var.secure
  subnet_ids         = module.network.subnet_ids
  vpc_id             = module.network.vpc_id
}
