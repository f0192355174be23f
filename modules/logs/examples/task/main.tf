module "logs" {
  source = "../.."

  name              = "/ecs/mclass-task"
  retention_in_days = 30
}
