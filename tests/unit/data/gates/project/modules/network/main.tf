variable "flow_log" {
  type = bool
}

variable "flow_log_arn" {
  type = string
}

variable "flow_log_role_arn" {
  type = string
}

variable "zones" {
  type = set(string)
}

resource "aws_vpc" "this" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_flow_log" "this" {
  count = var.flow_log ? 1 : 0

  iam_role_arn    = var.flow_log_role_arn
  log_destination = var.flow_log_arn
  traffic_type    = "ALL"
  vpc_id          = aws_vpc.this.id
}

resource "aws_subnet" "private" {
  for_each = var.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 8, index(sort(tolist(var.zones)), each.value))
}

output "subnet_ids" {
  value = [for subnet in aws_subnet.private : subnet.id]
}

output "vpc_id" {
  value = aws_vpc.this.id
}
