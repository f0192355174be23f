output "cluster_arn" {
  description = "ARN of the cluster."
  value       = aws_ecs_cluster.this.arn
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_ecs_cluster.this.name
}

output "execution_role_arn" {
  description = "ARN of the role with which ECS starts the tasks."
  value       = aws_iam_role.execution.arn
}

output "image" {
  description = "Image of the task definition: repository and digest."
  value       = local.image
}

output "infrastructure_role_arn" {
  description = "ARN of the role with which ECS shifts traffic between the target groups."
  value       = aws_iam_role.infrastructure.arn
}

output "security_group_id" {
  description = "Security group of the tasks."
  value       = aws_security_group.this.id
}

output "service_arn" {
  description = "ARN of the service."
  value       = aws_ecs_service.this.id
}

output "service_name" {
  description = "Name of the service."
  value       = aws_ecs_service.this.name
}

output "task_definition_arn" {
  description = "ARN of the task definition's revision, which the service runs once the rollout has pointed it there."
  value       = aws_ecs_task_definition.this.arn
}

output "task_definition_family" {
  description = "Family of the task definition."
  value       = aws_ecs_task_definition.this.family
}

output "task_role_arn" {
  description = "ARN of the role of the service itself."
  value       = aws_iam_role.task.arn
}

output "task_role_name" {
  description = "Name of the role of the service itself, to attach policies to."
  value       = aws_iam_role.task.name
}
