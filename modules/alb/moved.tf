# Test traffic had a listener of its own, beside the production listener.
moved {
  from = aws_lb_listener.this["production"]
  to   = aws_lb_listener.production
}

# Each rule was a resource of its own.
moved {
  from = aws_lb_listener_rule.production
  to   = aws_lb_listener_rule.this["production"]
}

moved {
  from = aws_lb_listener_rule.test
  to   = aws_lb_listener_rule.this["test"]
}
