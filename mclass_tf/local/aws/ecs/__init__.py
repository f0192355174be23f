"""ECS: clusters, task definitions, services and their tasks on Fargate."""

from __future__ import annotations

from moto.ecs import urls
from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.ecs.api.backend import EcsBackend
from mclass_tf.local.aws.ecs.api.responses import EcsResponses
from mclass_tf.local.aws.extend import use_backend, use_responses


def install() -> None:
    use_backend(backends=ecs_backends, urls=urls, backend=EcsBackend)
    use_responses(urls=urls, responses=EcsResponses)
