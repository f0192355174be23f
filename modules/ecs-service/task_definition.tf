locals {
  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
  memory_by_cpu = {
    "256"   = [512, 1024, 2048]
    "512"   = range(1024, 4096 + 1, 1024)
    "1024"  = range(2048, 8192 + 1, 1024)
    "2048"  = range(4096, 16384 + 1, 1024)
    "4096"  = range(8192, 30720 + 1, 1024)
    "8192"  = range(16384, 61440 + 1, 4096)
    "16384" = range(32768, 122880 + 1, 8192)
  }

  # Python is in the image, curl is not. A bare socket, and no site packages: it runs every few seconds in each task, and an
  # HTTP library takes more than three times the processor time to load.
  health_check_command = coalesce(var.container_health_check.command, [
    "CMD", "python", "-ISc", join("; ", [
      "import socket",
      "peer = socket.create_connection(('127.0.0.1', ${var.container.port}), timeout=${var.container_health_check.timeout})",
      "peer.sendall(b'GET ${var.container_health_check.path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n')",
      "assert peer.makefile('rb').readline().split()[1] == b'200'",
    ])
  ])

  writable_volumes = { for path in var.container.writable_paths : trim(replace(path, "/[^a-zA-Z0-9]+/", "-"), "-") => path }

  container_definition = {
    name                   = var.container.name
    image                  = local.image
    essential              = true
    user                   = var.container.user
    readonlyRootFilesystem = var.container.readonly_root_filesystem
    stopTimeout            = var.shutdown.stop_timeout

    environment    = [for name in sort(keys(var.environment_variables)) : { name = name, value = var.environment_variables[name] }]
    secrets        = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]
    mountPoints    = [for name in sort(keys(local.writable_volumes)) : { sourceVolume = name, containerPath = local.writable_volumes[name], readOnly = false }]
    systemControls = []
    volumesFrom    = []

    portMappings = [{
      containerPort = var.container.port
      hostPort      = var.container.port
      protocol      = "tcp"
    }]

    healthCheck = {
      command     = local.health_check_command
      interval    = var.container_health_check.interval
      retries     = var.container_health_check.retries
      startPeriod = var.container_health_check.start_period
      timeout     = var.container_health_check.timeout
    }

    # Its process reaps what ECS Exec leaves behind, and passes signals on to the service.
    linuxParameters = { initProcessEnabled = var.enable_execute_command }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = var.log_group_name
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = var.container.name
      }
    }
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = "${var.name}-task"
  cpu                      = tostring(var.task.cpu)
  memory                   = tostring(var.task.memory)
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode([local.container_definition])

  # A service cannot be pointed back at a revision that was deregistered: rollback needs the old ones.
  skip_destroy = true

  dynamic "ephemeral_storage" {
    for_each = var.task.ephemeral_storage_gib == null ? [] : [var.task.ephemeral_storage_gib]

    content {
      size_in_gib = ephemeral_storage.value
    }
  }

  runtime_platform {
    cpu_architecture        = var.task.cpu_architecture
    operating_system_family = "LINUX"
  }

  dynamic "volume" {
    for_each = local.writable_volumes

    content {
      name = volume.key
    }
  }

  tags = var.tags
}
