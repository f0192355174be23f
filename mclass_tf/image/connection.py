"""The connection to one repository of a registry: the OCI distribution API over the client of the ORAS project."""

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
TAKEN = "TAG_INVALID"  # an immutable tag is there; ECR refuses even the image that it names
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0  # between two bytes: ECR takes its time to check a large layer
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the registry has answered, with all of its body; header names are of any case."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class BrokenOffError(Exception):
    """The connection broke in the middle of a request."""


class Connection:
    """Makes the calls. Raises RegistryError and its kin, BrokenOffError where a call that may not be repeated breaks."""

    def __init__(
        self, login: Login, repository: str, *, environment: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._repository = repository
        self._environment = environment
        self._sleep = sleep
        self._base = f"{'https' if login.is_tls else 'http'}://{login.host}/v2/{repository}/"
        self._client = _client(login)

    def wait(self, attempt: int, error: BrokenOffError) -> None:
        """Wait before the next try; raise UnreachableError after the last."""
        if attempt == TRIES:
            raise self.unreachable(error) from None
        self._sleep(2.0 ** (attempt - 1))

    def again(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> Answer:
        """Make a call that may be repeated, and is where the connection breaks or the registry is busy."""
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
    ) -> Answer:
        """Make a call once; return its answer, of which no more is read than a manifest may have."""
        with closing(self.open(method, path, headers=headers, data=data)) as answer:
            return read_answer(answer)

    def open(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> requests.Response:
        from requests.exceptions import RequestException  # noqa: PLC0415

        try:
            # Without the client's own retries, which would send what is left of a half-read file as if it were all.
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

    def location(self, answer: Answer) -> str:
        """Where an upload goes on. Registries give whole URLs or paths; the password goes to no other host."""
        location = self.header(answer, "Location")
        try:
            place = urljoin(self._base, location)
            is_own = urlsplit(place)[:2] == urlsplit(self._base)[:2]
        except ValueError:
            is_own = False
        if not is_own:
            raise RegistryError(
                f"the registry at {urlsplit(self._base).netloc} sends uploads elsewhere: {location[:200]}",
                hint="nothing was sent there; push to ECR itself, not through something that answers in its place",
            )
        return place

    def header(self, answer: Answer, name: str) -> str:
        """Return a header that an answer must have."""
        value = answer.headers.get(name)
        if not value:
            raise RegistryError(
                f"the registry at {urlsplit(self._base).netloc} answers {answer.status_code} without a {name}",
                hint="is it ECR that answers there, and not something in its place? try again",
            )
        return str(value)

    def unreachable(self, error: BrokenOffError) -> UnreachableError:
        return UnreachableError(
            f"the registry at {urlsplit(self._base).netloc} does not answer: {error}",
            hint="push again: what has arrived is not sent again",
        )

    def check(self, answer: Answer, expected: HTTPStatus, *, doing: str = "push to") -> None:
        """Raise what a refusal means."""
        if answer.status_code == expected:
            return
        refusal = refusal_of(answer)
        code, message = refusal.code, refusal.message
        what = f"the registry refused to {doing} {self._repository}: {message}"
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise LoginRefusedError(
                what, hint="the token has expired or may not do this: sign in and try again"
            )
        if code == "NAME_UNKNOWN":
            raise RepositoryMissingError(
                f"there is no repository {self._repository}: {message}",
                hint=Hint("it comes with the infrastructure: ", ("apply", self._environment)),
            )
        if code == TAKEN:
            raise TagTakenError(
                what, hint="tags are immutable: build again, or name the image with --tag TAG"
            )
        if code == "DIGEST_INVALID":
            raise CorruptedImageError(what, hint="the blob was damaged on its way: push again")
        if answer.status_code == HTTPStatus.INSUFFICIENT_STORAGE:
            raise DiskFullError(
                what, hint="free some space where the registry keeps its blobs, then push again"
            )
        raise RegistryError(f"{what} ({answer.status_code} {code})".strip(), hint="push again")


def _client(login: Login) -> Any:
    """A client of the ORAS project that asks with the token at once, and does not wait for ever."""
    from oras.provider import Registry as OrasRegistry  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    class Patient(HTTPAdapter):
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
    # Loopback is reached directly, whatever proxy stands before the internet.
    client.session.trust_env = login.is_tls
    for prefix in ("http://", "https://"):
        client.session.mount(prefix, Patient())
    return client


def read_answer(answer: requests.Response) -> Answer:
    """Read an answer; raise BrokenOffError where it ends early, RegistryError where it is too large."""
    from requests.exceptions import RequestException  # noqa: PLC0415

    content = bytearray()
    try:
        for piece in answer.iter_content(64 * 1024):
            content += piece
            if len(content) > documents.LARGEST:
                raise RegistryError(
                    f"the registry answers {answer.status_code} with more than {documents.LARGEST >> 20} MiB",
                    hint="is it ECR that answers there, and not something in its place?",
                )
    except (RequestException, OSError) as error:
        raise BrokenOffError(str(error)) from None
    return Answer(
        status_code=answer.status_code, reason=answer.reason, headers=answer.headers, content=bytes(content)
    )


class Refusal(msgspec.Struct, frozen=True):
    """Why a registry refuses; `code` is one of the distribution API's, empty where the answer is none of that API."""

    code: str
    message: str


class _Errors(msgspec.Struct, frozen=True):
    errors: tuple[Refusal, ...]


def refusal_of(answer: Answer) -> Refusal:
    try:
        first = msgspec.json.decode(answer.content, type=_Errors).errors[0]
    except (ValueError, LookupError, RecursionError):
        return Refusal(code="", message=f"{answer.status_code} {answer.reason}")
    return Refusal(code=first.code, message=first.message[:_LONGEST_MESSAGE])
