# Each listener and each rule was a resource of its own.
moved {
  from = aws_lb_listener.production
  to   = aws_lb_listener.this["production"]
}

moved {
  from = aws_lb_listener.test
  to   = aws_lb_listener.this["test"]
}

moved {
  from = aws_lb_listener_rule.production
  to   = aws_lb_listener_rule.this["production"]
}

moved {
  from = aws_lb_listener_rule.test
  to   = aws_lb_listener_rule.this["test"]
}
