"""Decides who answers a request: the guard, the admin endpoint or AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mclass_tf.local import admin, guard
from mclass_tf.local.aws.dispatch import Aws
from mclass_tf.local.http import Reply
from mclass_tf.local.record import LocalAws


def build_app(record: LocalAws) -> Callable[[dict[str, Any]], Reply]:
    """The application of one instance: each part answers a request or passes it on (None)."""
    aws = Aws()
    parts: tuple[Callable[[dict[str, Any]], Reply | None], ...] = (
        guard.check,
        admin.Admin(record=record, aws=aws).answer,
        aws.answer,
    )

    def app(environ: dict[str, Any]) -> Reply:
        for part in parts:
            reply = part(environ)
            if reply is not None:
                return reply
        raise AssertionError("the last part answers everything")

    return app
