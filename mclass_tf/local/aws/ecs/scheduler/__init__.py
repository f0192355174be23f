"""The ECS service scheduler: it brings services to their desired state."""
