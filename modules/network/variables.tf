variable "availability_zones" {
  description = <<-EOT
    Zones to build in, at least two; null only with existing_vpc. Append to grow: a zone's place decides its address ranges.
    They are named, not looked up, so that a zone which AWS adds changes no plan.
  EOT
  type        = list(string)
  default     = null

  validation {
    condition     = (var.availability_zones == null) == (var.existing_vpc != null)
    error_message = "availability_zones must be given, unless existing_vpc is: for example [\"ap-northeast-2a\", \"ap-northeast-2c\"]."
  }

  validation {
    condition     = var.availability_zones == null || try(length(var.availability_zones) >= 2, false)
    error_message = <<-EOT
      availability_zones must name at least two zones, so that the service survives the loss of one, for example
      ["ap-northeast-2a", "ap-northeast-2c"].
    EOT
  }

  validation {
    condition     = var.availability_zones == null || try(length(distinct(var.availability_zones)) == length(var.availability_zones), false)
    error_message = "availability_zones must name different zones, for example [\"ap-northeast-2a\", \"ap-northeast-2c\"]."
  }

  validation {
    condition     = alltrue([for zone in coalesce(var.availability_zones, []) : can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]+[a-z]$", zone))])
    error_message = "availability_zones must be names of zones, for example [\"ap-northeast-2a\", \"ap-northeast-2c\"]."
  }
}

variable "cidr_block" {
  description = "IPv4 range of the VPC."
  type        = string
  default     = "10.0.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrhost(var.cidr_block, 0)) && try(cidrhost(var.cidr_block, 0) == split("/", var.cidr_block)[0], false)
    error_message = "cidr_block must be an IPv4 range that starts at its own network address, for example \"10.0.0.0/16\"."
  }

  validation {
    condition     = try(tonumber(split("/", var.cidr_block)[1]) >= 16 && tonumber(split("/", var.cidr_block)[1]) + var.subnet_newbits <= 28, false)
    error_message = <<-EOT
      cidr_block must be a /16 or smaller and leave its subnets at least a /28 after subnet_newbits: AWS accepts VPCs and
      subnets from /16 to /28, for example "10.0.0.0/16" with 4.
    EOT
  }
}

variable "egress" {
  description = "How the private subnets reach AWS: \"endpoints\" (VPC endpoints, no internet), \"nat\" (NAT gateways) or \"none\"."
  type        = string
  default     = "endpoints"
  nullable    = false

  validation {
    condition     = contains(["endpoints", "nat", "none"], var.egress)
    error_message = "egress must be \"endpoints\", \"nat\" or \"none\"."
  }

  validation {
    condition     = var.existing_vpc == null || var.egress == "none"
    error_message = "egress must be \"none\" with existing_vpc: the ways out of a VPC that is not made here belong to its owner."
  }
}

variable "existing_vpc" {
  description = "Use this VPC instead of making one. Its private subnets must reach ECR, S3 and CloudWatch Logs by themselves."
  type = object({
    cidr_block         = string
    private_subnet_ids = list(string)
    public_subnet_ids  = list(string)
    vpc_id             = string
  })
  default = null

  validation {
    condition     = var.existing_vpc == null || can(regex("^vpc-[0-9a-f]+$", var.existing_vpc.vpc_id))
    error_message = "existing_vpc.vpc_id must be the id of the VPC, for example \"vpc-0123456789abcdef0\"."
  }

  validation {
    condition     = var.existing_vpc == null || can(cidrhost(var.existing_vpc.cidr_block, 0))
    error_message = "existing_vpc.cidr_block must be the IPv4 range of the VPC, for example \"10.0.0.0/16\"."
  }

  validation {
    condition     = alltrue([for id in try(coalesce(var.existing_vpc.private_subnet_ids), []) : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "existing_vpc.private_subnet_ids must be ids of subnets, for example [\"subnet-0123456789abcdef0\", \"subnet-0123456789abcdef1\"]."
  }

  validation {
    condition     = alltrue([for id in try(coalesce(var.existing_vpc.public_subnet_ids), []) : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "existing_vpc.public_subnet_ids must be ids of subnets, for example [\"subnet-0123456789abcdef0\", \"subnet-0123456789abcdef1\"]."
  }

  validation {
    condition     = var.existing_vpc == null || try(length(distinct(var.existing_vpc.private_subnet_ids)) >= 2, false)
    error_message = <<-EOT
      existing_vpc.private_subnet_ids must be at least two, each in its own zone: a load balancer does not start in one zone.
      For example ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"].
    EOT
  }

  validation {
    condition     = var.existing_vpc == null || try(length(distinct(var.existing_vpc.public_subnet_ids)) >= 2, false)
    error_message = <<-EOT
      existing_vpc.public_subnet_ids must be at least two, each in its own zone: a load balancer does not start in one zone.
      For example ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"].
    EOT
  }
}

variable "flow_log" {
  description = "Log group that receives the flow log of the VPC, and what is recorded; null for none."
  type = object({
    log_group_arn            = string
    max_aggregation_interval = optional(number, 60)
    traffic_type             = optional(string, "ALL")
  })
  default = null

  validation {
    condition     = var.flow_log == null || try(contains(["ACCEPT", "ALL", "REJECT"], var.flow_log.traffic_type), false)
    error_message = "flow_log.traffic_type must be \"ACCEPT\", \"ALL\" or \"REJECT\"."
  }

  validation {
    condition     = var.flow_log == null || try(contains([60, 600], var.flow_log.max_aggregation_interval), false)
    error_message = "flow_log.max_aggregation_interval must be 60 or 600 seconds."
  }

  validation {
    condition     = var.flow_log == null || try(var.flow_log.log_group_arn != null, false)
    error_message = "flow_log.log_group_arn must not be null: for no flow log, leave out flow_log."
  }
}

variable "interface_endpoints" {
  description = "Services reached through an interface endpoint when egress is \"endpoints\". S3 always has its gateway endpoint."
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm"]
  nullable    = false

  validation {
    condition     = length(setsubtract(["ecr.api", "ecr.dkr", "logs"], var.interface_endpoints)) == 0
    error_message = "interface_endpoints must contain \"ecr.api\", \"ecr.dkr\" and \"logs\": without them a task can neither pull its image nor write its log."
  }

  validation {
    condition     = alltrue([for service in var.interface_endpoints : can(regex("^[a-z0-9]+([.-][a-z0-9]+)*$", service))])
    error_message = "interface_endpoints must be the services' short names, without \"com.amazonaws.<region>.\", for example \"ecr.api\"."
  }
}

variable "name" {
  description = "Name of the VPC, and prefix of what is in it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 26 lowercase letters, digits and hyphens, start with a letter and not end with a hyphen, for example \"mclass\"."
  }
}

variable "single_nat_gateway" {
  description = "One NAT gateway for all zones instead of one in each: cheaper, and its zone's failure takes the others' way out along."
  type        = bool
  default     = false
  nullable    = false
}

variable "subnet_newbits" {
  description = "Bits by which a subnet's prefix is longer than the VPC's; 4 makes /20 subnets in a /16."
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.subnet_newbits <= 12 && floor(var.subnet_newbits) == var.subnet_newbits
    error_message = "subnet_newbits must be a whole number up to 12, for example 4."
  }

  validation {
    condition     = pow(2, var.subnet_newbits - 1) >= max(2, length(coalesce(var.availability_zones, [])))
    error_message = <<-EOT
      subnet_newbits must leave each zone a public and a private subnet: 2 to the power of subnet_newbits is at least twice
      the number of zones, for example 4 for up to eight.
    EOT
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
