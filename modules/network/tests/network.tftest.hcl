mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_region" {
    defaults = { id = "ap-northeast-2" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mclass-flow-log" }
  }
}

variables {
  availability_zones = ["ap-northeast-2a", "ap-northeast-2c"]
  name               = "mclass"
}

run "spans_two_zones_and_reaches_aws_through_endpoints_by_default" {
  command = apply

  assert {
    condition     = aws_vpc.this[0].cidr_block == "10.0.0.0/16" && aws_vpc.this[0].enable_dns_hostnames && aws_vpc.this[0].enable_dns_support
    error_message = "Endpoints answer under the services' names only with both DNS settings on."
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.public : zone => subnet.cidr_block } == { "ap-northeast-2a" = "10.0.0.0/20", "ap-northeast-2c" = "10.0.16.0/20" }
    error_message = "Public subnets must take the range's first half, a zone after the other."
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { "ap-northeast-2a" = "10.0.128.0/20", "ap-northeast-2c" = "10.0.144.0/20" }
    error_message = "Private subnets must take the range's second half, a zone after the other."
  }

  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.public), values(aws_subnet.private)) : !subnet.map_public_ip_on_launch])
    error_message = "Nothing gets a public address unasked."
  }

  assert {
    condition     = aws_route.internet[0].destination_cidr_block == "0.0.0.0/0" && aws_route.internet[0].gateway_id == aws_internet_gateway.this[0].id && length(aws_route_table_association.public) == 2
    error_message = "Public subnets must have a way to the internet."
  }

  assert {
    condition     = length(aws_route.nat) == 0 && length(aws_nat_gateway.this) == 0 && length(aws_eip.nat) == 0
    error_message = "With endpoints there must be no NAT gateway, nor a route to one."
  }

  assert {
    condition = { for service, endpoint in aws_vpc_endpoint.interface : service => endpoint.service_name } == {
      "ecr.api"        = "com.amazonaws.ap-northeast-2.ecr.api"
      "ecr.dkr"        = "com.amazonaws.ap-northeast-2.ecr.dkr"
      "logs"           = "com.amazonaws.ap-northeast-2.logs"
      "secretsmanager" = "com.amazonaws.ap-northeast-2.secretsmanager"
      "ssm"            = "com.amazonaws.ap-northeast-2.ssm"
    }
    error_message = "Every service that a task needs must have its endpoint."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled && endpoint.security_group_ids == toset([aws_security_group.endpoints[0].id]) && endpoint.subnet_ids == toset(output.private_subnet_ids)])
    error_message = "Endpoints must answer under the services' own names, in every private subnet, behind their group."
  }

  assert {
    condition     = aws_vpc_endpoint.s3[0].vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3[0].route_table_ids == toset([for table in aws_route_table.private : table.id])
    error_message = "Image layers must come through the S3 gateway, in every private route table."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.endpoints : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}/${rule.ip_protocol}"]) == toset(["10.0.128.0/20 443-443/tcp", "10.0.144.0/20 443-443/tcp"])
    error_message = "Endpoints must take HTTPS from the private subnets, and nothing else."
  }

  assert {
    condition     = length(aws_default_security_group.this[0].ingress) == 0 && length(aws_default_security_group.this[0].egress) == 0
    error_message = "The default security group must let nothing through."
  }

  assert {
    condition     = length(aws_flow_log.this) == 0 && length(aws_iam_role.flow_log) == 0
    error_message = "There must be no flow log unless one is asked for."
  }

  assert {
    condition     = length(output.public_subnet_ids) == 2 && length(output.private_subnet_ids) == 2 && output.private_subnet_ids_before_egress == output.private_subnet_ids && toset(keys(output.vpc_endpoint_ids)) == toset(["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "ssm"]) && output.egress == "endpoints" && output.endpoint_security_group_id != null && output.s3_prefix_list_id != null
    error_message = "The outputs must say what was made."
  }
}

run "has_a_nat_gateway_in_each_zone_when_asked_for" {
  command = apply

  variables {
    egress = "nat"
  }

  assert {
    condition     = toset(keys(aws_nat_gateway.this)) == toset(var.availability_zones) && alltrue([for zone, gateway in aws_nat_gateway.this : gateway.subnet_id == aws_subnet.public[zone].id && gateway.allocation_id == aws_eip.nat[zone].id])
    error_message = "Each zone must have a NAT gateway in its public subnet."
  }

  assert {
    condition     = alltrue([for zone, route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this[zone].id && route.route_table_id == aws_route_table.private[zone].id && route.destination_cidr_block == "0.0.0.0/0"]) && length(aws_route.nat) == 2
    error_message = "Each zone must leave by its own gateway."
  }

  assert {
    condition     = alltrue([for address in aws_eip.nat : address.domain == "vpc"])
    error_message = "The addresses must belong to VPCs."
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_vpc_endpoint.s3) == 0 && length(output.vpc_endpoint_ids) == 0 && output.endpoint_security_group_id == null && output.s3_prefix_list_id == null
    error_message = "With NAT there must be no endpoints."
  }
}

run "takes_every_option_and_shares_one_nat_gateway" {
  command = apply

  variables {
    availability_zones = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"]
    cidr_block         = "10.20.0.0/20"
    egress             = "nat"
    flow_log           = { log_group_arn = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass", traffic_type = "REJECT", max_aggregation_interval = 600 }
    single_nat_gateway = true
    subnet_newbits     = 3
    tags               = { Team = "mclass" }
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["ap-northeast-2a"] && length(aws_route.nat) == 3 && alltrue([for route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this["ap-northeast-2a"].id])
    error_message = "All zones must leave by the one gateway."
  }

  assert {
    condition     = aws_subnet.public["ap-northeast-2a"].cidr_block == "10.20.0.0/23" && aws_subnet.private["ap-northeast-2c"].cidr_block == "10.20.12.0/23"
    error_message = "Subnets must be as large as asked, in the given range."
  }

  assert {
    condition     = aws_flow_log.this[0].log_destination == "arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass" && aws_flow_log.this[0].traffic_type == "REJECT" && aws_flow_log.this[0].max_aggregation_interval == 600
    error_message = "The flow log must be written as asked."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.flow_log[0].policy).Statement[0].Resource == ["arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass", "arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass:*"]
    error_message = "The flow log's role must write to its own group alone."
  }

  assert {
    condition     = [for statement in slice(jsondecode(aws_iam_role_policy.flow_log[0].policy).Statement, 1, 2) : [statement.Action, statement.Resource]] == [[["logs:DescribeLogGroups"], ["arn:aws:logs:ap-northeast-2:111111111111:log-group:*"]]]
    error_message = "The flow log's delivery must find its group."
  }

  assert {
    condition     = jsondecode(aws_iam_role.flow_log[0].assume_role_policy).Statement[0].Condition == { StringEquals = { "aws:SourceAccount" = "111111111111" } }
    error_message = "The flow log's role must be taken only for this account."
  }

  assert {
    condition     = aws_vpc.this[0].tags == tomap({ Name = "mclass", Team = "mclass" })
    error_message = "Resources must carry their name and the given tags."
  }
}

run "has_no_way_out_when_none_is_asked_for" {
  command = plan

  variables {
    egress = "none"
  }

  assert {
    condition     = length(aws_nat_gateway.this) + length(aws_route.nat) + length(aws_vpc_endpoint.interface) + length(aws_vpc_endpoint.s3) == 0
    error_message = "There must be neither NAT nor endpoints."
  }
}

run "uses_an_existing_vpc_and_makes_nothing" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
      vpc_id             = "vpc-00000000000000001"
    }
    flow_log = { log_group_arn = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/vpc/mclass" }
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.public) + length(aws_subnet.private) + length(aws_route_table.private) + length(aws_route_table.public) + length(aws_internet_gateway.this) + length(aws_default_security_group.this) + length(aws_flow_log.this) == 0
    error_message = "Nothing may be made in a VPC that exists."
  }

  assert {
    condition     = output.vpc_id == "vpc-00000000000000001" && output.vpc_cidr_block == "172.16.0.0/16" && output.private_subnet_ids == tolist(["subnet-00000000000000003", "subnet-00000000000000004"]) && output.private_subnet_ids_before_egress == output.private_subnet_ids && output.public_subnet_ids == tolist(["subnet-00000000000000001", "subnet-00000000000000002"])
    error_message = "The outputs must pass the existing VPC on."
  }
}

run "refuses_zones_of_another_region" {
  command = plan

  variables {
    availability_zones = ["us-east-1a", "us-east-1b"]
  }

  expect_failures = [aws_vpc.this]
}

# A rule that reads another variable is tried only when that one is right: cidr_block reads subnet_newbits, which reads
# availability_zones, which reads existing_vpc.
run "refuses_ranges_and_names_that_do_not_exist" {
  command = plan

  variables {
    cidr_block          = "10.0.0.1/16"
    egress              = "internet"
    flow_log            = { log_group_arn = "arn", traffic_type = "SOME" }
    interface_endpoints = ["ecr.api", "ecr.dkr"]
    name                = "mclass-"
  }

  expect_failures = [var.cidr_block, var.egress, var.flow_log, var.interface_endpoints, var.name]
}

run "refuses_ranges_that_aws_does_not_make_vpcs_of" {
  command = plan

  variables {
    cidr_block          = "10.0.0.0/8"
    flow_log            = { log_group_arn = "arn", max_aggregation_interval = 61 }
    interface_endpoints = ["com.amazonaws.ap-northeast-2:logs", "ecr.api", "ecr.dkr", "logs"]
  }

  expect_failures = [var.cidr_block, var.flow_log, var.interface_endpoints]
}

run "refuses_more_zones_than_subnets_fit" {
  command = plan

  variables {
    availability_zones = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"]
    subnet_newbits     = 2
  }

  expect_failures = [var.subnet_newbits]
}

run "refuses_to_live_in_one_zone" {
  command = plan

  variables {
    availability_zones = ["ap-northeast-2a"]
  }

  expect_failures = [var.availability_zones]
}

run "refuses_subnets_smaller_than_aws_makes" {
  command = plan

  variables {
    subnet_newbits = 13
  }

  expect_failures = [var.subnet_newbits]
}

run "refuses_the_same_zone_twice" {
  command = plan

  variables {
    availability_zones = ["ap-northeast-2a", "ap-northeast-2a"]
  }

  expect_failures = [var.availability_zones]
}

run "refuses_to_go_without_zones" {
  command = plan

  variables {
    availability_zones = null
  }

  expect_failures = [var.availability_zones]
}

run "refuses_an_existing_vpc_in_one_zone" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003"]
      public_subnet_ids  = ["subnet-00000000000000001"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_an_existing_vpc_with_one_private_subnet" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003"]
      public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_an_existing_vpc_with_one_public_subnet" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_an_existing_vpc_without_a_range" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_an_existing_vpc_with_a_public_subnet_that_is_none" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001", "public"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_an_existing_vpc_without_an_id" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
      vpc_id             = "main"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "refuses_to_make_endpoints_or_zones_in_an_existing_vpc" {
  command = plan

  variables {
    egress = "endpoints"
    existing_vpc = {
      cidr_block         = "172.16.0.0/16"
      private_subnet_ids = ["subnet-00000000000000003", "subnet-00000000000000004"]
      public_subnet_ids  = ["subnet-00000000000000001", "subnet-00000000000000002"]
      vpc_id             = "vpc-00000000000000001"
    }
  }

  expect_failures = [var.availability_zones, var.egress]
}

run "refuses_a_null_in_a_list_or_a_map" {
  command = plan

  variables {
    availability_zones  = ["ap-northeast-2a", null]
    flow_log            = { log_group_arn = null }
    interface_endpoints = ["ecr.api", "ecr.dkr", "logs", null]
    tags                = { Team = null }
  }

  expect_failures = [
    var.availability_zones,
    var.flow_log,
    var.interface_endpoints,
    var.tags,
  ]
}

run "refuses_a_null_among_the_subnets_of_an_existing_vpc" {
  command = plan

  variables {
    availability_zones = null
    egress             = "none"
    existing_vpc = {
      cidr_block         = "10.0.0.0/16"
      private_subnet_ids = ["subnet-0123456789abcdef0", null]
      public_subnet_ids  = ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"]
      vpc_id             = "vpc-0123456789abcdef0"
    }
  }

  expect_failures = [var.existing_vpc]
}

run "names_endpoints_as_china_does" {
  command = plan

  variables {
    availability_zones = ["cn-north-1a", "cn-north-1b"]
  }

  override_data {
    target = data.aws_region.current
    values = { id = "cn-north-1" }
  }

  assert {
    condition = { for service, endpoint in aws_vpc_endpoint.interface : service => endpoint.service_name } == {
      "ecr.api"        = "cn.com.amazonaws.cn-north-1.ecr.api"
      "ecr.dkr"        = "cn.com.amazonaws.cn-north-1.ecr.dkr"
      "logs"           = "com.amazonaws.cn-north-1.logs"
      "secretsmanager" = "com.amazonaws.cn-north-1.secretsmanager"
      "ssm"            = "com.amazonaws.cn-north-1.ssm"
    }
    error_message = "In China, the names of some services begin with \"cn.\"."
  }

  assert {
    condition     = aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.cn-north-1.s3"
    error_message = "The gateway endpoint of S3 has the usual name in China."
  }
}
