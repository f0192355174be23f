variable "access_logs" {
  description = "Bucket, and prefix in it, that receives the access log; null for none. The bucket's policy must let the load balancer write."
  type = object({
    bucket = string
    prefix = optional(string)
  })
  default = null

  validation {
    condition     = var.access_logs == null || try(can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.access_logs.bucket)), false)
    error_message = "access_logs.bucket must be the name of a bucket, not its ARN, for example \"mclass-logs-222222222222\"."
  }

  validation {
    condition     = !can(regex("^/|/$|AWSLogs", try(coalesce(var.access_logs.prefix), "")))
    error_message = "access_logs.prefix must neither start nor end with \"/\" nor contain \"AWSLogs\", which the load balancer adds, for example \"mclass\"."
  }
}

variable "certificate_arn" {
  description = <<-EOT
    ARN of the ACM certificate, in the region of the load balancer. With one, production listens on HTTPS and port 80
    redirects; without, it is plain HTTP.
  EOT
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[^:]+:acm:[^:]+:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = <<-EOT
      certificate_arn must be the ARN of an ACM certificate, for example
      "arn:aws:acm:ap-northeast-2:222222222222:certificate/00000000-0000-4000-8000-000000000001".
    EOT
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the load balancer. To destroy it, turn this off and apply first."
  type        = bool
  default     = true
  nullable    = false
}

variable "health_check" {
  description = <<-EOT
    Health check of both target groups. A new task takes traffic after `interval` x `healthy_threshold` seconds, a failed
    one loses it after `interval` x `unhealthy_threshold`.
  EOT
  type = object({
    healthy_threshold   = optional(number, 2)
    interval            = optional(number, 10)
    matcher             = optional(string, "200")
    path                = optional(string, "/health")
    timeout             = optional(number, 5)
    unhealthy_threshold = optional(number, 3)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.health_check.interval >= 5 && var.health_check.interval <= 300
    error_message = "health_check.interval must be from 5 to 300 s, for example 10."
  }

  validation {
    condition     = var.health_check.timeout >= 2 && var.health_check.timeout <= 120
    error_message = "health_check.timeout must be from 2 to 120 s, for example 5."
  }

  validation {
    condition     = var.health_check.timeout < var.health_check.interval
    error_message = "health_check.timeout must be below health_check.interval, for example 5 and 10."
  }

  validation {
    condition     = contains(range(2, 11), var.health_check.healthy_threshold)
    error_message = "health_check.healthy_threshold must be a whole number from 2 to 10, for example 2."
  }

  validation {
    condition     = contains(range(2, 11), var.health_check.unhealthy_threshold)
    error_message = "health_check.unhealthy_threshold must be a whole number from 2 to 10, for example 3."
  }

  validation {
    condition     = can(regex("^/\\S*$", var.health_check.path)) && length(var.health_check.path) <= 1024
    error_message = "health_check.path must start with \"/\" and be at most 1024 characters without spaces, for example \"/health\"."
  }

  validation {
    condition     = can(regex("^[2-4][0-9]{2}([,-][2-4][0-9]{2})*$", var.health_check.matcher))
    error_message = "health_check.matcher must be HTTP codes from 200 to 499, a list or a range of them, for example \"200\" or \"200-299\"."
  }
}

variable "idle_timeout" {
  description = <<-EOT
    Seconds that a connection may be idle. The service's own keep-alive must be longer, or a connection closes under a
    request and the client gets a 502.
  EOT
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.idle_timeout >= 1 && var.idle_timeout <= 4000 && floor(var.idle_timeout) == var.idle_timeout
    error_message = "idle_timeout must be a whole number of seconds from 1 to 4000, for example 60."
  }
}

variable "ingress_cidr_blocks" {
  description = "IPv4 ranges that may reach the production listener. The machine that releases must be in them to test a new version."
  type        = set(string)
  default     = ["0.0.0.0/0"]
  nullable    = false

  validation {
    condition     = alltrue([for block in var.ingress_cidr_blocks : try(cidrhost(block, 0) == split("/", block)[0], false)])
    error_message = "ingress_cidr_blocks must be IPv4 ranges that start at their own network address, for example [\"0.0.0.0/0\"] or [\"203.0.113.0/24\"]."
  }
}

variable "internal" {
  description = "Give the load balancer private addresses only."
  type        = bool
  default     = false
  nullable    = false
}

variable "name" {
  description = "Name of the application; the load balancer is \"<name>-alb\", its target groups \"<name>-blue\" and \"<name>-green\"."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}[a-z0-9]$", var.name)) && !startswith(var.name, "internal-")
    error_message = <<-EOT
      name must be 2 to 26 lowercase letters, digits and hyphens, start with a letter but not with "internal-", and not end
      with a hyphen, for example "mclass".
    EOT
  }
}

variable "production_port" {
  description = "Port of the production listener; null for 443 with a certificate and 80 without."
  type        = number
  default     = null

  validation {
    condition     = var.production_port == null || try(var.production_port >= 1 && var.production_port <= 65535, false)
    error_message = "production_port must be from 1 to 65535, for example 443."
  }

  validation {
    condition     = var.production_port == null || try(floor(var.production_port) == var.production_port, false)
    error_message = "production_port must be a whole number, for example 443."
  }

  validation {
    condition     = var.certificate_arn == null || var.production_port != 80
    error_message = "production_port must not be 80 with a certificate: port 80 redirects to it. Leave it null for 443."
  }
}

variable "rule_priority" {
  description = "Priority of the forwarding rule on its listener. Rules of a lower number, added elsewhere, are tried first."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.rule_priority >= 2 && var.rule_priority <= 50000 && floor(var.rule_priority) == var.rule_priority
    error_message = "rule_priority must be a whole number from 2 to 50000, as the rule of test traffic comes before it, for example 100."
  }
}

variable "ssl_policy" {
  description = "TLS policy of the HTTPS listener."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  nullable    = false

  validation {
    condition     = can(regex("^ELBSecurityPolicy-TLS13-1-[23]-", var.ssl_policy))
    error_message = <<-EOT
      ssl_policy must offer TLS 1.3 and nothing below 1.2, for example "ELBSecurityPolicy-TLS13-1-2-2021-06" or
      "ELBSecurityPolicy-TLS13-1-3-2021-06".
    EOT
  }
}

variable "subnet_ids" {
  description = "Subnets of the load balancer, each in its own zone."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids must name subnets in at least two zones: an Application Load Balancer does not start in one."
  }

  validation {
    condition     = alltrue([for id in var.subnet_ids : id != null])
    error_message = "subnet_ids must have no null among the ids, for example [\"subnet-0123456789abcdef0\", \"subnet-0123456789abcdef1\"]."
  }
}

variable "tags" {
  description = "Tags of every resource, added to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}

variable "target_group" {
  description = <<-EOT
    Both target groups. `deregistration_delay` must cover the longest request: a stopping task is drained for that long.
    `slow_start` is seconds of rising share for a new target, 0 for none.
  EOT
  type = object({
    deregistration_delay          = optional(number, 60)
    load_balancing_algorithm_type = optional(string, "round_robin")
    slow_start                    = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.target_group.deregistration_delay >= 0 && var.target_group.deregistration_delay <= 3600
    error_message = "target_group.deregistration_delay must be from 0 to 3600 seconds, at least the longest request, for example 60."
  }

  validation {
    condition     = floor(var.target_group.deregistration_delay) == var.target_group.deregistration_delay
    error_message = "target_group.deregistration_delay must be a whole number of seconds, for example 60."
  }

  validation {
    condition     = contains(["least_outstanding_requests", "round_robin", "weighted_random"], var.target_group.load_balancing_algorithm_type)
    error_message = "target_group.load_balancing_algorithm_type must be \"least_outstanding_requests\", \"round_robin\" or \"weighted_random\"."
  }

  validation {
    condition     = var.target_group.slow_start == 0 || (var.target_group.slow_start >= 30 && var.target_group.slow_start <= 900)
    error_message = "target_group.slow_start must be 0, or from 30 to 900 seconds, for example 30."
  }

  validation {
    condition     = var.target_group.slow_start == 0 || var.target_group.load_balancing_algorithm_type == "round_robin"
    error_message = "target_group.slow_start must be 0 with every algorithm but \"round_robin\", for example 0 with \"weighted_random\"."
  }
}

variable "test_rule_priority" {
  description = "Priority of the rule that takes test traffic; null for the one before `rule_priority`."
  type        = number
  default     = null

  validation {
    condition     = var.test_rule_priority == null || try(var.test_rule_priority >= 1 && floor(var.test_rule_priority) == var.test_rule_priority, false)
    error_message = "test_rule_priority must be a whole number from 1, for example 99."
  }

  validation {
    condition     = var.test_rule_priority == null || try(var.test_rule_priority < var.rule_priority, false)
    error_message = "test_rule_priority must be below rule_priority, so that the header is looked at first, for example 99 and 100."
  }
}

variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
  nullable    = false
}
