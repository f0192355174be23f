data "aws_region" "current" {}

locals {
  create = var.existing_vpc == null

  # The id is the region's name on every supported release of the provider; `name` is deprecated in 6.x.
  region = data.aws_region.current.id

  zones = local.create ? coalesce(var.availability_zones, []) : []

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
      condition     = alltrue([for zone in local.zones : startswith(zone, local.region)])
      error_message = <<-EOT
        availability_zones must lie in ${local.region}, the region of the provider, but are ${join(", ", local.zones)}: name
        zones of this region, for example "${local.region}a".
      EOT
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
