"""ECS tasks: placed, started, checked and stopped."""
