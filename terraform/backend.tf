# The environment's backend.hcl says where: terraform init -backend-config=../environments/dev/backend.hcl
terraform {
  backend "s3" {}
}
