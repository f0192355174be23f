"""Calls the OCI distribution API of one repository, over the client of the ORAS project."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec

from mclass_tf.errors import (
    CorruptedImageError,
    DiskFullError,
    Hint,
    LoginRefusedError,
    RegistryError,
    RepositoryMissingError,
    TagTakenError,
    UnreachableError,
)
from mclass_tf.image import documents
from mclass_tf.image.login import Login
from mclass_tf.system import machine

if TYPE_CHECKING:
    import requests

TRIES = 4
BUSY = frozenset([429, 500, 502, 503, 504])
TAKEN = "TAG_INVALID"  # an immutable tag exists; ECR refuses even a push of the same image
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0  # between two bytes: ECR is slow to check a large layer
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True, kw_only=True)
class RegistryResponse:
    """A response of the registry with its whole body. `headers` is case-insensitive."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class BrokenOffError(Exception):
    """The connection broke during a request."""


class Connection:
    """Makes the calls. Raises RegistryError and its subclasses, and BrokenOffError if a call without retries breaks off."""

    def __init__(
        self, login: Login, repository: str, *, environment: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._repository = repository
        self._environment = environment
        self._sleep = sleep
        self._base = f"{'https' if login.is_tls else 'http'}://{login.host}/v2/{repository}/"
        self._client = _client(login)

    def wait(self, attempt: int, error: BrokenOffError) -> None:
        """Wait before the next attempt; raise UnreachableError after the last."""
        if attempt == TRIES:
            raise self.unreachable(error) from None
        self._sleep(2.0 ** (attempt - 1))

    def call_with_retries(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> RegistryResponse:
        """Make an idempotent call. Retry it if the connection breaks or the registry is busy."""
        for attempt in range(1, TRIES):
            with suppress(BrokenOffError):
                answer = self.call(method, path, headers=headers, data=data)
                if answer.status_code not in BUSY:
                    return answer
            self._sleep(2.0 ** (attempt - 1))
        try:
            return self.call(method, path, headers=headers, data=data)
        except BrokenOffError as error:
            raise self.unreachable(error) from None

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> RegistryResponse:
        """Make a call once; return its response, limited to the largest size of a manifest."""
        with closing(self.open(method, path, headers=headers, data=data)) as answer:
            return read_answer(answer)

    def open(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> requests.Response:
        from requests.exceptions import RequestException  # noqa: PLC0415

        try:
            # Skip the client's own retries: they would send the rest of a half-read file as if it were all of it.
            answer: requests.Response = self._client.do_request.__wrapped__(
                self._client,
                urljoin(self._base, path),
                method,
                data=data,
                headers=dict(headers or {}),
                stream=True,
            )
        except (RequestException, OSError, ValueError) as error:
            raise machine.shortage(error) or BrokenOffError(str(error)) from None
        return answer

    def location(self, answer: RegistryResponse) -> str:
        """Return the URL where an upload continues. Registries return URLs or paths. Other hosts must not get the password."""
        location = self.header(answer, "Location")
        try:
            url = urljoin(self._base, location)
            is_own = urlsplit(url)[:2] == urlsplit(self._base)[:2]
        except ValueError:
            is_own = False
        if not is_own:
            raise RegistryError(
                f"the registry at {urlsplit(self._base).netloc} sends uploads elsewhere: {location[:200]}",
                hint="nothing was sent there; push to ECR directly, not through a proxy",
            )
        return url

    def header(self, answer: RegistryResponse, name: str) -> str:
        """Return a header; raise RegistryError if it is missing."""
        value = answer.headers.get(name)
        if not value:
            raise RegistryError(
                f"the registry at {urlsplit(self._base).netloc} answers {answer.status_code} without a {name}",
                hint="check that ECR itself answers there, not a proxy, and try again",
            )
        return str(value)

    def unreachable(self, error: BrokenOffError) -> UnreachableError:
        return UnreachableError(
            f"the registry at {urlsplit(self._base).netloc} does not answer: {error}",
            hint="push again: what has arrived is not sent again",
        )

    def check(self, answer: RegistryResponse, expected: HTTPStatus, *, doing: str = "push to") -> None:
        """Raise the error that an unexpected response means."""
        if answer.status_code == expected:
            return
        refusal = refusal_of(answer)
        code, message = refusal.code, refusal.message
        failed = f"the registry refused to {doing} {self._repository}: {message}"
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise LoginRefusedError(
                failed, hint="the token has expired or may not do this: sign in and try again"
            )
        if code == "NAME_UNKNOWN":
            raise RepositoryMissingError(
                f"there is no repository {self._repository}: {message}",
                hint=Hint("it comes with the infrastructure: ", ("apply", self._environment)),
            )
        if code == TAKEN:
            raise TagTakenError(
                failed, hint="tags are immutable: build again, or name the image with --tag TAG"
            )
        if code == "DIGEST_INVALID":
            raise CorruptedImageError(failed, hint="the blob was damaged on its way: push again")
        if answer.status_code == HTTPStatus.INSUFFICIENT_STORAGE:
            raise DiskFullError(
                failed, hint="free some space where the registry keeps its blobs, then push again"
            )
        raise RegistryError(f"{failed} ({answer.status_code} {code})".strip(), hint="push again")


def _client(login: Login) -> Any:
    """Return a client of the ORAS project that sends the token at once and has timeouts."""
    from oras.provider import Registry as OrasRegistry  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    class TimeoutAdapter(HTTPAdapter):
        def send(  # noqa: PLR0917  # the library has no timeout of its own
            self,
            request: requests.PreparedRequest,
            stream: bool = False,  # noqa: FBT001, FBT002  # requests' signature
            timeout: Any = None,
            verify: bool | str = True,  # noqa: FBT001, FBT002
            cert: Any = None,
            proxies: dict[str, str] | None = None,
        ) -> requests.Response:
            limits = timeout or (_CONNECT_SECONDS, _ANSWER_SECONDS)
            return super().send(request, stream, limits, verify, cert, proxies)

    client = OrasRegistry(hostname=login.host, insecure=not login.is_tls, auth_backend="basic")
    client.auth.set_basic_auth(login.user, login.password)
    client.session.auth = (login.user, login.password)
    # No proxy for loopback.
    client.session.trust_env = login.is_tls
    for prefix in ("http://", "https://"):
        client.session.mount(prefix, TimeoutAdapter())
    return client


def read_answer(answer: requests.Response) -> RegistryResponse:
    """Read a response; raise BrokenOffError if it ends early, RegistryError if it is too large."""
    from requests.exceptions import RequestException  # noqa: PLC0415

    content = bytearray()
    try:
        for piece in answer.iter_content(64 * 1024):
            content += piece
            if len(content) > documents.LARGEST:
                raise RegistryError(
                    f"the registry answers {answer.status_code} with more than {documents.LARGEST >> 20} MiB",
                    hint="check that ECR itself answers there, not a proxy",
                )
    except (RequestException, OSError) as error:
        raise BrokenOffError(str(error)) from None
    return RegistryResponse(
        status_code=answer.status_code, reason=answer.reason, headers=answer.headers, content=bytes(content)
    )


class Refusal(msgspec.Struct, frozen=True):
    """Why a registry refused a call. `code` is from the distribution API, "" if the response has none."""

    code: str
    message: str


class _Errors(msgspec.Struct, frozen=True):
    errors: tuple[Refusal, ...]


def refusal_of(answer: RegistryResponse) -> Refusal:
    try:
        first = msgspec.json.decode(answer.content, type=_Errors).errors[0]
    except (ValueError, LookupError, RecursionError):
        return Refusal(code="", message=f"{answer.status_code} {answer.reason}")
    return Refusal(code=first.code, message=first.message[:_LONGEST_MESSAGE])
