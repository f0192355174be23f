# HTTPS for everybody.
module "alb" {
  source = "../.."

  access_logs     = { bucket = "mclass-logs-222222222222", prefix = "mclass" }
  certificate_arn = "arn:aws:acm:ap-northeast-2:222222222222:certificate/00000000-0000-4000-8000-000000000001"
  name            = "mclass"
  subnet_ids      = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
  vpc_id          = "vpc-0a1b2c3d4e5f60000"
}
