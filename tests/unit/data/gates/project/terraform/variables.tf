variable "environment" {
  type = string
}

variable "api_key" {
  type      = string
  sensitive = true
}

variable "access_logs_bucket" {
  type    = string
  default = null
}

variable "certificate_arn" {
  type    = string
  default = null
}

variable "image_digest" {
  type    = string
  default = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

variable "retention_days" {
  type    = number
  default = 365
}

variable "secure" {
  type    = bool
  default = true
}

variable "zones" {
  type    = set(string)
  default = ["ap-northeast-2a", "ap-northeast-2c"]
}
