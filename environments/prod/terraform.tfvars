# prod keeps serving and keeps its records: HTTPS, no way to the internet for tasks, own key, a year of logs.
environment = "prod"

access_logs_bucket = "mclass-logs-222222222222"
certificate_arn    = "arn:aws:acm:ap-northeast-2:222222222222:certificate/00000000-0000-4000-8000-000000000001"

# To destroy this environment, turn deletion_protection off and apply first.
alb = {
  deletion_protection = true
}

autoscaling = {
  cpu_percent         = 60
  memory_percent      = 75
  min                 = 3
  max                 = 12
  requests_per_target = 1000
}

capacity_providers = {
  FARGATE = { weight = 1 }
}

customer_managed_key = { enabled = true }

deployment = {
  minimum_healthy_percent = 100
  maximum_percent         = 200
}

desired_count = 3

logs = { retention_in_days = 365 }

network = {
  availability_zones = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"]
  cidr_block         = "10.20.0.0/16"
  egress             = "endpoints"
  flow_log           = true
}

repository = {
  force_delete  = false
  keep_releases = 50
  untagged_days = 14
}

task = {
  cpu    = 1024
  memory = 2048
}
