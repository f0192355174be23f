module "kms" {
  source = "../.."

  alias           = "mclass"
  log_group_names = ["/ecs/mclass-task"]
}
