variable "access_logs_bucket" {
  description = "Bucket that receives the load balancer's access log; null for none. It exists before, and its policy lets the load balancer write."
  type        = string
  default     = null
}

variable "account_id" {
  description = "Account that the environment lives in. When given, the provider refuses every other account."
  type        = string
  default     = null

  validation {
    condition     = var.account_id == null || can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be twelve digits, for example \"111111111111\"."
  }
}

variable "alb" {
  description = <<-EOT
    The load balancer: who may reach it, whether it is internal, whether it refuses deletion, the seconds a connection
    may be idle, its TLS policy.
  EOT
  type = object({
    deletion_protection = optional(bool, true)
    idle_timeout        = optional(number, 60)
    ingress_cidr_blocks = optional(set(string))
    internal            = optional(bool, false)
    ssl_policy          = optional(string)
  })
  default  = {}
  nullable = false
}

variable "autoscaling" {
  description = <<-EOT
    Bounds of the number of tasks, and the load that target tracking keeps: average CPU and memory in percent, and requests
    per target and minute. A load that is left out is not tracked. The bounds do not depend on the image.
  EOT
  type = object({
    cpu_percent         = optional(number)
    max                 = optional(number, 6)
    memory_percent      = optional(number)
    min                 = optional(number, 2)
    requests_per_target = optional(number)
    scale_in_cooldown   = optional(number)
    scale_out_cooldown  = optional(number)
  })
  default  = { cpu_percent = 60, memory_percent = 75 }
  nullable = false
}

variable "capacity_providers" {
  description = "How tasks are shared between FARGATE and FARGATE_SPOT: the first `base` tasks, and then by `weight`."
  type = map(object({
    base   = optional(number)
    weight = optional(number)
  }))
  default  = { FARGATE = {} }
  nullable = false
}

variable "certificate_arn" {
  description = "ARN of the ACM certificate for HTTPS; null for plain HTTP."
  type        = string
  default     = null
}

variable "container" {
  description = <<-EOT
    The service's container: its name, null for "<name>-server", the port it listens on, the numeric user it runs as, whether
    its root file system is read-only, and the paths that stay writable, each of which the image must declare as a VOLUME that
    the user owns. A changed name or port takes effect with the next release, without downtime.
  EOT
  type = object({
    name                     = optional(string)
    port                     = optional(number, 3000)
    readonly_root_filesystem = optional(bool)
    user                     = optional(string)
    writable_paths           = optional(set(string))
  })
  default  = {}
  nullable = false
}

variable "container_insights" {
  description = "CloudWatch Container Insights of the cluster: \"enabled\", \"enhanced\" or \"disabled\"."
  type        = string
  default     = "enabled"
  nullable    = false
}

variable "customer_managed_key" {
  description = "Whether logs and images are encrypted with a key of this account instead of AWS's own, and the days between the key's deletion and its end."
  type = object({
    deletion_window_in_days = optional(number, 30)
    enabled                 = optional(bool, true)
  })
  default  = {}
  nullable = false
}

variable "deployment" {
  description = <<-EOT
    Share of the desired tasks that a rolling deployment keeps healthy at least and runs at most, and whether ECS moves
    tasks back into balance over the zones.
  EOT
  type = object({
    availability_zone_rebalancing = optional(bool, true)
    maximum_percent               = optional(number, 200)
    minimum_healthy_percent       = optional(number, 100)
  })
  default  = {}
  nullable = false
}

variable "desired_count" {
  description = "Tasks that the first release raises the service to. Autoscaling owns the number after that."
  type        = number
  default     = 2
  nullable    = false
}

variable "enable_execute_command" {
  description = "Allow `aws ecs execute-command`, a shell in a running container; needs container.readonly_root_filesystem = false."
  type        = bool
  default     = false
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, as its folder under environments/ is called."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.environment))
    error_message = "environment must be at most 31 lowercase letters, digits and hyphens and start with a letter, for example \"dev\"."
  }
}

variable "environment_variables" {
  description = <<-EOT
    Environment variables of the container. What is secret belongs into `secrets`; the times that the service must know come
    from `alb` and `shutdown`.
  EOT
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment_variables), keys(local.service_times))) == 0
    error_message = <<-EOT
      environment_variables must not name ${join(", ", keys(local.service_times))}: they are made of alb.idle_timeout and
      shutdown. For example shutdown = { lame_duck = 5 } instead of MCLASS_LAME_DUCK_SECONDS.
    EOT
  }
}

variable "health_check" {
  description = <<-EOT
    How the load balancer and ECS find out that a task serves. `start_period` is the time a task may take to start,
    `grace_period` the time for which ECS ignores the load balancer's verdict on a new task. `container_command` replaces
    the request that is made inside the container.
  EOT
  type = object({
    container_command   = optional(list(string))
    grace_period        = optional(number, 60)
    healthy_threshold   = optional(number, 2)
    interval            = optional(number, 10)
    path                = optional(string, "/health")
    start_period        = optional(number, 10)
    timeout             = optional(number, 5)
    unhealthy_threshold = optional(number, 3)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.health_check.grace_period >= var.health_check.start_period + var.health_check.interval * var.health_check.healthy_threshold
    error_message = <<-EOT
      health_check.grace_period must cover start_period + interval x healthy_threshold, or ECS kills tasks that are about to
      be healthy, for example 60 with 10, 10 and 2.
    EOT
  }
}

variable "image_digest" {
  description = "Digest of the image to run; null before the first image, which leaves the service at 0 tasks."
  type        = string
  default     = null
}

variable "logs" {
  description = "Days that log events are kept (0 for ever), and whether log groups outlive the environment."
  type = object({
    retention_in_days = optional(number, 365)
    skip_destroy      = optional(bool, false)
  })
  default  = {}
  nullable = false
}

variable "name" {
  description = "Name of the application, from which every resource has its own. Environments that share an account need different ones."
  type        = string
  default     = "mclass"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 26 lowercase letters, digits and hyphens, start with a letter and not end with a hyphen, for example \"mclass\"."
  }
}

variable "network" {
  description = <<-EOT
    The VPC and the private subnets' way to AWS: "endpoints", "nat" or "none"; or an existing VPC, whose ways out are its
    own (egress = "none").
  EOT
  type = object({
    availability_zones = optional(list(string))
    cidr_block         = optional(string, "10.0.0.0/16")
    egress             = optional(string, "endpoints")
    existing_vpc = optional(object({
      cidr_block         = string
      private_subnet_ids = list(string)
      public_subnet_ids  = list(string)
      vpc_id             = string
    }))
    flow_log            = optional(bool, true)
    interface_endpoints = optional(set(string), ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm"])
    single_nat_gateway  = optional(bool, false)
  })
  default  = {}
  nullable = false
}

variable "region" {
  description = "Region that the environment lives in."
  type        = string
  default     = "ap-northeast-2"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region must be the name of a region, for example \"ap-northeast-2\"."
  }
}

variable "repository" {
  description = <<-EOT
    The image repository: how many releases it keeps, the days that untagged images live, the accounts that may pull, and
    whether it may be deleted with images in it.
  EOT
  type = object({
    force_delete     = optional(bool, false)
    keep_releases    = optional(number)
    pull_account_ids = optional(set(string))
    untagged_days    = optional(number)
  })
  default  = {}
  nullable = false
}

variable "secret_kms_key_arns" {
  description = "ARNs of the customer-managed keys that encrypt the secrets."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "secrets" {
  description = "Environment variables whose value is a secret: the ARN of a Secrets Manager secret or of a Systems Manager parameter."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "shutdown" {
  description = <<-EOT
    How a task ends, in seconds: the load balancer drains it for `deregistration_delay`; after SIGTERM it goes on serving
    for `lame_duck`, finishes what is in flight within `longest_request`, and is killed after `stop_timeout`, at least 2 s
    more than both together. The service is told all but the first.
  EOT
  type = object({
    deregistration_delay = optional(number, 60)
    lame_duck            = optional(number, 10)
    longest_request      = optional(number, 30)
    stop_timeout         = optional(number, 60)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.shutdown.deregistration_delay >= var.shutdown.longest_request
    error_message = "shutdown.deregistration_delay must cover shutdown.longest_request, or the load balancer cuts requests off, for example 60 and 30."
  }
}

variable "tags" {
  description = "Tags of every resource, beside Application, Environment and ManagedBy."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}

variable "task" {
  description = <<-EOT
    Size of the task: CPU units (1024 are one vCPU), memory in MiB, the processor architecture, and the ephemeral storage in
    GiB (null for Fargate's 20).
  EOT
  type = object({
    cpu                   = optional(number)
    cpu_architecture      = optional(string)
    ephemeral_storage_gib = optional(number)
    memory                = optional(number)
  })
  default  = {}
  nullable = false
}

variable "task_role_policy_arns" {
  description = "Policies of the task role, by a name of your choice: what the service itself may do in AWS."
  type        = map(string)
  default     = {}
  nullable    = false
}
