# Two tasks on Fargate, whatever comes on top of them on Spot; scaled by the requests of each task.
module "service" {
  source = "../.."

  capacity_providers              = { FARGATE = { base = 2, weight = 1 }, FARGATE_SPOT = { weight = 3 } }
  container                       = { name = "mclass-server" }
  egress                          = { https = { cidr_ipv4 = "0.0.0.0/0", description = "HTTPS" } }
  execute_command_log             = { log_group_name = "/ecs/mclass-exec" }
  image_digest                    = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  load_balancer_security_group_id = "sg-0a1b2c3d4e5f60000"
  log_group_arn                   = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task"
  log_group_name                  = "/ecs/mclass-task"
  name                            = "mclass"
  repository_arn                  = "arn:aws:ecr:ap-northeast-2:111111111111:repository/mclass-server"
  repository_url                  = "111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server"
  secrets                         = { DATABASE_URL = "arn:aws:secretsmanager:ap-northeast-2:111111111111:secret:mclass/database-AbCdEf" }
  subnet_ids                      = ["subnet-0a1b2c3d4e5f60003", "subnet-0a1b2c3d4e5f60004"]
  target_group_arn                = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass-blue/73e2d6bc24d8a067"
  task                            = { cpu = 512, memory = 1024 }
  vpc_id                          = "vpc-0a1b2c3d4e5f60000"

  autoscaling = {
    cpu_percent = 60
    max         = 10
    min         = 2
    requests = {
      per_target = 1000
      target_group_arn_suffixes = {
        blue  = "targetgroup/mclass-blue/73e2d6bc24d8a067"
        green = "targetgroup/mclass-green/943f017f100becff"
      }
    }
  }
}
