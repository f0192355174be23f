# No egress here: whoever is to receive traffic opens the way to itself.
resource "aws_security_group" "this" {
  name        = "${var.name}-alb"
  description = "Load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-alb" })
}

resource "aws_vpc_security_group_ingress_rule" "production" {
  for_each = var.ingress_cidr_blocks

  security_group_id = aws_security_group.this.id
  description       = "Production traffic from ${each.key}"
  cidr_ipv4         = each.key
  from_port         = local.production_port
  to_port           = local.production_port
  ip_protocol       = "tcp"
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "redirect" {
  for_each = local.https ? var.ingress_cidr_blocks : []

  security_group_id = aws_security_group.this.id
  description       = "Redirect to HTTPS for ${each.key}"
  cidr_ipv4         = each.key
  from_port         = 80
  to_port           = 80
  ip_protocol       = "tcp"
  tags              = var.tags
}
