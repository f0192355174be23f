# dev is cheap and thrown away at will: one NAT gateway, Spot, plain HTTP, short memory.
environment = "dev"

alb = {
  deletion_protection = false
}

autoscaling = {
  cpu_percent    = 60
  memory_percent = 75
  min            = 1
  max            = 3
}

capacity_providers = {
  FARGATE_SPOT = { weight = 1 }
}

customer_managed_key = { enabled = false }

# The guide's rolling update.
deployment = {
  minimum_healthy_percent = 50
  maximum_percent         = 200
}

desired_count = 2

logs = { retention_in_days = 7 }

network = {
  availability_zones = ["ap-northeast-2a", "ap-northeast-2c"]
  cidr_block         = "10.10.0.0/16"
  egress             = "nat"
  flow_log           = false
  single_nat_gateway = true
}

repository = {
  force_delete  = true
  keep_releases = 10
  # A release is promoted by copying what was proven here.
  pull_account_ids = ["222222222222"]
  untagged_days    = 3
}

task = {
  cpu    = 256
  memory = 512
}
