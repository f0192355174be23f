"""Pushes images to ECR, and pulls from it, by the OCI distribution API over the client of the ORAS project.

Credentials come from GetAuthorizationToken and stay in memory.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec

from mclass_tf.aws import Aws
from mclass_tf.errors import (
    CorruptedImageError,
    CredentialsError,
    DiskFullError,
    LoginRefusedError,
    NoImageError,
    RegistryError,
    RepositoryMissingError,
    TagTakenError,
    UnreachableError,
)
from mclass_tf.image import documents
from mclass_tf.image.layout import Descriptor, Image
from mclass_tf.system import machine

if TYPE_CHECKING:
    import requests

Report = Callable[[str], None]
_TRIES = 4
# ECR answers 404 to who does not accept the type of a manifest that it has.
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0  # between two bytes: ECR takes its time to check a large layer
_BUSY = frozenset([429, 500, 502, 503, 504])
_TAKEN = "TAG_INVALID"  # an immutable tag is there; ECR refuses even the image that it names
_PIECE = 1024 * 1024
_TOLD_EVERY = 32 * 1024 * 1024
_MEGABYTE = 1_000_000
_LONGEST_MESSAGE = 2000
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,15})")


@dataclass(frozen=True, kw_only=True)
class Login:
    """A registry that was logged in to; `host` is host[:port]. The password stays out of `repr`."""

    host: str
    is_tls: bool
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push came to; `sent` counts the bytes of blobs. Nothing `changed` where the tag named the image already."""

    digest: str
    repository: str
    tag: str
    sent: int
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest as the registry keeps it: its bytes, which `digest` names, and what they are."""

    digest: str
    media_type: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the registry has answered, with all of its body; header names are of any case."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class BrokenOffError(Exception):
    """The connection broke in the middle of a request."""


def log_in(aws: Aws) -> Login:
    """Ask ECR for a token. On an endpoint that is named, the registry is there too, whatever ECR calls it."""
    import base64  # noqa: PLC0415

    try:
        found = aws.ecr.get_authorization_token()["authorizationData"][0]
        place = urlsplit(aws.access.endpoint_url or found["proxyEndpoint"])
        user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
    except aws.ecr.exceptions.ClientError as error:
        raise CredentialsError(
            f"ECR gives no authorization token: {error}",
            hint="the credentials need ecr:GetAuthorizationToken; sign in again if they have expired",
        ) from None
    except (LookupError, ValueError) as error:
        raise CredentialsError(
            f"ECR gives no authorization token that can be read: {error!r}",
            hint="try again; is the endpoint one of AWS (AWS_ENDPOINT_URL)?",
        ) from None
    return Login(host=place.netloc, is_tls=place.scheme == "https", user=user, password=password)


class Registry:
    """One repository of a registry. Raises RegistryError and its kin."""

    def __init__(
        self,
        login: Login,
        repository: str,
        *,
        environment: str,
        report: Report,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._repository = repository
        self._environment = environment
        self._report = report
        self._sleep = sleep
        self._base = f"{'https' if login.is_tls else 'http'}://{login.host}/v2/{repository}/"
        self._client = _client(login)

    def push(self, image: Image, *, tag: str) -> Pushed:
        """Push the blobs that are not there, then the manifest under `tag`: before that, nothing can be seen of it."""
        there = self._digest_of(tag)
        if there == image.digest:
            return self._pushed(image, tag=tag, sent=0, changed=False)
        if there is not None:
            self._refuse_taken(tag, there)
        missing = self.missing(image.blobs)
        for blob in missing:
            image.verify(blob)
            self.send(image.path(blob.digest), blob)
        image.verify(image.manifest)
        data = image.path(image.digest).read_bytes()
        manifest = Manifest(digest=image.digest, media_type=image.manifest.media_type, data=data)
        self.put_manifest(manifest, reference=tag)
        return self._pushed(image, tag=tag, sent=sum(blob.size for blob in missing), changed=True)

    def is_tagged(self, tag: str, digest: str) -> bool:
        """Tell whether the tag names that image; raise TagTakenError where it names another."""
        there = self._digest_of(tag)
        if there not in (None, digest):
            self._refuse_taken(tag, str(there))
        return there is not None

    def missing(self, blobs: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return the blobs that the repository does not have."""
        missing = tuple(blob for blob in blobs if not self._has(blob))
        size, whole = (sum(blob.size for blob in part) for part in (missing, blobs))
        if blobs:
            self._report(
                f"{len(missing)} of {len(blobs)} blobs to send, {_megabytes(size)} of {_megabytes(whole)}"
            )
        return missing

    def manifest(self, digest: str) -> Manifest:
        """Return a manifest; raise NoImageError where the repository has none of that digest."""
        answer = self._again("GET", f"manifests/{digest}", headers={"Accept": _MANIFESTS})
        if answer.status_code == HTTPStatus.NOT_FOUND and _told(answer)[0] != "NAME_UNKNOWN":
            raise self._gone(digest)
        self._check(answer, HTTPStatus.OK, doing="pull from")
        media_type = self._header(answer, "Content-Type").partition(";")[0].strip()
        return Manifest(digest=digest, media_type=media_type, data=answer.content)

    def download(self, blob: Descriptor, path: Path) -> None:
        """Write a blob to a file; raise CorruptedImageError where it is not what its digest says."""
        for attempt in range(1, _TRIES + 1):
            try:
                found = self._download(blob, path)
            except BrokenOffError as error:
                if attempt == _TRIES:
                    raise self._unreachable(error) from None
                self._sleep(2.0 ** (attempt - 1))
                continue
            if found == blob.digest:
                return
        raise CorruptedImageError(
            f"the blob {blob.digest} of {self._repository} came as {found}",
            hint="it was damaged on its way, or is damaged there: try again, or push the image again",
        )

    def _download(self, blob: Descriptor, path: Path) -> str:
        """Write a blob to a file; return the digest of what came."""
        from requests.exceptions import RequestException  # noqa: PLC0415

        seen = hashlib.sha256()
        headers = {"Accept-Encoding": "identity"}  # the bytes as they are
        seen_bytes = 0
        with closing(self._open("GET", f"blobs/{blob.digest}", headers=headers)) as answer:
            if answer.status_code in _BUSY:
                raise BrokenOffError(f"{answer.status_code} {answer.reason}")
            if answer.status_code == HTTPStatus.NOT_FOUND:
                raise self._gone(blob.digest)
            if answer.status_code != HTTPStatus.OK:
                self._check(_whole(answer), HTTPStatus.OK, doing="pull from")
            try:
                with path.open("wb") as file:
                    for piece in answer.iter_content(_PIECE):
                        seen.update(piece)
                        file.write(piece)
                        seen_bytes += len(piece)
                        if seen_bytes > blob.size:
                            return f"more than its {blob.size} bytes"
            except RequestException as error:
                raise BrokenOffError(str(error)) from None
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise DiskFullError(
                    f"no space left for {path.parent}", hint="free some space, then try again"
                ) from None
        return f"sha256:{seen.hexdigest()}"

    def _gone(self, digest: str) -> NoImageError:
        return NoImageError(
            f"the repository {self._repository} of {self._environment} does not have {digest}",
            hint=f"it was deleted there: push it again (`push {self._environment}`), or release another image",
        )

    def _pushed(self, image: Image, *, tag: str, sent: int, changed: bool) -> Pushed:
        return Pushed(
            digest=image.digest,
            repository=self._repository,
            tag=tag,
            sent=sent,
            changed=changed,
        )

    def _refuse_taken(self, tag: str, there: str) -> None:
        raise TagTakenError(
            f"the tag {tag} of {self._repository} names another image already: {there}",
            hint="tags are immutable: commit what has changed and build again, or name the image with --tag TAG",
        )

    def _digest_of(self, tag: str) -> str | None:
        """The digest that the tag names; None where there is none."""
        accepted = {"Accept": "application/vnd.oci.image.manifest.v1+json, */*"}
        answer = self._again("HEAD", f"manifests/{tag}", headers=accepted)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            self._require_repository()
            return None
        if answer.status_code != HTTPStatus.OK:
            self._require_repository()
        self._check(answer, HTTPStatus.OK)
        return self._header(answer, "Docker-Content-Digest")

    def _require_repository(self) -> None:
        """A refused HEAD has no body that says why, and 404 is a missing tag or a missing repository: ask again."""
        self._check(self._again("GET", "tags/list?n=1"), HTTPStatus.OK)

    def _has(self, blob: Descriptor) -> bool:
        answer = self._again("HEAD", f"blobs/{blob.digest}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return False
        self._check(answer, HTTPStatus.OK)
        return True

    def send(self, path: Path, blob: Descriptor) -> None:
        """Send a blob; where the connection breaks, go on from the byte that the registry has got to."""
        place, offset = self._start(), 0
        for attempt in range(1, _TRIES + 1):
            try:
                with path.open("rb") as file:
                    place = self._send_from(file, blob, place=place, offset=offset)
                break
            except BrokenOffError as error:
                if attempt == _TRIES:
                    raise self._unreachable(error) from None
                self._sleep(2.0 ** (attempt - 1))
                place, offset = self._resume(place, size=blob.size)
                self._report(f"the connection broke; going on from {_megabytes(offset)}")
        query = urlencode({"digest": blob.digest})
        joined = f"{place}{'&' if '?' in place else '?'}{query}"
        answer = self._again("PUT", joined)
        if answer.status_code == HTTPStatus.NOT_FOUND and self._has(blob):
            return  # the upload ended with a try whose answer was lost
        self._check(answer, HTTPStatus.CREATED)

    def _start(self) -> str:
        answer = self._again("POST", "blobs/uploads/")
        self._check(answer, HTTPStatus.ACCEPTED)
        return self._location(answer)

    def _send_from(self, file: IO[bytes], blob: Descriptor, *, place: str, offset: int) -> str:
        file.seek(offset)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size - offset)}
        if offset:
            headers["Content-Range"] = f"{offset}-{blob.size - 1}"
        body = _Watched(file, size=blob.size, offset=offset, report=self._report)
        answer = self._call("PATCH", place, headers=headers, data=body)
        if answer.status_code in _BUSY:
            raise BrokenOffError(f"{answer.status_code} {answer.reason}")
        self._check(answer, HTTPStatus.ACCEPTED)
        return self._location(answer)

    def _resume(self, place: str, *, size: int) -> tuple[str, int]:
        """Where and from which byte an upload goes on; a new one where the registry does not know the old one."""
        answer = self._again("GET", place)
        reached = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if answer.status_code != HTTPStatus.NO_CONTENT or reached is None or not 0 < int(reached[1]) < size:
            return self._start(), 0
        return self._location(answer), int(reached[1]) + 1

    def put_manifest(self, manifest: Manifest, *, reference: str) -> None:
        """Put a manifest under a tag, or under its own digest: from then on the image is there."""
        headers = {"Content-Type": manifest.media_type}
        answer = self._again("PUT", f"manifests/{reference}", headers=headers, data=manifest.data)
        if _told(answer)[0] == _TAKEN and self._digest_of(reference) == manifest.digest:
            return  # by a try whose answer was lost, or by another push of the same image
        self._check(answer, HTTPStatus.CREATED)
        found = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if found != manifest.digest:
            raise CorruptedImageError(
                f"the registry took {found} for {manifest.digest}",
                hint="the manifest was damaged on its way: push again",
            )

    def _again(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> Answer:
        """Make a call that may be repeated, and is where the connection breaks or the registry is busy."""
        for attempt in range(1, _TRIES):
            with suppress(BrokenOffError):
                answer = self._call(method, path, headers=headers, data=data)
                if answer.status_code not in _BUSY:
                    return answer
            self._sleep(2.0 ** (attempt - 1))
        try:
            return self._call(method, path, headers=headers, data=data)
        except BrokenOffError as error:
            raise self._unreachable(error) from None

    def _call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Answer:
        """Make a call once; return its answer, of which no more is read than a manifest may have."""
        with closing(self._open(method, path, headers=headers, data=data)) as answer:
            return _whole(answer)

    def _open(
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

    def _location(self, answer: Answer) -> str:
        """Where an upload goes on. Registries give whole URLs or paths; the password goes to no other host."""
        location = self._header(answer, "Location")
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

    def _header(self, answer: Answer, name: str) -> str:
        """Return a header that an answer must have."""
        value = answer.headers.get(name)
        if not value:
            raise RegistryError(
                f"the registry at {urlsplit(self._base).netloc} answers {answer.status_code} without a {name}",
                hint="is it ECR that answers there, and not something in its place? try again",
            )
        return str(value)

    def _unreachable(self, error: BrokenOffError) -> UnreachableError:
        return UnreachableError(
            f"the registry at {urlsplit(self._base).netloc} does not answer: {error}",
            hint="push again: what has arrived is not sent again",
        )

    def _check(self, answer: Answer, expected: HTTPStatus, *, doing: str = "push to") -> None:
        """Raise what a refusal means."""
        if answer.status_code == expected:
            return
        code, message = _told(answer)
        what = f"the registry refused to {doing} {self._repository}: {message}"
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise LoginRefusedError(
                what, hint="the token has expired or may not do this: sign in and try again"
            )
        if code == "NAME_UNKNOWN":
            raise RepositoryMissingError(
                f"there is no repository {self._repository}: {message}",
                hint=f"it comes with the infrastructure: `apply {self._environment}`",
            )
        if code == _TAKEN:
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


class _Watched:
    """A file that tells how far it has been read. It has a length, so that the request states it."""

    def __init__(self, file: IO[bytes], *, size: int, offset: int, report: Report) -> None:
        self._file = file
        self._size = size
        self._sent = offset
        self._told = offset
        self._report = report

    def __len__(self) -> int:
        return self._size - self._sent

    def __iter__(self) -> Any:
        while piece := self.read(_PIECE):
            yield piece

    def read(self, length: int = _PIECE) -> bytes:
        piece = self._file.read(max(length, _PIECE))
        self._sent += len(piece)
        if self._sent - self._told >= _TOLD_EVERY:
            self._told = self._sent
            self._report(f"sent {_megabytes(self._sent)} of {_megabytes(self._size)}")
        return piece


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


def _whole(answer: requests.Response) -> Answer:
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


def _told(answer: Answer) -> tuple[str, str]:
    """Code and message of a refusal."""
    try:
        first = msgspec.json.decode(answer.content, type=_Refusal).errors[0]
    except (ValueError, LookupError, RecursionError):
        return "", f"{answer.status_code} {answer.reason}"
    return first.code, first.message[:_LONGEST_MESSAGE]


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    errors: tuple[_Error, ...]


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"
