# terraform -chdir=terraform init -backend-config=../environments/dev/backend.hcl
bucket              = "mclass-tfstate-111111111111"
key                 = "mclass/terraform.tfstate"
region              = "ap-northeast-2"
encrypt             = true
use_lockfile        = true
allowed_account_ids = ["111111111111"]
