"""The ECS service scheduler: it brings services to what is wanted of them."""
