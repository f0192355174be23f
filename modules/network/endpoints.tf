locals {
  create_endpoints    = local.create && var.egress == "endpoints"
  interface_endpoints = local.create_endpoints ? var.interface_endpoints : []

  # In China, the names of some services begin with "cn.", by no rule: https://github.com/aws/aws-cdk/pull/16139
  prefixed_in_china = [
    "application-autoscaling", "athena", "autoscaling", "cloudformation", "ec2", "ecr.api", "ecr.dkr", "elasticfilesystem",
    "execute-api", "kinesis-streams", "lambda", "monitoring", "rds", "sqs", "states", "sts", "xray",
  ]
  endpoint_prefixes = {
    for service in local.interface_endpoints : service =>
    startswith(local.region, "cn-") && contains(local.prefixed_in_china, service) ? "cn.com.amazonaws" : "com.amazonaws"
  }
}

resource "aws_security_group" "endpoints" {
  count = local.create_endpoints ? 1 : 0

  name        = "${var.name}-endpoints"
  description = "Interface endpoints of ${var.name}: HTTPS from inside the VPC"
  vpc_id      = aws_vpc.this[0].id
  tags        = merge(var.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = local.create_endpoints ? local.subnet_cidrs : {}

  security_group_id = aws_security_group.endpoints[0].id
  description       = "HTTPS from the private subnet in ${each.key}"
  cidr_ipv4         = each.value.private
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
  tags              = var.tags
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_endpoints

  vpc_id              = aws_vpc.this[0].id
  vpc_endpoint_type   = "Interface"
  service_name        = "${local.endpoint_prefixes[each.key]}.${local.region}.${each.key}"
  private_dns_enabled = true
  security_group_ids  = [aws_security_group.endpoints[0].id]
  subnet_ids          = local.private_subnet_ids
  tags                = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

# Image layers come from S3: without this way to it, a pull through the ECR endpoints stops half-way.
resource "aws_vpc_endpoint" "s3" {
  count = local.create_endpoints ? 1 : 0

  vpc_id            = aws_vpc.this[0].id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${local.region}.s3"
  route_table_ids   = [for zone in local.zones : aws_route_table.private[zone].id]
  tags              = merge(var.tags, { Name = "${var.name}-s3" })
}
