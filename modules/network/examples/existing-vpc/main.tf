# A VPC that somebody else made, and whose ways out are theirs.
module "network" {
  source = "../.."

  egress = "none"
  name   = "mclass"

  existing_vpc = {
    cidr_block         = "172.16.0.0/16"
    private_subnet_ids = ["subnet-0a1b2c3d4e5f60003", "subnet-0a1b2c3d4e5f60004"]
    public_subnet_ids  = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
    vpc_id             = "vpc-0a1b2c3d4e5f60000"
  }
}
