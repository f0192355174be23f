"""A plain HTTP client of the registry, and small images to push with it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import requests

from tests.local.conftest import Account

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Image:
    """One layer, a configuration and a manifest."""

    layer: bytes
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def make_image(content: str = "one") -> Image:
    layer = f"layer of {content}".encode()
    config = json.dumps({"architecture": "amd64", "os": "linux", "made": content}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    return Image(layer=layer, config=config, manifest=json.dumps(manifest).encode())


def make_index(*images: Image, platforms: tuple[str, ...] = ()) -> bytes:
    """Return an index of images; `platforms` are theirs, "linux/amd64" where there are none."""
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": image.digest,
            "size": len(image.manifest),
            "platform": dict(zip(("os", "architecture"), platform.split("/"), strict=True)),
        }
        for image, platform in zip(images, platforms or ("linux/amd64",) * len(images), strict=True)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def make_attestation(of: Image) -> Image:
    """Return what BuildKit puts beside an image: statements about it in the form of an image, which no one can run.

    https://docs.docker.com/build/metadata/attestations/attestation-storage/
    """
    layer = json.dumps({"subject": of.digest}).encode()
    config = json.dumps({"architecture": "unknown", "os": "unknown"}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.in-toto+json", layer)],
    }
    return Image(layer=layer, config=config, manifest=json.dumps(manifest).encode())


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


@dataclass(frozen=True)
class Client:
    """The registry of one account, logged in."""

    account: Account
    repository: str
    authorization: str
    host: str | None = None

    def call(
        self, method: str, path: str, *, data: Any = None, headers: dict[str, str] | None = None, **query: str
    ) -> requests.Response:
        """Send a request below `/v2/`, or to the Location that an answer gave."""
        named = {"Host": self.host} if self.host else {}
        where = path if path.startswith("/v2/") else f"/v2/{self.repository}/{path}"
        return requests.request(
            method,
            self.account.server.url + where,
            params={"from" if key == "source" else key: value for key, value in query.items()},
            data=data,
            headers={"Authorization": self.authorization, **named, **(headers or {})},
            timeout=30,
        )

    def start(self) -> str:
        answer = self.call("POST", "blobs/uploads/")
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def push_blob(self, data: bytes) -> requests.Response:
        return self.call("PUT", self.start(), data=data, digest=digest_of(data))

    def push_manifest(self, manifest: bytes, reference: str, media_type: str = MANIFEST) -> requests.Response:
        return self.call("PUT", f"manifests/{reference}", data=manifest, headers={"Content-Type": media_type})

    def push(self, image: Image, reference: str) -> requests.Response:
        for blob in (image.layer, image.config):
            assert self.push_blob(blob).status_code == 201
        return self.push_manifest(image.manifest, reference)


def log_in(account: Account, repository: str, *, create: bool = True, **settings: Any) -> Client:
    """Log in by GetAuthorizationToken, with a repository of that name made first."""
    ecr = account.client("ecr")
    if create:
        ecr.create_repository(repositoryName=repository, **settings)
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return Client(account, repository, f"Basic {token}")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def codes(answer: requests.Response) -> list[str]:
    return [error["code"] for error in answer.json()["errors"]]
