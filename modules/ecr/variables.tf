variable "force_delete" {
  description = "Delete the repository even when it still holds images. For environments that are made and thrown away."
  type        = bool
  default     = false
  nullable    = false
}

variable "image_tag_mutability" {
  description = "Whether a tag may be moved to another image. IMMUTABLE keeps a release's tag meaning one digest."
  type        = string
  default     = "IMMUTABLE"
  nullable    = false

  validation {
    condition     = contains(["IMMUTABLE", "MUTABLE"], var.image_tag_mutability)
    error_message = "image_tag_mutability must be \"IMMUTABLE\" or \"MUTABLE\"."
  }
}

variable "kms_key_arn" {
  description = "ARN of the customer-managed key that encrypts the images; null for AES256 with keys of ECR. A change replaces the repository."
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

variable "lifecycle_policy" {
  description = <<-EOT
    Which images expire: untagged ones after `untagged_days`, and all but the last `keep_releases` pushes whose tag matches one of
    `release_tag_patterns`. Images with a tag `released-…` stay: the wrapper puts it on what serves or may serve again.
  EOT
  type = object({
    keep_releases        = optional(number, 30)
    release_tag_patterns = optional(list(string), ["*"])
    untagged_days        = optional(number, 14)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.lifecycle_policy.keep_releases >= 2 && floor(var.lifecycle_policy.keep_releases) == var.lifecycle_policy.keep_releases
    error_message = "lifecycle_policy.keep_releases must be a whole number of at least 2, the running release and the one to roll back to, for example 30."
  }

  validation {
    condition     = var.lifecycle_policy.untagged_days >= 1 && floor(var.lifecycle_policy.untagged_days) == var.lifecycle_policy.untagged_days
    error_message = "lifecycle_policy.untagged_days must be a whole number of at least 1, for example 14."
  }

  validation {
    condition     = length(var.lifecycle_policy.release_tag_patterns) > 0
    error_message = "lifecycle_policy.release_tag_patterns must name at least one tag pattern, for example [\"*\"]."
  }

  validation {
    condition     = !contains(var.lifecycle_policy.release_tag_patterns, "released-*")
    error_message = "lifecycle_policy.release_tag_patterns must not be \"released-*\": those images are kept, for example [\"*\"]."
  }

  validation {
    condition     = alltrue([for pattern in var.lifecycle_policy.release_tag_patterns : can(regex("^[a-zA-Z0-9._*-]{1,128}$", pattern))])
    error_message = "lifecycle_policy.release_tag_patterns must be of letters, digits and . _ * -, for example [\"*\"] or [\"v*\"]."
  }
}

variable "name" {
  description = "Name of the repository."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(?:[._/-][a-z0-9]+)*$", var.name)) && length(var.name) >= 2 && length(var.name) <= 256
    error_message = "name must be 2 to 256 lowercase letters and digits, separated by single . _ / or -, for example \"mclass-server\"."
  }
}

variable "pull_account_ids" {
  description = "Accounts that may pull from this repository, such as the one that a release is promoted to."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.pull_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "pull_account_ids must be account ids of twelve digits, for example [\"222222222222\"]."
  }
}

variable "scan_on_push" {
  description = "Scan every image for known vulnerabilities when it is pushed."
  type        = bool
  default     = true
  nullable    = false
}

variable "tags" {
  description = "Tags of the repository, added to the provider's default tags."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.tags) : value != null])
    error_message = "tags must have values that are not null: leave out a tag that is to have none, for example { Team = \"shop\" }."
  }
}
