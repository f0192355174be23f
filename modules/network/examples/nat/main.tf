# One NAT gateway for all zones: the cheapest way out, for an environment that may lose it.
module "network" {
  source = "../.."

  availability_zones = ["ap-northeast-2a", "ap-northeast-2c"]
  cidr_block         = "10.10.0.0/16"
  egress             = "nat"
  name               = "mclass"
  single_nat_gateway = true
}
