output "arn" {
  description = "ARN of the repository."
  value       = aws_ecr_repository.this.arn
}

output "name" {
  description = "Name of the repository."
  value       = aws_ecr_repository.this.name
}

output "registry_id" {
  description = "Account id of the registry that holds the repository."
  value       = aws_ecr_repository.this.registry_id
}

output "url" {
  description = "URL of the repository, as image references start with it."
  value       = local.url

  # Whoever uses the URL waits for the repository.
  depends_on = [aws_ecr_repository.this]
}
