output "access_logs_bucket" {
  description = "Bucket that receives the load balancer's access log; null for none."
  value       = var.access_logs_bucket
}

output "account_id" {
  description = "Account that the environment lives in."
  value       = data.aws_caller_identity.current.account_id
}

output "alb_arn" {
  description = "ARN of the load balancer."
  value       = module.alb.arn
}

output "alb_dns_name" {
  description = "DNS name of the load balancer."
  value       = module.alb.dns_name
}

output "alb_security_group_id" {
  description = "Security group of the load balancer."
  value       = module.alb.security_group_id
}

output "alb_zone_id" {
  description = "Hosted zone of the load balancer's DNS name, for alias records."
  value       = module.alb.zone_id
}

output "autoscaling" {
  description = "Bounds of the number of tasks."
  value       = { min = var.autoscaling.min, max = var.autoscaling.max }
}

output "availability_zone_rebalancing" {
  description = "Whether ECS moves tasks back into balance over the zones."
  value       = var.deployment.availability_zone_rebalancing
}

output "certificate_arn" {
  description = "ARN of the certificate; null without HTTPS."
  value       = var.certificate_arn
}

output "cluster_arn" {
  description = "ARN of the cluster."
  value       = module.service.cluster_arn
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = module.service.cluster_name
}

output "container_insights" {
  description = "CloudWatch Container Insights of the cluster."
  value       = var.container_insights
}

output "container_name" {
  description = "Name of the service's container."
  value       = local.container_name
}

output "container_port" {
  description = "Port that the container listens on."
  value       = var.container.port
}

output "deletion_protection" {
  description = "Whether the load balancer refuses deletion. Turn it off and apply before a destroy."
  value       = var.alb.deletion_protection
}

output "deployment" {
  description = "Share of the desired tasks that a rolling deployment keeps healthy at least and runs at most."
  value       = { minimum_healthy_percent = var.deployment.minimum_healthy_percent, maximum_percent = var.deployment.maximum_percent }
}

output "desired_count" {
  description = "Tasks that the first release raises the service to."
  value       = var.desired_count
}

output "egress" {
  description = "How the private subnets reach AWS: \"endpoints\", \"nat\" or \"none\"."
  value       = module.network.egress
}

output "environment" {
  description = "Name of the environment."
  value       = var.environment
}

output "execute_command_enabled" {
  description = "Whether a shell may be opened in a running container."
  value       = var.enable_execute_command
}

output "execution_role_arn" {
  description = "ARN of the role with which ECS starts the tasks."
  value       = module.service.execution_role_arn
}

output "image_digest" {
  description = "Digest of the task definition's image; null before the first image."
  value       = var.image_digest
}

output "infrastructure_role_arn" {
  description = "ARN of the role with which ECS shifts traffic between the target groups."
  value       = module.service.infrastructure_role_arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts logs and images; null when AWS's own keys do."
  value       = local.kms_key_arn
}

output "log_group_arn" {
  description = "ARN of the log group that the tasks write to."
  value       = module.task_logs.arn
}

output "log_group_name" {
  description = "Name of the log group that the tasks write to."
  value       = module.task_logs.name
}

output "log_retention_days" {
  description = "Days that log events are kept; 0 for ever."
  value       = var.logs.retention_in_days
}

output "name" {
  description = "Name of the application."
  value       = var.name
}

output "private_subnet_ids" {
  description = "Ids of the private subnets."
  value       = module.network.private_subnet_ids
}

output "production_listener_arn" {
  description = "ARN of the production listener."
  value       = module.alb.production_listener_arn
}

output "production_listener_rule_arn" {
  description = "ARN of the rule whose weights ECS shifts."
  value       = module.alb.production_listener_rule_arn
}

output "public_subnet_ids" {
  description = "Ids of the public subnets."
  value       = module.network.public_subnet_ids
}

output "redirect_listener_arn" {
  description = "ARN of the listener that redirects to HTTPS; null without a certificate."
  value       = module.alb.redirect_listener_arn
}

output "region" {
  description = "Region that the environment lives in."
  value       = var.region
}

output "repository_arn" {
  description = "ARN of the image repository."
  value       = module.ecr.arn
}

output "repository_name" {
  description = "Name of the image repository."
  value       = module.ecr.name
}

output "repository_url" {
  description = "URL of the image repository."
  value       = module.ecr.url
}

output "service_arn" {
  description = "ARN of the service."
  value       = module.service.service_arn
}

output "service_name" {
  description = "Name of the service."
  value       = module.service.service_name
}

output "service_security_group_id" {
  description = "Security group of the tasks."
  value       = module.service.security_group_id
}

output "target_group_arns" {
  description = "ARNs of the target groups, blue and green."
  value       = module.alb.target_group_arns
}

output "task_definition_arn" {
  description = "ARN of the task definition's revision, which the service runs once the rollout has pointed it there."
  value       = module.service.task_definition_arn
}

output "task_definition_family" {
  description = "Family of the task definition."
  value       = module.service.task_definition_family
}

output "task_role_arn" {
  description = "ARN of the role of the service itself."
  value       = module.service.task_role_arn
}

output "test_header" {
  description = "Name and value of the header that selects test traffic. The value shows a revision before production does: keep it secret."
  value       = module.alb.test_header
  sensitive   = true
}

output "test_listener_rule_arn" {
  description = "ARN of the rule that takes test traffic."
  value       = module.alb.test_listener_rule_arn
}

output "url" {
  description = "URL of the service."
  value       = module.alb.url
}

output "vpc_endpoint_ids" {
  description = "Ids of the VPC endpoints, by service; empty without them."
  value       = module.network.vpc_endpoint_ids
}

output "vpc_id" {
  description = "Id of the VPC."
  value       = module.network.vpc_id
}
