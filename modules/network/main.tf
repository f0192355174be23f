data "aws_availability_zones" "available" {
  state = "available"

  # Local and wavelength zones have neither NAT gateways nor Fargate.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_region" "current" {}

locals {
  create = var.existing_vpc == null

  # The id is the region's name on every supported release of the provider; `name` is deprecated in 6.x.
  region = data.aws_region.current.id

  zones = !local.create ? [] : coalescelist(
    coalesce(var.availability_zones, []),
    slice(sort(data.aws_availability_zones.available.names), 0, min(var.zone_count, length(data.aws_availability_zones.available.names))),
  )

  # Public subnets take the first half of the range and private ones the second,
  # so that a further zone leaves the subnets of the others where they are.
  half = pow(2, var.subnet_newbits - 1)
  subnet_cidrs = {
    for index, zone in local.zones : zone => {
      public  = cidrsubnet(var.cidr_block, var.subnet_newbits, index)
      private = cidrsubnet(var.cidr_block, var.subnet_newbits, local.half + index)
    }
  }

  nat_zones = !local.create || var.egress != "nat" ? [] : (var.single_nat_gateway ? slice(local.zones, 0, 1) : local.zones)

  vpc_id             = local.create ? aws_vpc.this[0].id : var.existing_vpc.vpc_id
  vpc_cidr_block     = local.create ? aws_vpc.this[0].cidr_block : var.existing_vpc.cidr_block
  public_subnet_ids  = local.create ? [for zone in local.zones : aws_subnet.public[zone].id] : var.existing_vpc.public_subnet_ids
  private_subnet_ids = local.create ? [for zone in local.zones : aws_subnet.private[zone].id] : var.existing_vpc.private_subnet_ids
}

resource "aws_vpc" "this" {
  count = local.create ? 1 : 0

  cidr_block = var.cidr_block
  # Interface endpoints answer under the services' own names only where both are on.
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = var.name })

  lifecycle {
    precondition {
      condition     = length(local.zones) >= 2
      error_message = "The network needs at least two availability zones, and ${length(local.zones)} can be used: name them in availability_zones, for example [\"ap-northeast-2a\", \"ap-northeast-2c\"]."
    }
  }
}

# The default group admits its own members; without rules nothing can hide in it.
resource "aws_default_security_group" "this" {
  count = local.create ? 1 : 0

  vpc_id = aws_vpc.this[0].id
  tags   = merge(var.tags, { Name = "${var.name}-default-unused" })
}

resource "aws_subnet" "public" {
  for_each = local.subnet_cidrs

  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = each.key
  cidr_block              = each.value.public
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-public-${each.key}", Tier = "public" })
}

resource "aws_subnet" "private" {
  for_each = local.subnet_cidrs

  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = each.key
  cidr_block              = each.value.private
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-private-${each.key}", Tier = "private" })
}
