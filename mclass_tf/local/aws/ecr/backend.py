"""ECR: repositories and their images.

Layers are pushed only through the registry. moto stores only the digests of the layers in each repository.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

from moto.core.exceptions import JsonRESTError, ServiceException
from moto.core.responses import ActionResult
from moto.ecr import urls
from moto.ecr.exceptions import (
    ImageNotFoundException,
    InvalidParameterException,
    LimitExceededException,
    ScanNotFoundException,
)
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from mclass_tf.local import documents
from mclass_tf.local.access.registry_tokens import Principal, Tokens
from mclass_tf.local.aws import kms
from mclass_tf.local.aws.ecr import lifecycle, policy
from mclass_tf.local.aws.extend import use_backend, use_responses
from mclass_tf.local.aws.regions import dns_suffix

tokens = Tokens()

MOST_LAYERS = 127
"""The layers that a container runtime can stack: https://docs.docker.com/engine/storage/drivers/overlayfs-driver/ ."""
_MAX_FINDINGS = 1000
_FINDINGS_A_PAGE = 100
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}", re.ASCII)

INDEXES = frozenset(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


class TagExistsError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "ImageTagAlreadyExistsException"

    def __init__(self, *, tag: str, repository: str) -> None:
        super().__init__(
            f"The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten "
            "because the repository is immutable."
        )


class NotScannableError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "UnsupportedImageTypeException"


class MissingLayersError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "LayersNotFoundException"


class MissingImagesError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "ReferencedImagesNotFoundException"


class DigestMismatchError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "ImageDigestDoesNotMatchException"


class ImageExistsError(ServiceException):  # type: ignore[misc]  # moto is not typed for us
    code = "ImageAlreadyExistsException"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the scanner answers for an image of a repository, or for all of its images if `digest` is None.

    `status` is the status of the scan, "" for the usual one, and NOT_SCANNED for ScanNotFoundException. `is_enhanced`: the
    findings have the shape of Amazon Inspector's.
    """

    repository: str
    digest: str | None
    findings: tuple[dict[str, Any], ...]
    status: str = ""
    description: str = ""
    is_enhanced: bool = False


class StoredImage(Image):  # type: ignore[misc]  # moto is not typed for us
    """An image as DescribeImages returns it."""

    scan_findings: tuple[dict[str, Any], ...] = ()
    scan: Findings | None = None

    @property
    def is_scanned(self) -> bool:
        return (
            (self.scan.status != NOT_SCANNED)
            if self.scan and self.scan.status
            else self.last_scan is not None
        )

    @property
    def artifact_media_type(self) -> str | None:
        manifest = json.loads(self.image_manifest)
        kind: str | None = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType")
        return kind

    @property
    def is_index(self) -> bool:
        return self.image_manifest_media_type in INDEXES or "manifests" in json.loads(self.image_manifest)

    @property
    def is_supported(self) -> bool:
        """Return whether the image contains a file system to scan. An attestation, for example, does not."""
        layers = json.loads(self.image_manifest).get("layers", ())
        return not layers or any(
            ".layer." in layer.get("mediaType", "") or ".rootfs." in layer.get("mediaType", "")
            for layer in layers
        )

    @property
    def image_scan_status(self) -> dict[str, str] | None:
        if not self.is_scanned:
            return None
        if self.scan is not None and self.scan.status:
            return {"status": self.scan.status, "description": self.scan.description}
        return _COMPLETE if self.is_supported else _UNSUPPORTED

    @property
    def image_scan_findings_summary(self) -> dict[str, Any] | None:
        status = self.image_scan_status
        if status is None or status["status"] not in _WITH_FINDINGS:
            return None
        scanned_at = self.last_scan or dt.datetime.now(dt.UTC)
        return {
            "imageScanCompletedAt": scanned_at,
            "vulnerabilitySourceUpdatedAt": scanned_at,
            "findingSeverityCounts": dict(Counter(finding["severity"] for finding in self.scan_findings)),
        }

    def get_image_size_in_bytes(self) -> int | None:
        """Return the size of the layers and the configuration, or None for an index."""
        manifest = json.loads(self.image_manifest)
        if "layers" not in manifest:
            return None
        parts = (*manifest["layers"], manifest.get("config", {}))
        return sum(int(part.get("size", 0)) for part in parts)


NOT_SCANNED = "NOT_SCANNED"
SCAN_STATUSES = frozenset(
    [
        *("", NOT_SCANNED, "IN_PROGRESS", "COMPLETE", "FAILED", "UNSUPPORTED_IMAGE", "ACTIVE", "PENDING"),
        *("SCAN_ELIGIBILITY_EXPIRED", "FINDINGS_UNAVAILABLE", "LIMIT_EXCEEDED", "IMAGE_ARCHIVED"),
    ]
)
"""https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageScanStatus.html ."""
_WITH_FINDINGS = frozenset(["COMPLETE", "ACTIVE"])
_COMPLETE = {"status": "COMPLETE", "description": "The scan was completed successfully."}
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning-troubleshooting.html
_UNSUPPORTED = {
    "status": "FAILED",
    "description": "UnsupportedImageError: The operating system and/or package manager are not supported.",
}
_SCAN_INTERVAL = dt.timedelta(hours=24)


class LocalEcrBackend(ECRBackend):  # type: ignore[misc]  # moto is not typed for us
    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.reported_findings: list[Findings] = []

    def create_repository(self, *, encryption_config: dict[str, str] | None, **settings: Any) -> Any:
        """Require an existing, enabled KMS key. moto accepts any text.

        https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
        """
        key = (encryption_config or {}).get("kmsKey")
        if key and kms.usable_key(account_id=self.account_id, region=self.region_name, reference=key) is None:
            raise JsonRESTError("KmsException", f"The KMS key {key} does not exist or is not enabled.")
        repository = super().create_repository(encryption_config=encryption_config, **settings)
        # moto gives China's repositories the suffix of the other partitions.
        host, _, name = str(repository.uri).partition("/")
        repository.uri = (
            f"{host.removesuffix('.cn').removesuffix('.amazonaws.com')}.{dns_suffix(self.region_name)}/{name}"
        )
        return repository

    def put_image(
        self,
        repository_name: str,
        image_manifest: str,
        image_tag: str | None,
        image_manifest_mediatype: str | None = None,
        digest: str | None = None,
    ) -> Image:
        """Compute the digest, keep an image that loses its tag, and require the manifest's layers. moto does none of this.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
        """
        repository = self._get_repository(repository_name)
        computed = digest_of(image_manifest)
        if digest is not None and digest != computed:
            raise DigestMismatchError(
                f"The specified image digest '{digest}' does not match the digest '{computed}' that is computed for the image."
            )
        known = next((image for image in repository.images if image.image_digest == computed), None)
        holder = next((image for image in repository.images if image_tag in image.image_tags), None)
        if holder is not None and _is_immutable(repository, str(image_tag)):
            raise TagExistsError(tag=str(image_tag), repository=repository_name)
        if known is not None and (image_tag is None or known is holder):
            raise ImageExistsError(
                f"Image with digest '{computed}' and tag '{image_tag}' already exists in the repository with name "
                f"'{repository_name}' in registry with id '{self.account_id}'"
            )
        media_type = _check_manifest(repository, image_manifest, image_manifest_mediatype)
        if holder is not None:
            holder.remove_tag(str(image_tag))  # the image stays, untagged
        if known is None:
            known = self._add(
                repository, image_manifest, tag=image_tag, media_type=media_type, digest=computed
            )
        else:
            known.update_tag(image_tag)
        _expire(repository)
        return known

    def put_lifecycle_policy(
        self, registry_id: str, repository_name: str, lifecycle_policy_text: str
    ) -> dict[str, Any]:
        """Expire images as the policy says, now and after each push. moto expires none."""
        repository = self._get_repository(repository_name, registry_id)
        before = repository.lifecycle_policy
        answer: dict[str, Any] = super().put_lifecycle_policy(
            registry_id, repository_name, lifecycle_policy_text
        )
        try:
            lifecycle.check(lifecycle_policy_text)
        except InvalidParameterException:
            repository.lifecycle_policy = before
            raise
        _expire(repository)
        return answer

    def _add(
        self, repository: Repository, manifest: str, *, tag: str | None, media_type: str, digest: str
    ) -> Image:
        image = StoredImage(self.account_id, tag, manifest, repository.name, media_type, digest)
        image.scan = self._scan_of(repository, digest)
        image.scan_findings = image.scan.findings if image.scan else ()
        frequency = repository.scanning_config["scanFrequency"]
        on_push = repository.image_scanning_configuration.get("scanOnPush") or frequency == "SCAN_ON_PUSH"
        if on_push and not image.is_index:
            image.last_scan = dt.datetime.now(dt.UTC)
        repository.images.append(image)
        return image

    def _scan_of(self, repository: Repository, digest: str) -> Findings | None:
        reported = (f for f in reversed(self.reported_findings) if f.repository == repository.name)
        return next((f for f in reported if f.digest in (None, digest)), None)

    def report_findings(self, findings: Findings) -> None:
        """Make the scanner report these findings from now on, also for existing images."""
        kept = [
            earlier
            for earlier in self.reported_findings
            if (earlier.repository, earlier.digest) != (findings.repository, findings.digest)
        ]
        self.reported_findings = [*kept[-_MAX_FINDINGS:], findings]
        repository = self.repositories.get(findings.repository)
        for image in repository.images if repository is not None else ():
            if findings.digest in (None, image.image_digest):
                image.scan_findings, image.scan = findings.findings, findings

    def start_image_scan(
        self, registry_id: str, repository_name: str, image_id: dict[str, str]
    ) -> dict[str, Any]:
        """Reject an index, whose images are scanned instead, and a second scan within 24 hours. moto scans everything.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_StartImageScan.html
        """
        repository = self._get_repository(repository_name, registry_id)
        image = repository._get_image(image_id.get("imageTag"), image_id.get("imageDigest"))  # noqa: SLF001
        if image.is_index:
            raise NotScannableError(
                f"The image is of a type that cannot be scanned: {image.image_manifest_media_type}"
            )
        now = dt.datetime.now(dt.UTC)
        if image.last_scan is not None and now - image.last_scan < _SCAN_INTERVAL:
            raise LimitExceededException
        image.last_scan = now
        return {
            "registryId": repository.registry_id,
            "repositoryName": repository_name,
            "imageId": {"imageDigest": image.image_digest, **image_id},
            "imageScanStatus": {"status": "IN_PROGRESS"},
        }

    def describe_image_scan_findings(
        self,
        registry_id: str,
        repository_name: str,
        image_id: dict[str, Any],
        *,
        max_results: int = _FINDINGS_A_PAGE,
        next_token: str = "",
    ) -> dict[str, Any]:
        """Return a page of the reported findings. moto returns the same invented CVE for every image.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImageScanFindings.html
        """
        repository = self._get_repository(repository_name, registry_id)
        image = repository._get_image(image_id.get("imageTag"), image_id.get("imageDigest"))  # noqa: SLF001
        if not image.is_scanned:
            image_reference = (
                f"{{imageDigest:'{image.image_digest}', imageTag:'{image_id.get('imageTag', 'null')}'}}"
            )
            raise ScanNotFoundException(
                image_id=image_reference, repository_name=repository_name, registry_id=repository.registry_id
            )
        answer = {
            "registryId": repository.registry_id,
            "repositoryName": repository_name,
            "imageId": {"imageDigest": image.image_digest, **image_id},
            "imageScanStatus": image.image_scan_status,
        }
        summary = image.image_scan_findings_summary
        if summary is None:
            return answer
        first = int(next_token or 0) if (next_token or "0").isdecimal() else len(image.scan_findings)
        end = first + max_results
        kind = "enhancedFindings" if image.scan is not None and image.scan.is_enhanced else "findings"
        answer["imageScanFindings"] = {**summary, kind: list(image.scan_findings[first:end])}
        return answer | ({"nextToken": str(end)} if end < len(image.scan_findings) else {})

    def batch_get_image(
        self,
        repository_name: str,
        registry_id: str | None = None,
        image_ids: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Return the requested tag. moto returns every tag except that one."""
        repository = self._get_repository(repository_name, registry_id)
        answer: dict[str, Any] = {"images": [], "failures": []}
        for image_id in image_ids or []:
            try:
                image = repository._get_image(image_id.get("imageTag"), image_id.get("imageDigest"))  # noqa: SLF001
            except ImageNotFoundException:
                failure = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
                answer["failures"].append({"imageId": image_id, **failure})
                continue
            answer["images"].append(
                {
                    "registryId": repository.registry_id,
                    "repositoryName": repository_name,
                    "imageId": {"imageDigest": image.image_digest, **image_id},
                    "imageManifest": image.image_manifest,
                    "imageManifestMediaType": image.image_manifest_media_type,
                }
            )
        return answer

    def initiate_layer_upload(self, repository_name: str, registry_id: str | None = None) -> Any:
        """Reject the call: moto keeps uploaded layers in memory, where no client can pull them."""
        raise NotImplementedError("push layers through the registry, as docker and podman do")


def _expire(repository: Repository) -> None:
    gone = lifecycle.expired(repository.images, repository.lifecycle_policy, now=dt.datetime.now(dt.UTC))
    names = {image.image_digest for image in gone}
    repository.images[:] = [image for image in repository.images if image.image_digest not in names]


def digest_of(manifest: str) -> str:
    return f"sha256:{sha256(manifest.encode()).hexdigest()}"


def _is_immutable(repository: Repository, tag: str) -> bool:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html ."""
    filters = repository.image_tag_mutability_exclusion_filters or []
    excluded = any(fnmatchcase(tag, str(entry["filter"])) for entry in filters)
    return bool(repository.is_tag_immutable()) != excluded


def _check_manifest(repository: Repository, text: str, media_type: str | None) -> str:
    """Return the manifest's media type. Raise AWS's error if it is invalid or the repository lacks a part of it."""
    try:
        manifest = documents.parse_object(text)
        config = [_part(manifest["config"])] if "config" in manifest else []
        layers = [_part(part) for part in manifest.get("layers", [])]
        images = [_part(part)["digest"] for part in manifest.get("manifests", [])]
        kind = media_type or manifest.get("mediaType")
    except (ValueError, TypeError, KeyError):
        raise _invalid_manifest() from None
    is_named = all(isinstance(name, str) for name in (kind, manifest.get("artifactType", "")))
    has_parts = bool(config or layers or "manifests" in manifest)
    if not (is_named and has_parts and _MEDIA_TYPE.fullmatch(str(kind))):
        raise _invalid_manifest()
    if len(layers) > MOST_LAYERS:
        raise InvalidParameterException(f"The local AWS takes at most {MOST_LAYERS} layers in an image.")
    where = f"repository with name '{repository.name}' in the registry with id '{repository.registry_id}'"
    own = (part["digest"] for part in (*config, *layers) if not part.get("urls"))
    absent = [digest for digest in own if digest not in repository.layers]
    if absent:
        raise MissingLayersError(
            f"Layers with digests '[{', '.join(absent)}]' required for pushing image into {where} do not exist"
        )
    held = {image.image_digest for image in repository.images}
    absent = [digest for digest in images if digest not in held]
    if absent:
        raise MissingImagesError(
            f"Images with digests '[{', '.join(absent)}]' required for pushing image into {where} do not exist"
        )
    return str(kind)


def _part(part: Any) -> dict[str, Any]:
    """Return a valid descriptor; raise TypeError, KeyError or ValueError for an invalid one.

    https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md
    """
    if not isinstance(part, dict) or not isinstance(part.get("platform", {}), dict):
        raise TypeError
    size = part.get("size", 0)
    if type(size) is not int or size < 0 or not isinstance(part.get("mediaType", ""), str):
        raise ValueError
    if not _DIGEST.fullmatch(part["digest"]):
        raise ValueError
    return part


def _invalid_manifest() -> Exception:
    error: Exception = InvalidParameterException(
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid image manifest provided'"
    )
    return error


class LocalEcrResponses(ECRResponse):  # type: ignore[misc]  # moto is not typed for us
    @property
    def ecr_backend(self) -> LocalEcrBackend:
        """Return the backend of the registry that `registryId` names. moto always uses the caller's registry."""
        own = Principal(account_id=self.current_account, region=self.region)
        registry_id = self._get_param("registryId")
        if registry_id in {None, own.account_id}:
            return backend_of(own)
        other = backend_of(Principal(account_id=registry_id, region=self.region))
        name, action = self._get_param("repositoryName"), f"ecr:{self._get_action()}"
        repository = other.repositories.get(name)
        if repository is None:
            raise NotAuthorizedError(
                account_id=own.account_id,
                action=action,
                arn=f"arn:aws:ecr:{self.region}:{registry_id}:repository/{name or '*'}",
            )
        authorize(repository, account_id=own.account_id, action=action)
        return other

    def describe_image_scan_findings(self) -> ActionResult:
        """Return one page. moto ignores `maxResults` and `nextToken`."""
        answer = self.ecr_backend.describe_image_scan_findings(
            registry_id=self._get_param("registryId"),
            repository_name=self._get_param("repositoryName"),
            image_id=self._get_param("imageId"),
            max_results=int(self._get_param("maxResults") or _FINDINGS_A_PAGE),
            next_token=str(self._get_param("nextToken") or ""),
        )
        return ActionResult(answer)

    def get_authorization_token(self) -> ActionResult:
        """Return a token that the registry can verify. moto's token expired in 2015 and is not verifiable.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
        """
        token = tokens.issue(Principal(account_id=self.current_account, region=self.region))
        answer = [
            {
                "authorizationToken": token.authorization,
                "expiresAt": token.expires_at,
                "proxyEndpoint": f"https://{registry}.dkr.ecr.{self.region}.{dns_suffix(self.region)}",
            }
            for registry in self._get_param("registryIds") or [self.current_account]
        ]
        return ActionResult({"authorizationData": answer})


def backend_of(registry: Principal) -> LocalEcrBackend:
    """Return the backend of an account in a region."""
    backend: LocalEcrBackend = ecr_backends[registry.account_id][registry.region]
    return backend


def is_region(region: str, *, account_id: str) -> bool:
    """Return whether the region exists."""
    return region in ecr_backends[account_id]


class NotAuthorizedError(JsonRESTError):  # type: ignore[misc]  # moto is not typed for us
    """No policy allows this account to use another account's repository."""

    def __init__(self, *, account_id: str, action: str, arn: str) -> None:
        super().__init__(
            "AccessDeniedException",
            f"User: arn:aws:iam::{account_id}:root is not authorized to perform: {action} on resource: {arn} "
            f"because no resource-based policy allows the {action} action",
        )


def authorize(repository: Repository, *, account_id: str, action: str) -> None:
    """Raise NotAuthorizedError unless the repository belongs to the account or its policy allows the action."""
    if repository.registry_id != account_id and not policy.allows(
        repository.policy, account_id=account_id, action=action
    ):
        raise NotAuthorizedError(account_id=account_id, action=action, arn=repository.arn)


def install() -> None:
    use_backend(backends=ecr_backends, urls=urls, backend=LocalEcrBackend)
    use_responses(urls=urls, responses=LocalEcrResponses)
