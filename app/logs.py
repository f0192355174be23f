"""Logs JSON lines to standard output, with the ids of the current request."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

# The ids of the current request, which are fields of all of its records.
request_fields: ContextVar[dict[str, str] | None] = ContextVar("request_fields", default=None)
_ENCODE = json.JSONEncoder(
    ensure_ascii=False, default=str
).encode  # `json.dumps` creates an encoder for each call


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON, with the dict `fields` of its `extra` as additional fields."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(request_fields.get() or {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return _ENCODE(document)


def _time(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds * 1000) % 1000:03}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    """Format a whole second, cached for all records within it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def configure(level: str) -> None:
    """Log to standard output from `level` up, including uvicorn's records."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Its start and stop messages duplicate ours.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLevelName(level)))
