"""One JSON object a line on standard output, with the ids of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

# The ids of the request that is being served, as fields of every record that is written meanwhile.
request_fields: ContextVar[dict[str, str] | None] = ContextVar("request_fields", default=None)
_ENCODE = json.JSONEncoder(ensure_ascii=False, default=str).encode  # `json.dumps` makes an encoder each time


class JsonFormatter(logging.Formatter):
    """Formats a record; its `fields` (a dict in `extra`) stand beside time, level, logger and message."""

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
    """Return what all records of one second begin with."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def configure(level: str) -> None:
    """Send everything from `level` on, uvicorn's own records included, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Its start and stop messages say in prose what ours say in fields.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLevelName(level)))
