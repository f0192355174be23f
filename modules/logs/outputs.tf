output "arn" {
  description = "ARN of the log group, without the trailing \":*\"."
  value       = aws_cloudwatch_log_group.this.arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the log events; null when CloudWatch Logs uses its own."
  value       = aws_cloudwatch_log_group.this.kms_key_id
}

output "name" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "retention_in_days" {
  description = "Days that events are kept; 0 for ever."
  value       = aws_cloudwatch_log_group.this.retention_in_days
}
