# ECS shifts the weights of rules. In some languages, AWS's page says that deployments fail on a listener with actions other than
# "forward"; the English one does not. So the default action forwards, too, although the production rule takes every request.
# https://docs.aws.amazon.com/de_de/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
resource "aws_lb_listener" "production" {
  load_balancer_arn = aws_lb.this.arn
  port              = local.production_port
  protocol          = local.protocol
  certificate_arn   = var.certificate_arn
  ssl_policy        = local.ssl_policy

  default_action {
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

  tags = var.tags
}

# Whoever knows this value can see the new version before production does. It needs no further provider, and does not change.
resource "terraform_data" "test_header" {
  input = uuid()

  lifecycle {
    ignore_changes = [input]
  }
}

# Both rules are of one listener, so that test traffic needs no port of its own. The test rule comes first, and takes requests
# with the header.
resource "aws_lb_listener_rule" "this" {
  for_each = local.rule_priorities

  listener_arn = aws_lb_listener.production.arn
  priority     = each.value

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

  dynamic "condition" {
    for_each = each.key == "test" ? ["header"] : []

    content {
      http_header {
        http_header_name = local.test_header.name
        values           = [local.test_header.value]
      }
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
  depends_on = [aws_lb_listener.production]
}
