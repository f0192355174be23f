"""Keeps the images that serve, and those that a rollback would need, from the repository's lifecycle policy.

The policy of modules/ecr counts pushes, by the time of the push, and knows nothing of use. No image with a tag `released-…`
expires by that count: its rule comes before the others. A tag names its image by the digest, so that it never has to move. This
package puts the tags before anything is changed, and takes them off images that nothing needs any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mclass_tf import verify
from mclass_tf.aws import error_code, error_message
from mclass_tf.errors import TagTakenError
from mclass_tf.flows.attempt import ledger_of
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.image.registry import MANIFESTS
from mclass_tf.ledger import LOOKED_BACK, Record, proven_releases

PREFIX: Final = "released-"
"""The lifecycle policy of modules/ecr names it too."""
KEPT: Final = 10
"""So many proven images stay, beside those in use."""
_MOST_ATTEMPTS = 200
_TAKEN = ("ImageAlreadyExistsException", "ImageTagAlreadyExistsException")


def tag_of(digest: str) -> str:
    """Return the tag that keeps an image."""
    return f"{PREFIX}{digest.removeprefix('sha256:')}"


def is_own(tag: str) -> bool:
    return tag.startswith(PREFIX)


def keep_image(deployer: Deployer, digest: str) -> None:
    """Keep an image that is about to serve, and all others that are needed.

    Raises AWS's error if the image cannot be kept. Problems with the others are only reported.
    """
    repository = Repository(ecr=deployer.session.aws.ecr, name=deployer.outputs.repository_name)
    repository.keep(digest)
    try:
        _settle(deployer, repository, digest)
    except Exception as error:
        if not error_code(error):
            raise
        deployer.session.report(_failed(error))


def try_to_keep_image(deployer: Deployer, digest: str) -> None:
    """Keep an image that a rollback returns to. Nothing stops a rollback: problems are only reported."""
    try:
        keep_image(deployer, digest)
    except Exception as error:
        if not error_code(error) and not isinstance(error, TagTakenError):
            raise
        deployer.session.report(_failed(error))


def _failed(error: Exception) -> str:
    return (
        "the images that a rollback would need are not all kept from the repository's lifecycle policy: "
        f"{error_message(error)}; the credentials need ecr:ListImages, ecr:BatchGetImage, ecr:PutImage and ecr:BatchDeleteImage"
    )


def _settle(deployer: Deployer, repository: Repository, digest: str) -> None:
    """Tag all needed images that are there, and no others."""
    needed = {digest, *_in_use(deployer), *_proven(deployer)}
    tags = repository.tags()
    for each in sorted(needed & tags.keys()):
        if tag_of(each) not in tags[each]:
            repository.keep(each)
    for each in sorted(tags.keys() - needed):
        repository.release(each, tags[each])


def _in_use(deployer: Deployer) -> set[str]:
    """Return the digests that the service's deployments run."""
    definitions = {each.task_definition_arn for each in deployer.service().deployments}
    images = (deployer.image_of(arn).rpartition("@")[2] for arn in definitions)
    return {image for image in images if image and image != verify.PLACEHOLDER}


def _proven(deployer: Deployer) -> set[str]:
    records: list[Record] = []
    for record in ledger_of(deployer.session).latest_first(most=_MOST_ATTEMPTS):
        records.append(record)
        # A rollback looks at as many attempts. After many failed ones, the proven ones are further back.
        if len(records) >= LOOKED_BACK and len(_latest(records)) >= KEPT:
            break
    return set(_latest(records)) | set(_latest(proven_releases(records[::-1])[::-1]))


def _latest(records: Iterable[Record]) -> list[str]:
    """Return the latest proven digests, from `records`, latest first."""
    digests = dict.fromkeys(each.begun.digest for each in records if each.is_proven and each.begun.digest)
    return list(digests)[:KEPT]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The tags of one repository."""

    ecr: Any
    name: str

    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """Return the tags of each tagged image, by digest."""
        found: dict[str, tuple[str, ...]] = {}
        pages = self.ecr.get_paginator("list_images").paginate(
            repositoryName=self.name, filter={"tagStatus": "TAGGED"}
        )
        for page in pages:
            for each in page["imageIds"]:
                digest = each["imageDigest"]
                found[digest] = (*found.get(digest, ()), each["imageTag"])
        return found

    def keep(self, digest: str) -> None:
        """Tag an image; raise TagTakenError if the tag names another one, AWS's error if it cannot be tagged."""
        answer = self.ecr.batch_get_image(
            repositoryName=self.name,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=list(MANIFESTS),
        )
        tag = tag_of(digest)
        for image in answer["images"]:
            try:
                self.ecr.put_image(
                    repositoryName=self.name,
                    imageManifest=image["imageManifest"],
                    imageManifestMediaType=image["imageManifestMediaType"],
                    imageDigest=digest,
                    imageTag=tag,
                )
            except Exception as error:
                if error_code(error) not in _TAKEN:
                    raise
                self._require_own(tag, digest)

    def _require_own(self, tag: str, digest: str) -> None:
        answer = self.ecr.batch_get_image(
            repositoryName=self.name, imageIds=[{"imageTag": tag}], acceptedMediaTypes=list(MANIFESTS)
        )
        there = {image["imageId"]["imageDigest"] for image in answer["images"]}
        if there and there != {digest}:
            raise TagTakenError(
                f"the tag {tag} of {self.name} names another image: {', '.join(there)}",
                hint=f"tags that begin with {PREFIX} belong to this command: delete it there",
            )

    def release(self, digest: str, tags: tuple[str, ...]) -> None:
        """Leave an image to the lifecycle policy. One without another tag keeps its tag: without any, ECR would delete it.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
        """
        tag = tag_of(digest)
        if tag in tags and len(tags) > 1:
            self.ecr.batch_delete_image(repositoryName=self.name, imageIds=[{"imageTag": tag}])
