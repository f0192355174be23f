"""Dispatches requests to moto's backends, and refuses whatever is not modelled."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from botocore.model import OperationNotFoundError
from flask import Flask
from flask import request as flask_request
from moto import backends as moto_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import HTTPException

from mclass_tf.local.access.key import AccessKey
from mclass_tf.local.aws import acm, install, sts
from mclass_tf.local.aws.api import bodies, operations, task_permissions
from mclass_tf.local.aws.api.callers import Caller, Callers, UnknownCallerError
from mclass_tf.local.aws.api.injected_errors import InjectedErrors
from mclass_tf.local.aws.calls import Call, identify
from mclass_tf.local.aws.denial import Denial, ForbiddenError, deny
from mclass_tf.local.aws.refusal import refuse, unexpected, unsupported
from mclass_tf.local.http.server import TOO_LARGE, Reply

_log = logging.getLogger("mclass_tf.local")

_LOCK_TIMEOUT = 50.0  # seconds; less than the 60 s after which SDKs time out
_WRONG_TASK = "A container may call the local AWS only with the role of its own task"
_MAX_BODY = 16 * 1024 * 1024
# moto holds bodies in memory. Lambda: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html . S3: AWS accepts
# 5 GiB, but the local AWS stores only states, artifacts and logs.
_MAX_BODY_BY_SERVICE = {"lambda": 70_167_211, "s3": 256 * 1024 * 1024}
_MOTO_API = "/moto-api"  # moto's own page, which shows and resets every account
_MAX_REFUSED = 1000
_MAX_NAME = 200  # characters; a REST call's name contains its path
_NOT_ROUTED = "X-Mclass-Not-Routed"
_MESSAGE = re.compile(rb'(?:"[Mm]essage"\s*:\s*"|<Message>)([^"<]*)')


class UnknownServiceError(Exception):
    """moto has no backend for the service."""


class AwsApi:
    """Answers every AWS call, one at a time.

    moto's backends are plain dictionaries that its handlers read and change without locks. Because the handlers hold Python's
    global lock anyway, one API lock around each call costs no throughput, and it prevents races.
    """

    def __init__(self, *, key: AccessKey) -> None:
        install.install()
        self._callers = Callers(key=key, sessions=sts.sessions)
        self._lock = threading.Lock()
        self._dispatcher = _Dispatcher()
        self._refused: dict[str, None] = {}
        self.injected_errors = InjectedErrors()

    @property
    def refused(self) -> list[str]:
        """Return the calls that were refused because they are not modelled, each once, in order."""
        return list(self._refused)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the API lock, for code that reads or changes moto's state outside the API."""
        with self._lock:
            yield

    def put_certificate(self, *, account_id: str, region: str, arn: str, domain_name: str) -> None:
        with self._lock:
            acm.put_certificate(account_id=account_id, region=region, arn=arn, domain_name=domain_name)

    def precheck(self, environ: dict[str, Any]) -> Reply | None:
        """Return the refusal of a request whose headers name an unknown key, or None."""
        call = identify(environ)
        return None if self._callers.is_known(environ) else deny(call, Denial.UNKNOWN)

    def answer(self, environ: dict[str, Any], *, task_id: str | None = None) -> Reply:
        """Answer a call. With `task_id`, accept only calls with that task's role.

        The signature covers the body as it was sent. Nothing parses the body before the signature is verified.
        """
        call = operations.named(identify(environ), environ)
        if TOO_LARGE in environ:
            return bodies.too_large(call, most=largest_body(environ))
        try:
            caller = self._callers.verify(environ)
        except UnknownCallerError as error:
            if error.reason is Denial.MISSING and (reason := operations.unsigned_refusal(call)) is not None:
                return self._refuse(call, detail=reason)
            _log.warning("refused %s: %s", call.name, error)
            return deny(call, error.reason, detail=error.detail)
        if task_id not in {None, caller.task_id}:
            _log.warning("refused %s: it comes from a container, but not with its task's role", call.name)
            return deny(call, Denial.FORBIDDEN, detail=_WRONG_TASK)
        refusal = bodies.inflate(call, environ, most=largest_body(environ))
        return refusal or self._answer_authenticated(caller, environ)

    def _answer_authenticated(self, caller: Caller, environ: dict[str, Any]) -> Reply:
        call = operations.named(identify(environ), environ)
        injected = self.injected_errors.reply(call)
        if injected is not None:
            return injected
        started = time.perf_counter()
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT):
            return unexpected(call, error="another call has not ended")
        try:
            reply = self._answer(call, environ, caller=caller)
        finally:
            self._lock.release()
        _log.info(
            "%s %s %d %.0f ms", call.region, call.name, reply.status, (time.perf_counter() - started) * 1e3
        )
        return reply

    def _answer(self, call: Call, environ: dict[str, Any], *, caller: Caller) -> Reply:
        try:
            task_permissions.require(caller, call, environ)
            return self._answer_modelled(call, environ)
        except ForbiddenError as error:
            _log.warning("refused %s: %s", call.name, error)
            return deny(call, Denial.FORBIDDEN, detail=str(error))

    def _answer_modelled(self, call: Call, environ: dict[str, Any]) -> Reply:
        reason = operations.refusal(call)
        if str(environ["PATH_INFO"]).startswith(_MOTO_API):
            reason = "it is not a call of AWS"
        if reason is not None:
            return self._refuse(call, detail=reason)
        return bodies.check(call, environ) or self._answer_checked(call, environ)

    def _answer_checked(self, call: Call, environ: dict[str, Any]) -> Reply:
        try:
            reply = _run(self._dispatcher.get_application(environ), environ)
        except ForbiddenError:
            raise
        except UnknownServiceError:
            return self._refuse(call, detail="the service is not modelled")
        except NotImplementedError as error:
            return self._refuse(call, detail=str(error))
        except OperationNotFoundError:
            return self._refuse(call, detail="the service has no such operation")
        except RecursionError:  # forms, XML and CBOR are parsed recursively
            return refuse(call, code="SerializationException", message="The request is nested too deeply.")
        except Exception as error:  # noqa: BLE001  a bug here must not be retried for minutes
            _log.exception("%s failed", call.name)
            return unexpected(call, error=f"{type(error).__name__}: {error}")
        return self._refuse(call) if _is_unrouted(call, reply, environ) else _never_retried(call, reply)

    def _refuse(self, call: Call, *, detail: str = "") -> Reply:
        _log.warning("refused %s: not modelled %s", call.name, detail)
        if len(self._refused) < _MAX_REFUSED:
            self._refused.setdefault(call.name[:_MAX_NAME])
        return unsupported(call, detail=detail)


def largest_body(environ: dict[str, Any]) -> int:
    """Return the maximum size of the request's body, in bytes."""
    return _MAX_BODY_BY_SERVICE.get(identify(environ).service, _MAX_BODY)


class _Dispatcher(DomainDispatcherApplication):  # type: ignore[misc]  # moto is not typed for us
    """Caches moto's choice of backend, for which moto lists its folders at every request."""

    def __init__(self) -> None:
        super().__init__(_create_app)

    @functools.lru_cache(maxsize=1024)  # noqa: B019  one dispatcher lives as long as the process
    def get_backend_for_host(self, host: str | None) -> str | None:
        if host is None:
            return None
        if host in moto_backends.list_of_moto_modules():
            return host
        for backend, pattern in self.backend_url_patterns:
            if pattern.match(f"http://{host}"):
                return str(backend)
        raise UnknownServiceError(host)


def _create_app(service: Any) -> Flask:
    app = create_backend_app(service)
    app.debug = False
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_error_handler(HTTPException, _mark_unrouted)
    return app


def _mark_unrouted(error: HTTPException) -> Any:
    """Mark the 404 of a URL without a route, to distinguish it from a handler's 404."""
    response = error.get_response()
    if flask_request.routing_exception is not None:
        response.headers[_NOT_ROUTED] = "1"
    return response


def _run(app: Flask, environ: dict[str, Any]) -> Reply:
    status = ""
    headers: list[tuple[str, str]] = []
    written = io.BytesIO()

    def start_response(line: str, fields: list[tuple[str, str]], _error: Any = None) -> Any:
        nonlocal status, headers
        status, headers = line, fields
        return written.write

    pieces: Iterable[bytes] = app(environ, start_response)
    try:
        for piece in pieces:
            written.write(piece)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    return Reply(status=int(status.split(" ", 1)[0]), headers=tuple(headers), body=written.getvalue())


def _never_retried(call: Call, reply: Reply) -> Reply:
    if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return reply
    _log.error("%s: moto answered %d: %r", call.name, reply.status, reply.body[:2000])
    message = _MESSAGE.search(reply.body)
    return unexpected(call, error=message[1].decode(errors="replace") if message else str(reply.status))


def _is_unrouted(call: Call, reply: Reply, environ: dict[str, Any]) -> bool:
    """Return whether moto has no such URL or operation. Then it answers with a marked or an empty 404."""
    if any(name == _NOT_ROUTED for name, _ in reply.headers):
        return True
    return (
        reply.status == HTTPStatus.NOT_FOUND
        and not reply.body
        and call.service != "s3"
        and environ["REQUEST_METHOD"] != "HEAD"
    )
