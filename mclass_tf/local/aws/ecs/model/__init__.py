"""ECS's resources as values: services, deployments, revisions, tasks."""
