variable "alias" {
  description = "Alias of the key, without the leading \"alias/\"."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9/_-]{1,250}$", var.alias)) && !startswith(var.alias, "aws/") && !startswith(var.alias, "alias/")
    error_message = <<-EOT
      alias must be letters, digits and / _ -, and start neither with "aws/" (reserved) nor with "alias/" (added here),
      for example "mclass".
    EOT
  }
}

variable "deletion_window_in_days" {
  description = "Days between the deletion of the key and the loss of all that it encrypts."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30 && floor(var.deletion_window_in_days) == var.deletion_window_in_days
    error_message = "deletion_window_in_days must be a whole number from 7 to 30, for example 30."
  }
}

variable "description" {
  description = "What the key encrypts."
  type        = string
  default     = "Encrypts the environment's logs and images"
  nullable    = false
}

variable "log_group_names" {
  description = "Names of the log groups whose events the key may encrypt."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.log_group_names : can(regex("^[a-zA-Z0-9_/.#-]{1,512}$", name))])
    error_message = "log_group_names must be names of log groups, not ARNs and without wildcards, for example [\"/ecs/mclass-task\"]."
  }
}

variable "tags" {
  description = "Tags of the key, added to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}
