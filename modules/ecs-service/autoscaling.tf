locals {
  # Requests reach the blue group or the green one, by turns. The predefined metric watches one group for ever and
  # would scale in the service that runs in the other; this is the load of a target in the busier of the two. FILL decides
  # which that is, but its 0 is never a value: the newest minute comes late, and a 0 there would keep the alarm from ALARM.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
  request_metrics = { for colour, suffix in coalesce(try(var.autoscaling.requests.target_group_arn_suffixes, null), {}) : colour => suffix }
}

resource "aws_appautoscaling_target" "this" {
  # Registering a minimum raises the service to it at once, whatever its desired count: before the first image there would be
  # tasks that cannot start. So it begins at 0 then, and the first release sets it along with the desired count.
  min_capacity       = var.image_digest == null ? 0 : var.autoscaling.min
  max_capacity       = var.autoscaling.max
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  service_namespace  = "ecs"
  tags               = var.tags

  lifecycle {
    # Otherwise a plan that is made without the digest would lower a live service's minimum to 0.
    ignore_changes = [min_capacity]
  }
}

resource "aws_appautoscaling_policy" "predefined" {
  for_each = { for metric, target in {
    ECSServiceAverageCPUUtilization    = var.autoscaling.cpu_percent
    ECSServiceAverageMemoryUtilization = var.autoscaling.memory_percent
  } : metric => target if target != null }

  name               = "${var.name}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  service_namespace  = aws_appautoscaling_target.this.service_namespace

  target_tracking_scaling_policy_configuration {
    scale_in_cooldown  = var.autoscaling.scale_in_cooldown
    scale_out_cooldown = var.autoscaling.scale_out_cooldown
    target_value       = each.value

    predefined_metric_specification {
      predefined_metric_type = each.key
    }
  }
}

resource "aws_appautoscaling_policy" "requests" {
  count = var.autoscaling.requests == null ? 0 : 1

  name               = "${var.name}-RequestCountPerTarget"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  service_namespace  = aws_appautoscaling_target.this.service_namespace

  target_tracking_scaling_policy_configuration {
    scale_in_cooldown  = var.autoscaling.scale_in_cooldown
    scale_out_cooldown = var.autoscaling.scale_out_cooldown
    target_value       = var.autoscaling.requests.per_target

    customized_metric_specification {
      dynamic "metrics" {
        for_each = local.request_metrics

        content {
          id          = metrics.key
          label       = "Requests per target of the ${metrics.key} group"
          return_data = false

          metric_stat {
            stat = "Sum"

            metric {
              metric_name = "RequestCountPerTarget"
              namespace   = "AWS/ApplicationELB"

              dimensions {
                name  = "TargetGroup"
                value = metrics.value
              }
            }
          }
        }
      }

      metrics {
        id          = "busiest"
        label       = "Requests per target of the busier group"
        expression  = "IF(FILL(blue, 0) >= FILL(green, 0), blue, green)"
        return_data = true
      }
    }
  }
}
