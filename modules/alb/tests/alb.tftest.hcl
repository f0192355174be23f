mock_provider "aws" {
  mock_resource "aws_lb" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:loadbalancer/app/mclass-alb/50dc6c495c0c9188"
      arn_suffix = "app/mclass-alb/50dc6c495c0c9188"
      dns_name   = "mclass-alb-123.ap-northeast-2.elb.amazonaws.com"
    }
  }

  mock_resource "aws_lb_target_group" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass/73e2d6bc24d8a067"
      arn_suffix = "targetgroup/mclass/73e2d6bc24d8a067"
    }
  }

  mock_resource "aws_lb_listener" {
    defaults = {
      arn = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:listener/app/mclass-alb/50dc6c495c0c9188/f2f7dc8efc522ab2"
    }
  }
}

variables {
  name       = "mclass"
  subnet_ids = ["subnet-00000000000000001", "subnet-00000000000000002"]
  vpc_id     = "vpc-00000000000000001"
}

run "is_a_protected_internet_load_balancer_on_plain_http_by_default" {
  command = apply

  assert {
    condition     = aws_lb.this.name == "mclass-alb" && !aws_lb.this.internal && aws_lb.this.load_balancer_type == "application"
    error_message = "It must be an Application Load Balancer that faces the internet."
  }

  assert {
    condition     = aws_lb.this.enable_deletion_protection && aws_lb.this.drop_invalid_header_fields && aws_lb.this.idle_timeout == 60 && aws_lb.this.desync_mitigation_mode == "defensive"
    error_message = "It must refuse deletion, drop invalid headers and keep connections for 60 s."
  }

  assert {
    condition     = length(aws_lb.this.access_logs) == 0
    error_message = "Without a bucket there must be no access log."
  }

  assert {
    condition     = toset(keys(aws_lb_target_group.this)) == toset(["blue", "green"]) && alltrue([for colour, group in aws_lb_target_group.this : group.name == "mclass-${colour}"])
    error_message = "There must be a blue and a green target group."
  }

  assert {
    condition = alltrue([for group in aws_lb_target_group.this :
      group.target_type == "ip" && tonumber(group.deregistration_delay) == 60 && group.health_check[0].path == "/health" && group.health_check[0].matcher == "200"
    ])
    error_message = "Both groups must hold addresses of tasks, drain for 60 s and check /health."
  }

  assert {
    condition     = aws_lb_listener.production.port == 80 && aws_lb_listener.production.protocol == "HTTP"
    error_message = "Without a certificate production must listen on plain HTTP."
  }

  assert {
    condition     = length(aws_lb_listener.redirect) == 0 && length(aws_vpc_security_group_ingress_rule.redirect) == 0 && output.redirect_listener_arn == null
    error_message = "Without a certificate there must be no redirect."
  }

  assert {
    condition     = aws_lb_listener.production.default_action[0].type == "forward"
    error_message = "The production listener must have no action but forward: with another one, deployments that shift traffic may fail."
  }

  assert {
    condition = alltrue([for rule in aws_lb_listener_rule.this :
      { for group in rule.action[0].forward[0].target_group : tostring(group.weight) => group.arn } == { "100" = aws_lb_target_group.this["blue"].arn, "0" = aws_lb_target_group.this["green"].arn }
    ])
    error_message = "Both rules must start with everything on blue and nothing on green."
  }

  assert {
    condition     = aws_lb_listener_rule.this["test"].listener_arn == aws_lb_listener_rule.this["production"].listener_arn && aws_lb_listener_rule.this["test"].priority == 99 && aws_lb_listener_rule.this["production"].priority == 100
    error_message = "The test rule must be on the production listener, just before the production rule."
  }

  assert {
    condition     = [for condition in aws_lb_listener_rule.this["test"].condition : one(condition.http_header).http_header_name if length(condition.http_header) > 0] == ["X-Test-Traffic"]
    error_message = "The test rule must take requests with the header alone."
  }

  assert {
    condition = nonsensitive([for condition in aws_lb_listener_rule.this["test"].condition :
      one(one(condition.http_header).values) == output.test_header.value && can(regex("^[0-9a-f-]{36}$", output.test_header.value)) if length(condition.http_header) > 0
    ]) == [true]
    error_message = "The header's value must be one that nobody guesses, without the wildcards * and ?."
  }

  assert {
    condition     = issensitive(output.test_header.value)
    error_message = "The header's value must be kept secret."
  }

  assert {
    condition     = tolist(one(aws_lb_listener_rule.this["production"].condition).path_pattern[0].values)[0] == "/*"
    error_message = "The production rule must take every request."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.production : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}/${rule.ip_protocol}"] == ["0.0.0.0/0 80-80/tcp"]
    error_message = "The internet must reach production, and nothing else."
  }

  assert {
    condition     = output.url == "http://mclass-alb-123.ap-northeast-2.elb.amazonaws.com"
    error_message = "The URL must have the listener's scheme and, where it is not the scheme's own, port."
  }
}

run "serves_https_and_redirects_to_it_with_a_certificate" {
  command = apply

  variables {
    certificate_arn = "arn:aws:acm:ap-northeast-2:111111111111:certificate/00000000-0000-4000-8000-000000000001"
  }

  assert {
    condition     = aws_lb_listener.production.protocol == "HTTPS" && aws_lb_listener.production.certificate_arn == var.certificate_arn && aws_lb_listener.production.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    error_message = "Production must speak TLS 1.2 or 1.3 with the certificate."
  }

  assert {
    condition     = aws_lb_listener.production.port == 443
    error_message = "Production must listen on 443."
  }

  assert {
    condition     = aws_lb_listener.redirect[0].port == 80 && aws_lb_listener.redirect[0].default_action[0].redirect[0].protocol == "HTTPS" && aws_lb_listener.redirect[0].default_action[0].redirect[0].port == "443" && aws_lb_listener.redirect[0].default_action[0].redirect[0].status_code == "HTTP_301"
    error_message = "Port 80 must redirect to HTTPS for good."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.production : rule.from_port] == [443] && [for rule in aws_vpc_security_group_ingress_rule.redirect : rule.from_port] == [80]
    error_message = "443 and the redirect's 80 must be reachable."
  }

  assert {
    condition     = startswith(output.url, "https://") && !endswith(output.url, ":443") && output.redirect_listener_arn != null
    error_message = "The URL must be an HTTPS one."
  }
}

run "takes_every_option" {
  command = apply

  variables {
    access_logs         = { bucket = "mclass-logs-111111111111", prefix = "mclass" }
    certificate_arn     = "arn:aws:acm:ap-northeast-2:111111111111:certificate/00000000-0000-4000-8000-000000000001"
    deletion_protection = false
    idle_timeout        = 120
    ingress_cidr_blocks = ["10.0.0.0/8", "192.168.0.0/16"]
    internal            = true
    production_port     = 8080
    rule_priority       = 10
    ssl_policy          = "ELBSecurityPolicy-TLS13-1-3-2021-06"
    tags                = { Team = "mclass" }
    test_rule_priority  = 5

    health_check = {
      healthy_threshold   = 3
      interval            = 15
      matcher             = "200-299"
      path                = "/ready"
      timeout             = 6
      unhealthy_threshold = 4
    }

    target_group = {
      deregistration_delay = 120
      slow_start           = 30
    }
  }

  assert {
    condition     = aws_lb.this.access_logs[0].bucket == "mclass-logs-111111111111" && aws_lb.this.access_logs[0].enabled && aws_lb.this.access_logs[0].prefix == "mclass"
    error_message = "Accesses must be logged to the bucket."
  }

  assert {
    condition     = aws_lb.this.internal && !aws_lb.this.enable_deletion_protection && aws_lb.this.idle_timeout == 120 && aws_lb.this.tags["Team"] == "mclass"
    error_message = "The load balancer must be internal, unprotected and patient, as asked."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.production) == 2 && aws_lb_listener.production.port == 8080 && aws_lb_listener_rule.this["test"].priority == 5 && aws_lb_listener_rule.this["production"].priority == 10
    error_message = "Port, ranges and priorities must be those that were asked for."
  }

  assert {
    condition     = aws_lb_listener.redirect[0].default_action[0].redirect[0].port == "8080" && aws_lb_listener.production.ssl_policy == "ELBSecurityPolicy-TLS13-1-3-2021-06"
    error_message = "The redirect must lead to the production port, with the given TLS policy."
  }

  assert {
    condition = alltrue([for group in aws_lb_target_group.this :
      tonumber(group.deregistration_delay) == 120 && group.slow_start == 30 && group.health_check[0].interval == 15 && group.health_check[0].healthy_threshold == 3 && group.health_check[0].timeout == 6 && group.health_check[0].unhealthy_threshold == 4 && group.health_check[0].path == "/ready" && group.health_check[0].matcher == "200-299"
    ])
    error_message = "Both target groups must be as asked."
  }

  assert {
    condition     = output.url == "https://mclass-alb-123.ap-northeast-2.elb.amazonaws.com:8080"
    error_message = "A port that is not HTTPS's own must stand in the URL."
  }
}

run "refuses_values_that_the_load_balancer_would_refuse" {
  command = plan

  variables {
    access_logs         = { bucket = "arn:aws:s3:::logs" }
    certificate_arn     = "00000000-0000-4000-8000-000000000001"
    health_check        = { interval = 5, timeout = 5 }
    idle_timeout        = 4001
    ingress_cidr_blocks = ["10.0.0.1/8"]
    name                = "a-name-that-is-longer-than-26"
    rule_priority       = 1
    ssl_policy          = "ELBSecurityPolicy-2016-08"
    subnet_ids          = ["subnet-00000000000000001"]
    target_group        = { slow_start = 10 }
  }

  expect_failures = [
    var.access_logs,
    var.certificate_arn,
    var.health_check,
    var.idle_timeout,
    var.ingress_cidr_blocks,
    var.name,
    var.rule_priority,
    var.ssl_policy,
    var.subnet_ids,
    var.target_group,
  ]
}

run "refuses_a_test_rule_after_production_and_settings_at_odds" {
  command = plan

  variables {
    access_logs        = { bucket = "mclass-logs-111111111111", prefix = "/mclass" }
    certificate_arn    = "arn:aws:acm:ap-northeast-2:111111111111:certificate/00000000-0000-4000-8000-000000000001"
    health_check       = { unhealthy_threshold = 1 }
    name               = "internal-mclass"
    target_group       = { load_balancing_algorithm_type = "least_outstanding_requests", slow_start = 30 }
    test_rule_priority = 100
  }

  expect_failures = [
    var.access_logs,
    var.health_check,
    var.name,
    var.target_group,
    var.test_rule_priority,
  ]
}

run "refuses_health_checks_and_target_groups_out_of_range" {
  command = plan

  variables {
    health_check    = { path = "health" }
    production_port = 65536
    target_group    = { deregistration_delay = 3601 }
  }

  expect_failures = [var.health_check, var.production_port, var.target_group]
}

run "refuses_a_health_check_more_often_than_every_5_s" {
  command = plan

  variables {
    health_check    = { interval = 4, timeout = 2 }
    production_port = 80.5
    target_group    = { deregistration_delay = 60.5 }
  }

  expect_failures = [var.health_check, var.production_port, var.target_group]
}

run "refuses_a_health_check_that_waits_for_minutes" {
  command = plan

  variables {
    health_check = { interval = 300, timeout = 121 }
  }

  expect_failures = [var.health_check]
}

run "refuses_half_a_health_check_and_half_a_priority" {
  command = plan

  variables {
    health_check       = { healthy_threshold = 2.5 }
    test_rule_priority = 0.5
  }

  expect_failures = [var.health_check, var.test_rule_priority]
}

run "refuses_a_matcher_that_does_not_exist" {
  command = plan

  variables {
    health_check = { matcher = "5xx" }
  }

  expect_failures = [var.health_check]
}

run "refuses_an_unknown_balancing_algorithm" {
  command = plan

  variables {
    target_group = { load_balancing_algorithm_type = "random" }
  }

  expect_failures = [var.target_group]
}

run "refuses_production_on_the_port_that_redirects_to_it" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:ap-northeast-2:111111111111:certificate/00000000-0000-4000-8000-000000000001"
    production_port = 80
  }

  expect_failures = [var.production_port]
}

run "refuses_the_arn_of_a_bucket_for_its_name" {
  command = plan

  variables {
    access_logs = { bucket = "arn:aws:s3:::mclass-logs-222222222222", prefix = "mclass" }
  }

  expect_failures = [var.access_logs]
}

run "takes_a_bucket_without_a_prefix" {
  command = plan

  variables {
    access_logs = { bucket = "mclass-logs-222222222222" }
  }

  assert {
    condition     = aws_lb.this.access_logs[0].bucket == "mclass-logs-222222222222" && aws_lb.this.access_logs[0].prefix == null
    error_message = "A bucket may be given to the access log alone."
  }
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    ingress_cidr_blocks = [null]
    subnet_ids          = ["subnet-00000000000000001", null]
    tags                = { Team = null }
  }

  expect_failures = [
    var.ingress_cidr_blocks,
    var.subnet_ids,
    var.tags,
  ]
}
