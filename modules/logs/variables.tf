variable "kms_key_arn" {
  description = <<-EOT
    ARN of the customer-managed key that encrypts the log events; null for the service's own encryption. The key's policy
    must let CloudWatch Logs use it for this log group.
  EOT
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = <<-EOT
      kms_key_arn must be the ARN of a key, not an alias or an id, for example
      "arn:aws:kms:ap-northeast-2:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab".
    EOT
  }
}

variable "name" {
  description = "Name of the log group. The log group of a task family is named \"/ecs/<family>\"."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9_/.#-]{1,512}$", var.name)) && !startswith(lower(var.name), "aws/")
    error_message = "name must be 1 to 512 letters, digits and _ / . # -, and must not start with \"aws/\", for example \"/ecs/mclass-task\"."
  }
}

variable "retention_in_days" {
  description = "Days that events are kept; 0 keeps them for ever."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains(local.retention_periods, var.retention_in_days)
    error_message = "retention_in_days must be a period that CloudWatch Logs accepts: ${join(", ", local.retention_periods)}; 0 is for ever. For example 365."
  }
}

variable "skip_destroy" {
  description = "Leave the log group and its events in the account when Terraform destroys the environment."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags of the log group, added to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}
