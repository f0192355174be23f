# A listener answers by itself only what no rule takes. Its rule forwards everything: the rule, and not the listener's
# default action, is what ECS rewrites when it shifts traffic.
resource "aws_lb_listener" "this" {
  for_each = local.listener_ports

  load_balancer_arn = aws_lb.this.arn
  port              = each.value
  protocol          = local.protocol
  certificate_arn   = var.certificate_arn
  ssl_policy        = local.ssl_policy

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "No rule matches this request."
      status_code  = "503"
    }
  }

  tags = var.tags
}

resource "aws_lb_listener_rule" "this" {
  for_each = local.listener_ports

  listener_arn = aws_lb_listener.this[each.key].arn
  priority     = var.rule_priority

  action {
    type = "forward"

    forward {
      dynamic "target_group" {
        for_each = local.weights

        content {
          arn    = aws_lb_target_group.this[target_group.key].arn
          weight = target_group.value
        }
      }
    }
  }

  condition {
    path_pattern {
      values = ["/*"]
    }
  }

  tags = merge(var.tags, { Name = "${var.name}-${each.key}" })

  lifecycle {
    # ECS moves the weights. A plan that put them back could send production to an empty group.
    ignore_changes = [action]
  }
}

resource "aws_lb_listener" "redirect" {
  count = local.https ? 1 : 0

  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port        = tostring(local.production_port)
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }

  tags = var.tags

  # An environment that gets its certificate later must first free port 80.
  depends_on = [aws_lb_listener.this]
}
