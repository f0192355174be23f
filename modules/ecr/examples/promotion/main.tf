# The account that a release is promoted to may copy it from here.
module "ecr" {
  source = "../.."

  lifecycle_policy = { keep_releases = 50 }
  name             = "mclass-server"
  pull_account_ids = ["222222222222"]
}
