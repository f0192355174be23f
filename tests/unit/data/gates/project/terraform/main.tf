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

module "network" {
  source = "../modules/network"
  zones  = var.zones
}

module "service" {
  source = "../modules/service"

  access_logs_bucket = var.access_logs_bucket
  certificate_arn    = var.certificate_arn
  image_digest       = var.image_digest
  retention_days     = var.retention_days
  secure             = var.secure
  subnet_ids         = module.network.subnet_ids
  vpc_id             = module.network.vpc_id
}
