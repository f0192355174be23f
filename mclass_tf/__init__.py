"""Plan, gate, apply, verify and promote a container service on Amazon ECS Fargate, on AWS or on a local AWS."""

__version__ = "0.1.0"
