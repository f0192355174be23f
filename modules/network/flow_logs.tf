data "aws_caller_identity" "current" {}

locals {
  flow_log = local.create ? var.flow_log : null
}

resource "aws_flow_log" "this" {
  count = local.flow_log == null ? 0 : 1

  vpc_id                   = aws_vpc.this[0].id
  traffic_type             = local.flow_log.traffic_type
  log_destination_type     = "cloud-watch-logs"
  log_destination          = local.flow_log.log_group_arn
  iam_role_arn             = aws_iam_role.flow_log[0].arn
  max_aggregation_interval = local.flow_log.max_aggregation_interval
  tags                     = merge(var.tags, { Name = var.name })

  depends_on = [aws_iam_role_policy.flow_log]
}

resource "aws_iam_role" "flow_log" {
  count = local.flow_log == null ? 0 : 1

  name        = "${var.name}-flow-log"
  description = "Writes the flow log of the VPC ${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "flow_log" {
  count = local.flow_log == null ? 0 : 1

  name = "write-flow-log"
  role = aws_iam_role.flow_log[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [local.flow_log.log_group_arn, "${local.flow_log.log_group_arn}:*"]
      },
      {
        # The delivery looks for its group among all of them.
        Effect   = "Allow"
        Action   = ["logs:DescribeLogGroups"]
        Resource = ["${join(":", slice(split(":", local.flow_log.log_group_arn), 0, 5))}:log-group:*"]
      },
    ]
  })
}
