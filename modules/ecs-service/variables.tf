variable "autoscaling" {
  description = <<-EOT
    Bounds of the number of tasks, and the load that target tracking keeps: average CPU and memory in percent, and requests
    per target and minute. A load that is left out is not tracked. Scale-out waits `scale_out_cooldown` seconds, scale-in
    `scale_in_cooldown`.
  EOT
  type = object({
    cpu_percent    = optional(number)
    max            = optional(number, 6)
    memory_percent = optional(number)
    min            = optional(number, 2)
    requests = optional(object({
      per_target                = number
      target_group_arn_suffixes = map(string)
    }))
    scale_in_cooldown  = optional(number, 300)
    scale_out_cooldown = optional(number, 60)
  })
  default  = { cpu_percent = 60, memory_percent = 75 }
  nullable = false

  validation {
    condition     = var.autoscaling.min >= 1 && floor(var.autoscaling.min) == var.autoscaling.min
    error_message = "autoscaling.min must be a whole number of at least 1, for example 2."
  }

  validation {
    condition     = var.autoscaling.max >= var.autoscaling.min && floor(var.autoscaling.max) == var.autoscaling.max
    error_message = "autoscaling.max must be a whole number that is not below autoscaling.min, for example 6 with 2."
  }

  validation {
    condition     = var.autoscaling.cpu_percent == null || try(var.autoscaling.cpu_percent >= 10 && var.autoscaling.cpu_percent <= 90, false)
    error_message = "autoscaling.cpu_percent must be from 10 to 90, or null: above that, what arrives while a task starts has no room. For example 60."
  }

  validation {
    condition     = var.autoscaling.memory_percent == null || try(var.autoscaling.memory_percent >= 10 && var.autoscaling.memory_percent <= 90, false)
    error_message = "autoscaling.memory_percent must be from 10 to 90, or null: above that, what arrives while a task starts has no room. For example 75."
  }

  validation {
    condition     = var.autoscaling.requests == null || try(var.autoscaling.requests.per_target > 0, false)
    error_message = "autoscaling.requests.per_target must be above 0 (requests per minute), for example 1000."
  }

  validation {
    condition     = var.autoscaling.requests == null || try(toset(keys(var.autoscaling.requests.target_group_arn_suffixes)) == toset(["blue", "green"]), false)
    error_message = <<-EOT
      autoscaling.requests.target_group_arn_suffixes must have the ARN suffixes of both target groups, for example
      { blue = "targetgroup/...", green = "targetgroup/..." }.
    EOT
  }

  validation {
    condition     = alltrue([for suffix in try(values(var.autoscaling.requests.target_group_arn_suffixes), []) : suffix != null])
    error_message = "autoscaling.requests.target_group_arn_suffixes must have no null, for example { blue = \"targetgroup/...\", green = \"targetgroup/...\" }."
  }

  validation {
    condition     = var.autoscaling.scale_in_cooldown >= 0 && var.autoscaling.scale_out_cooldown >= 0
    error_message = "autoscaling.scale_in_cooldown and autoscaling.scale_out_cooldown must be seconds of at least 0, for example 300 and 60."
  }
}

variable "availability_zone_rebalancing" {
  description = "Let ECS move tasks back into balance over the zones, for example after a zone has come back. It goes with every deployment strategy."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = !var.availability_zone_rebalancing || var.deployment.maximum_percent > 100
    error_message = "availability_zone_rebalancing starts a task before it stops one, so deployment.maximum_percent must be above 100, for example 200."
  }
}

variable "capacity_providers" {
  description = <<-EOT
    How tasks are shared between FARGATE and FARGATE_SPOT: the first `base` tasks, and then by `weight`. Spot may take a
    task back within two minutes.
  EOT
  type = map(object({
    base   = optional(number, 0)
    weight = optional(number, 1)
  }))
  default  = { FARGATE = {} }
  nullable = false

  validation {
    condition     = length(var.capacity_providers) > 0 && length(setsubtract(keys(var.capacity_providers), ["FARGATE", "FARGATE_SPOT"])) == 0
    error_message = "capacity_providers must name FARGATE, FARGATE_SPOT or both, for example { FARGATE = { base = 1 }, FARGATE_SPOT = { weight = 3 } }."
  }

  validation {
    condition     = alltrue([for provider in values(var.capacity_providers) : try(provider.weight >= 0 && provider.weight <= 1000, false)])
    error_message = "capacity_providers must have weights from 0 to 1000, for example { FARGATE = { weight = 1 }, FARGATE_SPOT = { weight = 3 } }."
  }

  validation {
    condition     = anytrue([for provider in values(var.capacity_providers) : try(provider.weight > 0, false)])
    error_message = "capacity_providers must have at least one weight above 0, for example { FARGATE = { weight = 1 }, FARGATE_SPOT = { weight = 0 } }."
  }

  validation {
    condition     = alltrue([for provider in values(var.capacity_providers) : try(provider.base >= 0 && provider.base <= 100000, false)])
    error_message = "capacity_providers must have bases from 0 to 100000, for example { FARGATE = { base = 1 }, FARGATE_SPOT = {} }."
  }

  validation {
    condition     = length([for provider in values(var.capacity_providers) : provider if try(provider.base > 0, false)]) <= 1
    error_message = "capacity_providers may give a base to one provider only, for example { FARGATE = { base = 1 }, FARGATE_SPOT = {} }."
  }
}

variable "container" {
  description = <<-EOT
    The service's container: its name, the port it listens on, the numeric user it runs as, whether its root file system is
    read-only, and the paths that stay writable (each an empty volume of the task). Fargate gives an empty volume to root:
    the image must declare each path as a VOLUME that the user owns.
  EOT
  type = object({
    name                     = string
    port                     = optional(number, 3000)
    readonly_root_filesystem = optional(bool, true)
    user                     = optional(string, "10001:10001")
    writable_paths           = optional(set(string), ["/tmp"])
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$", var.container.name))
    error_message = "container.name must be at most 255 letters, digits, _ and -, for example \"mclass-server\"."
  }

  validation {
    condition     = var.container.port >= 1 && var.container.port <= 65535 && floor(var.container.port) == var.container.port
    error_message = "container.port must be a whole number from 1 to 65535, for example 3000."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*(:[1-9][0-9]*)?$", var.container.user))
    error_message = "container.user must be a numeric user, and may have a group, neither of them root (0), for example \"10001:10001\"."
  }

  validation {
    condition     = alltrue([for path in var.container.writable_paths : can(regex("^(/[a-zA-Z0-9._-]+)+$", path))])
    error_message = "container.writable_paths must be absolute paths below the root, for example [\"/tmp\"]."
  }
}

variable "container_health_check" {
  description = <<-EOT
    Health check that ECS runs in the container. Without a command it is a request to `path` by Python. Failures count only
    after `start_period` seconds.
  EOT
  type = object({
    command      = optional(list(string))
    interval     = optional(number, 10)
    path         = optional(string, "/health")
    retries      = optional(number, 3)
    start_period = optional(number, 10)
    timeout      = optional(number, 5)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.container_health_check.command == null || try(contains(["CMD", "CMD-SHELL"], var.container_health_check.command[0]), false)
    error_message = "container_health_check.command must start with \"CMD\" or \"CMD-SHELL\", for example [\"CMD\", \"/app/healthy\"]."
  }

  validation {
    condition     = var.container_health_check.command == null || try(length(var.container_health_check.command) >= 2, false)
    error_message = "container_health_check.command must say what to run after \"CMD\" or \"CMD-SHELL\", for example [\"CMD\", \"/app/healthy\"]."
  }

  validation {
    condition     = alltrue([for word in coalesce(var.container_health_check.command, []) : word != null])
    error_message = "container_health_check.command must have no null among its words, for example [\"CMD\", \"/app/healthy\"]."
  }

  validation {
    condition     = var.container_health_check.interval >= 5 && var.container_health_check.interval <= 300
    error_message = "container_health_check.interval must be from 5 to 300 s, for example 10."
  }

  validation {
    condition     = var.container_health_check.timeout >= 2 && var.container_health_check.timeout <= 60
    error_message = "container_health_check.timeout must be from 2 to 60 s, for example 5."
  }

  validation {
    condition     = var.container_health_check.retries >= 1 && var.container_health_check.retries <= 10
    error_message = "container_health_check.retries must be from 1 to 10, for example 3."
  }

  validation {
    condition     = var.container_health_check.start_period >= 0 && var.container_health_check.start_period <= 300
    error_message = "container_health_check.start_period must be from 0 to 300 s, for example 10."
  }

  validation {
    condition     = can(regex("^/[^\\s'\"\\\\]*$", var.container_health_check.path))
    error_message = "container_health_check.path must start with \"/\" and have neither spaces, quotes nor backslashes, for example \"/health\"."
  }
}

variable "container_insights" {
  description = "CloudWatch Container Insights of the cluster: \"enabled\", \"enhanced\" (a metric per task and container) or \"disabled\"."
  type        = string
  default     = "enabled"
  nullable    = false

  validation {
    condition     = contains(["disabled", "enabled", "enhanced"], var.container_insights)
    error_message = "container_insights must be \"enabled\", \"enhanced\" or \"disabled\"."
  }
}

variable "deployment" {
  description = <<-EOT
    Share of the desired tasks that a rolling deployment keeps healthy at least and runs at most, and the seconds for which
    failed load balancer checks of a new task are ignored.
  EOT
  type = object({
    health_check_grace_period_seconds = optional(number, 60)
    maximum_percent                   = optional(number, 200)
    minimum_healthy_percent           = optional(number, 100)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.deployment.minimum_healthy_percent >= 1 && var.deployment.minimum_healthy_percent <= 100
    error_message = "deployment.minimum_healthy_percent must be from 1 to 100, for example 100: at 0 nobody need be serving."
  }

  validation {
    condition     = var.deployment.maximum_percent >= 100 && var.deployment.maximum_percent <= 400
    error_message = "deployment.maximum_percent must be from 100 to 400, for example 200."
  }

  validation {
    condition     = floor(var.autoscaling.min * var.deployment.maximum_percent / 100) > ceil(var.autoscaling.min * var.deployment.minimum_healthy_percent / 100)
    error_message = <<-EOT
      deployment must leave room for one task more, or one less, than autoscaling.min: ECS rounds the minimum up and the
      maximum down, so one task with a maximum below 200 can never be replaced. Raise deployment.maximum_percent, for example
      to 200.
    EOT
  }

  validation {
    condition     = floor(local.first_count * var.deployment.maximum_percent / 100) > ceil(local.first_count * var.deployment.minimum_healthy_percent / 100)
    error_message = <<-EOT
      deployment must leave room for one task more, or one less, than desired_count: ECS rounds the minimum up and the maximum
      down, so one task with a maximum below 200 can never be replaced. Raise deployment.maximum_percent, for example to 200.
    EOT
  }

  validation {
    condition     = var.deployment.health_check_grace_period_seconds >= var.container_health_check.start_period
    error_message = <<-EOT
      deployment.health_check_grace_period_seconds must be at least container_health_check.start_period: a service that is
      still allowed to start must not be killed for it. For example 60 and 10.
    EOT
  }

  validation {
    condition     = var.deployment.health_check_grace_period_seconds <= 2147483647
    error_message = "deployment.health_check_grace_period_seconds must be at most 2147483647, for example 60."
  }
}

variable "desired_count" {
  description = "Tasks of a new service. Autoscaling owns the number after that, and without an image it is 0."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.desired_count >= 0 && floor(var.desired_count) == var.desired_count
    error_message = "desired_count must be a whole number of at least 0, for example 2."
  }

  validation {
    condition     = var.desired_count == 0 || (var.desired_count >= var.autoscaling.min && var.desired_count <= var.autoscaling.max)
    error_message = "desired_count must be 0 or lie from autoscaling.min to autoscaling.max, or autoscaling would change it at once."
  }
}

variable "egress" {
  description = "Where tasks may connect to, by name: a TCP port of an IPv4 range, a prefix list or a security group."
  type = map(object({
    cidr_ipv4         = optional(string)
    description       = string
    port              = optional(number, 443)
    prefix_list_id    = optional(string)
    security_group_id = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for rule in values(var.egress) : try(length(compact([rule.cidr_ipv4, rule.prefix_list_id, rule.security_group_id])) == 1, false)])
    error_message = <<-EOT
      egress must name exactly one of cidr_ipv4, prefix_list_id and security_group_id in each rule, for example
      { https = { description = "HTTPS", cidr_ipv4 = "0.0.0.0/0" } }.
    EOT
  }

  validation {
    condition     = alltrue([for rule in values(var.egress) : try(rule.port >= 1 && rule.port <= 65535 && floor(rule.port) == rule.port, false)])
    error_message = "egress must have ports from 1 to 65535, for example 443."
  }
}

variable "enable_execute_command" {
  description = <<-EOT
    Allow `aws ecs execute-command`, a shell in a running container. Off, unless somebody needs it for a while: its agent
    writes to the container's root file system.
  EOT
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.enable_execute_command || !var.container.readonly_root_filesystem
    error_message = <<-EOT
      enable_execute_command needs container.readonly_root_filesystem = false: the agent of ECS Exec writes to the root file
      system, and AWS supports no session where it is read-only.
    EOT
  }
}

variable "environment_variables" {
  description = "Environment variables of the container. What is secret belongs into `secrets`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment_variables), keys(var.secrets))) == 0
    error_message = "environment_variables and secrets must not name the same variable: ECS refuses a container with both."
  }

  validation {
    condition     = alltrue([for value in values(var.environment_variables) : value != null])
    error_message = "environment_variables must have values that are not null, which ECS takes for no variable at all: leave the name out, or give it \"\"."
  }
}

variable "execute_command_log" {
  description = "Log group that records sessions of ECS Exec, and the key that encrypts the group and the sessions; without a key both use AWS's own."
  type = object({
    kms_key_arn    = optional(string)
    log_group_name = string
  })
  nullable = false

  validation {
    condition     = var.execute_command_log.log_group_name != null
    error_message = "execute_command_log.log_group_name must not be null: a session of ECS Exec is always recorded, for example \"/ecs/mclass-exec\"."
  }
}

variable "image_digest" {
  description = "Digest of the image to run; null before the first image, which leaves the service at 0 tasks."
  type        = string
  default     = null

  validation {
    condition     = var.image_digest == null || can(regex("^sha256:[0-9a-f]{64}$", var.image_digest))
    error_message = <<-EOT
      image_digest must be "sha256:" and 64 hexadecimal digits, not a tag: a tag may be moved, a digest not. For example
      "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".
    EOT
  }
}

variable "load_balancer_security_group_id" {
  description = "Security group of the load balancer. It alone reaches the tasks, and gets the rule that lets it."
  type        = string
  nullable    = false
}

variable "log_group_arn" {
  description = "ARN of the log group that the tasks write to, without a trailing \":*\"."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[^:]+:logs:[^:]+:[0-9]{12}:log-group:[^:*]+$", var.log_group_arn))
    error_message = <<-EOT
      log_group_arn must be the ARN of one log group, without ":*", for example
      "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/mclass-task".
    EOT
  }
}

variable "log_group_name" {
  description = "Name of the log group that the tasks write to."
  type        = string
  nullable    = false
}

variable "name" {
  description = "Name of the application; the cluster is \"<name>-cluster\", the service \"<name>-service\", the task family \"<name>-task\"."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 26 lowercase letters, digits and hyphens, start with a letter and not end with a hyphen, for example \"mclass\"."
  }
}

variable "repository_arn" {
  description = "ARN of the repository, the only one that the tasks may pull from."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[^:]+:ecr:[^:]+:[0-9]{12}:repository/[^*]+$", var.repository_arn))
    error_message = "repository_arn must be the ARN of one repository, for example \"arn:aws:ecr:ap-northeast-2:111111111111:repository/mclass-server\"."
  }
}

variable "repository_url" {
  description = "URL of the repository, without tag or digest."
  type        = string
  nullable    = false

  validation {
    condition     = !can(regex("@|:[^/]*$", var.repository_url))
    error_message = "repository_url must have neither tag nor digest, for example \"111111111111.dkr.ecr.ap-northeast-2.amazonaws.com/mclass-server\"."
  }
}

variable "secret_kms_key_arns" {
  description = "ARNs of the customer-managed keys that encrypt the secrets."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.secret_kms_key_arns : can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/[^*]+$", arn))])
    error_message = <<-EOT
      secret_kms_key_arns must be ARNs of keys, for example
      ["arn:aws:kms:ap-northeast-2:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"].
    EOT
  }
}

variable "secrets" {
  description = <<-EOT
    Environment variables whose value is a secret: the ARN of a Secrets Manager secret, which may go on with
    ":<key>:<stage>:<version>", or of a Systems Manager parameter.
  EOT
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for arn in values(var.secrets) : anytrue([for pattern in local.secret_patterns : can(regex(pattern, arn))])])
    error_message = <<-EOT
      secrets must be ARNs of Secrets Manager secrets or Systems Manager parameters, never values, for example
      { DATABASE_URL = "arn:aws:secretsmanager:ap-northeast-2:111111111111:secret:mclass/database-AbCdEf" }.
    EOT
  }
}

variable "shutdown" {
  description = <<-EOT
    How a task ends, in seconds: after SIGTERM it goes on serving for `lame_duck`, finishes what is in flight within
    `longest_request`, and is killed after `stop_timeout`, at least 2 s more than both together.
  EOT
  type = object({
    lame_duck       = optional(number, 10)
    longest_request = optional(number, 30)
    stop_timeout    = optional(number, 60)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.shutdown.stop_timeout >= 2 && var.shutdown.stop_timeout <= 120 && floor(var.shutdown.stop_timeout) == var.shutdown.stop_timeout
    error_message = "shutdown.stop_timeout must be a whole number of seconds from 2 to 120, the most that Fargate grants, for example 60."
  }

  validation {
    condition     = var.shutdown.lame_duck >= 0 && var.shutdown.longest_request >= 0
    error_message = "shutdown.lame_duck and shutdown.longest_request must be seconds of at least 0, for example 10 and 30."
  }

  validation {
    condition     = var.shutdown.stop_timeout >= var.shutdown.lame_duck + var.shutdown.longest_request + 2
    error_message = <<-EOT
      shutdown.stop_timeout must be at least shutdown.lame_duck + shutdown.longest_request + 2 s to close the last
      connections, or SIGKILL cuts requests off, for example 60 with 10 and 30.
    EOT
  }
}

variable "subnet_ids" {
  description = "Private subnets of the tasks, each in its own zone."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids must name subnets in at least two zones, so that the service survives the loss of one."
  }

  validation {
    condition     = alltrue([for id in var.subnet_ids : id != null])
    error_message = "subnet_ids must have no null among the ids, for example [\"subnet-0123456789abcdef0\", \"subnet-0123456789abcdef1\"]."
  }
}

variable "tags" {
  description = "Tags of every resource, added to the provider's default tags. The service hands them to its tasks."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}

variable "target_group_arn" {
  description = "ARN of the target group that the first deployment registers its tasks in. The rollout decides after that."
  type        = string
  nullable    = false
}

variable "task" {
  description = <<-EOT
    Size of the task: CPU units (1024 are one vCPU), memory in MiB, the processor architecture, and the ephemeral storage in
    GiB (null for Fargate's 20).
  EOT
  type = object({
    cpu                   = optional(number, 256)
    cpu_architecture      = optional(string, "X86_64")
    ephemeral_storage_gib = optional(number)
    memory                = optional(number, 512)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(keys(local.memory_by_cpu), tostring(var.task.cpu))
    error_message = "task.cpu must be a size that Fargate offers, 256, 512, 1024, 2048, 4096, 8192 or 16384, for example 256."
  }

  validation {
    condition     = contains(lookup(local.memory_by_cpu, tostring(var.task.cpu), [var.task.memory]), var.task.memory)
    error_message = <<-EOT
      task.cpu and task.memory must be a pair that Fargate offers: 256 with 512, 1024 or 2048; 512 with 1024 to 4096; 1024
      with 2048 to 8192; 2048 with 4096 to 16384; 4096 with 8192 to 30720 (each in steps of 1024); 8192 with 16384 to 61440
      (steps of 4096); 16384 with 32768 to 122880 (steps of 8192).
    EOT
  }

  validation {
    condition     = contains(["ARM64", "X86_64"], var.task.cpu_architecture)
    error_message = "task.cpu_architecture must be \"ARM64\" or \"X86_64\"."
  }

  validation {
    condition     = var.task.ephemeral_storage_gib == null || try(var.task.ephemeral_storage_gib >= 21 && var.task.ephemeral_storage_gib <= 200, false)
    error_message = "task.ephemeral_storage_gib must be from 21 to 200, or null for the 20 that Fargate gives anyway."
  }
}

variable "task_role_policy_arns" {
  description = "Policies of the task role, by a name of your choice: what the service itself may do in AWS."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for arn in values(var.task_role_policy_arns) : can(regex("^arn:[^:]+:iam::(aws|[0-9]{12}):policy/.+$", arn))])
    error_message = <<-EOT
      task_role_policy_arns must be ARNs of policies, by a name of your choice, for example
      { bucket = "arn:aws:iam::111111111111:policy/read-bucket" }.
    EOT
  }
}

variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
  nullable    = false
}
