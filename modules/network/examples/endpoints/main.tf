# Tasks reach AWS through VPC endpoints and never the internet.
module "network" {
  source = "../.."

  availability_zones = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"]
  cidr_block         = "10.20.0.0/16"
  name               = "mclass"
}
