output "arn" {
  description = "ARN of the load balancer."
  value       = aws_lb.this.arn
}

output "arn_suffix" {
  description = "Suffix of the ARN, as CloudWatch names the load balancer in its dimensions."
  value       = aws_lb.this.arn_suffix
}

output "dns_name" {
  description = "DNS name of the load balancer."
  value       = aws_lb.this.dns_name
}

output "production_listener_arn" {
  description = "ARN of the production listener."
  value       = aws_lb_listener.production.arn
}

output "production_listener_rule_arn" {
  description = "ARN of the rule whose weights ECS shifts."
  value       = aws_lb_listener_rule.this["production"].arn
}

output "redirect_listener_arn" {
  description = "ARN of the listener that redirects to HTTPS; null without a certificate."
  value       = one(aws_lb_listener.redirect[*].arn)
}

output "security_group_id" {
  description = "Security group of the load balancer."
  value       = aws_security_group.this.id
}

output "target_group_arn_suffixes" {
  description = "Suffixes of the target groups' ARNs, blue and green, as CloudWatch names them in its dimensions."
  value       = { for colour, group in aws_lb_target_group.this : colour => group.arn_suffix }
}

output "target_group_arns" {
  description = "ARNs of the target groups, blue and green."
  value       = { for colour, group in aws_lb_target_group.this : colour => group.arn }

  # ECS refuses a service whose target group no load balancer uses yet: the rules come first.
  depends_on = [aws_lb_listener_rule.this]
}

output "test_header" {
  description = "Name and value of the header that selects test traffic. The value shows a revision before production does: keep it secret."
  value       = local.test_header
  sensitive   = true
}

output "test_listener_rule_arn" {
  description = "ARN of the rule that takes test traffic."
  value       = aws_lb_listener_rule.this["test"].arn
}

output "url" {
  description = "URL of the production listener."
  value       = "${lower(local.protocol)}://${aws_lb.this.dns_name}${contains([80, 443], local.production_port) ? "" : ":${local.production_port}"}"
}

output "zone_id" {
  description = "Hosted zone of the load balancer's DNS name, for alias records."
  value       = aws_lb.this.zone_id
}
