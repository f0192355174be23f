# Both halves of the way from the load balancer are here, so that neither can be forgotten. They cover every port: while one
# version replaces another that listens elsewhere, and for a rollback to it, both ports must be open. Only the load balancer
# comes in, and it asks a task on the port that the task is registered with alone.
resource "aws_security_group" "this" {
  name        = "${var.name}-service"
  description = "Tasks of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-service" })
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  security_group_id            = aws_security_group.this.id
  description                  = "Requests and health checks from the load balancer"
  referenced_security_group_id = var.load_balancer_security_group_id
  from_port                    = 0
  to_port                      = 65535
  ip_protocol                  = "tcp"
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "from_load_balancer" {
  security_group_id            = var.load_balancer_security_group_id
  description                  = "Requests and health checks to the tasks of ${var.name}"
  referenced_security_group_id = aws_security_group.this.id
  from_port                    = 0
  to_port                      = 65535
  ip_protocol                  = "tcp"
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = var.egress

  security_group_id            = aws_security_group.this.id
  description                  = each.value.description
  cidr_ipv4                    = each.value.cidr_ipv4
  prefix_list_id               = each.value.prefix_list_id
  referenced_security_group_id = each.value.security_group_id
  from_port                    = each.value.port
  to_port                      = each.value.port
  ip_protocol                  = "tcp"
  tags                         = var.tags
}
