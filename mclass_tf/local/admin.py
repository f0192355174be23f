"""The admin endpoint `/_mclass/…`: health, and what must exist before Terraform but has no useful API call."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from mclass_tf.local.aws.dispatch import Aws
from mclass_tf.local.http import Reply
from mclass_tf.local.record import LocalAws

PREFIX = "/_mclass/"


class Admin:
    """Answers below `/_mclass/` and passes everything else on."""

    def __init__(self, *, record: LocalAws, aws: Aws) -> None:
        self._record = record
        self._aws = aws
        self._routes: dict[tuple[str, str], Callable[[Any], Reply]] = {
            ("GET", "health"): self._health,
            ("PUT", "acm/certificates"): self._put_certificate,
        }

    def answer(self, environ: dict[str, Any]) -> Reply | None:
        path = str(environ["PATH_INFO"])
        if not path.startswith(PREFIX):
            return None
        route = self._routes.get((environ["REQUEST_METHOD"], path.removeprefix(PREFIX)))
        if route is None:
            return _json(HTTPStatus.NOT_FOUND, {"error": f"no {environ['REQUEST_METHOD']} {path} here"})
        try:
            return route(json.loads(environ["wsgi.input"].read() or b"{}"))
        except (ValueError, TypeError, KeyError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": f"{type(error).__name__}: {error}"})

    def _health(self, _body: Any) -> Reply:
        health = {
            "status": "ok",
            "instance_id": self._record.instance_id,
            "started_at": self._record.started_at,
            "version": _version(),
            "unsupported": self._aws.refused,
        }
        return _json(HTTPStatus.OK, health)

    def _put_certificate(self, body: Any) -> Reply:
        self._aws.put_certificate(
            account_id=str(body["account_id"]),
            region=str(body["region"]),
            arn=str(body["arn"]),
            domain_name=str(body["domain_name"]),
        )
        return _json(HTTPStatus.OK, {"arn": body["arn"]})


def _version() -> str:
    try:
        return importlib.metadata.version("mclass-tf")
    except importlib.metadata.PackageNotFoundError:
        return "0"  # run from a checkout that is not installed


def _json(status: HTTPStatus, document: dict[str, Any]) -> Reply:
    return Reply(
        status=status,
        headers=(("Content-Type", "application/json"),),
        body=json.dumps(document).encode(),
    )
