# terraform -chdir=terraform init -backend-config=../environments/prod/backend.hcl
bucket              = "mclass-tfstate-222222222222"
key                 = "mclass/terraform.tfstate"
region              = "ap-northeast-2"
encrypt             = true
use_lockfile        = true
allowed_account_ids = ["222222222222"]
