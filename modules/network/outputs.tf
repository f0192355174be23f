output "availability_zones" {
  description = "Zones of the subnets, in their order; empty with an existing VPC."
  value       = local.zones
}

output "egress" {
  description = "How the private subnets reach AWS: \"endpoints\", \"nat\" or \"none\" (also when the VPC is not made here)."
  value       = var.egress
}

output "endpoint_security_group_id" {
  description = "Security group of the interface endpoints; null without them."
  value       = one(aws_security_group.endpoints[*].id)
}

output "nat_public_ips" {
  description = "Public addresses of the NAT gateways, by zone; empty without them."
  value       = { for zone, address in aws_eip.nat : zone => address.public_ip }
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, one in each zone."
  value       = local.private_subnet_ids

  # A task that starts before its way to the registry is there fails, and one that outlives it loses its log.
  depends_on = [
    aws_route.nat,
    aws_route_table_association.private,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.s3,
    aws_vpc_security_group_ingress_rule.endpoints,
  ]
}

output "private_subnet_ids_before_egress" {
  description = "Ids of the private subnets for what needs no way out of them, such as an internal load balancer: it waits for neither NAT nor endpoints."
  value       = local.private_subnet_ids
}

output "public_subnet_ids" {
  description = "Ids of the public subnets, one in each zone."
  value       = local.public_subnet_ids

  # An internet-facing load balancer is refused where there is no internet gateway yet.
  depends_on = [aws_route.internet, aws_route_table_association.public]
}

output "s3_prefix_list_id" {
  description = "Prefix list of the S3 gateway endpoint, for security group rules; null without it."
  value       = one(aws_vpc_endpoint.s3[*].prefix_list_id)
}

output "vpc_cidr_block" {
  description = "IPv4 range of the VPC."
  value       = local.vpc_cidr_block
}

output "vpc_endpoint_ids" {
  description = "Ids of the VPC endpoints, by service; empty without them."
  value = merge(
    { for service, endpoint in aws_vpc_endpoint.interface : service => endpoint.id },
    { for endpoint in aws_vpc_endpoint.s3 : "s3" => endpoint.id },
  )
}

output "vpc_id" {
  description = "Id of the VPC."
  value       = local.vpc_id
}
