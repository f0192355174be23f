locals {
  # ECS may take these roles only for tasks and services of this account and region.
  assume_role_condition = {
    ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account_id}:*" }
    StringEquals = { "aws:SourceAccount" = local.account_id }
  }

  secret_patterns = [
    "^arn:[^:]+:secretsmanager:[^:]+:[0-9]{12}:secret:[^:*]+(:[^:*]*){0,3}$",
    "^arn:[^:]+:ssm:[^:]+:[0-9]{12}:parameter/[^:*]+$",
  ]

  # The reference to a secret may name a key, stage and version after the secret's own ARN (seven parts).
  secret_arns     = sort(distinct([for arn in values(var.secrets) : join(":", slice(split(":", arn), 0, 7)) if split(":", arn)[2] == "secretsmanager"]))
  parameter_arns  = sort(distinct([for arn in values(var.secrets) : arn if split(":", arn)[2] == "ssm"]))
  secret_key_arns = sort(var.secret_kms_key_arns)

  execution_statements = concat(
    [
      {
        Sid      = "AuthorizeAtRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"] # the token is the account's: the action knows no resource
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [var.repository_arn]
      },
      {
        Sid      = "WriteLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${var.log_group_arn}:*"]
      },
    ],
    [
      for arns in [local.secret_arns] : {
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = arns
      } if length(arns) > 0
    ],
    [
      for arns in [local.parameter_arns] : {
        Sid      = "ReadParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameters"]
        Resource = arns
      } if length(arns) > 0
    ],
    [
      for arns in [local.secret_key_arns] : {
        Sid      = "DecryptSecrets"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = arns
      } if length(arns) > 0
    ],
  )

  # ECS Exec is a Systems Manager session. Neither its actions nor the search for the log group know a resource.
  execute_command_statements = concat(
    [
      {
        Sid    = "OpenSession"
        Effect = "Allow"
        Action = [
          "logs:DescribeLogGroups",
          "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel",
          "ssmmessages:OpenDataChannel",
        ]
        Resource = ["*"]
      },
      {
        Sid      = "RecordSession"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${local.region}:${local.account_id}:log-group:${var.execute_command_log.log_group_name}:*"]
      },
    ],
    [
      for arn in [var.execute_command_log.kms_key_arn] : {
        Sid      = "DecryptSession"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [arn]
      } if arn != null
    ],
  )
}

# What ECS does before the container starts: pull, log, read secrets.
resource "aws_iam_role" "execution" {
  name        = "${var.name}-execution"
  description = "Starts the tasks of ${var.name}: pulls the image, writes the log, reads the secrets"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = local.assume_role_condition
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "start-tasks"
  role   = aws_iam_role.execution.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.execution_statements })
}

# What the service itself may do. Nothing, unless it is given policies.
resource "aws_iam_role" "task" {
  name        = "${var.name}-task"
  description = "What ${var.name} itself may do in AWS"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = local.assume_role_condition
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "execute_command" {
  count = var.enable_execute_command ? 1 : 0

  name   = "execute-command"
  role   = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.execute_command_statements })
}

resource "aws_iam_role_policy_attachment" "task" {
  for_each = var.task_role_policy_arns

  role       = aws_iam_role.task.name
  policy_arn = each.value
}

# With it ECS moves the listener rules' weights in a blue/green, linear or canary deployment. AWS documents the trust
# without a condition, and not that ECS says for whom it acts here: a condition on what may be absent would end every
# such deployment. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForLoadBalancers.html
resource "aws_iam_role" "infrastructure" {
  name        = "${var.name}-infrastructure"
  description = "Lets ECS shift the traffic of ${var.name} between its target groups"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { for operator, keys in local.assume_role_condition : "${operator}IfExists" => keys }
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "infrastructure" {
  role       = aws_iam_role.infrastructure.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}
