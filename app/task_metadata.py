"""Finds the service's ECS task with the task metadata endpoint, version 4.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from http.client import HTTPException

_log = logging.getLogger("app.task_metadata")
_SECONDS = 1  # the endpoint is local, and the service must not wait for it


async def task_arn(uri: str | None) -> str | None:
    """Return the task's ARN; None outside of ECS, or if the endpoint does not answer."""
    if uri is None:
        return None
    try:
        return await asyncio.to_thread(_read, uri)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the task metadata endpoint does not answer", extra={"fields": {"reason": repr(error)}})
        return None


def _read(uri: str) -> str:
    if not uri.startswith("http://"):
        raise ValueError(f"ECS_CONTAINER_METADATA_URI_V4 is not an http URL: {uri}")
    with urllib.request.urlopen(f"{uri}/task", timeout=_SECONDS) as answer:  # noqa: S310 - checked above
        return str(json.load(answer)["TaskARN"])
