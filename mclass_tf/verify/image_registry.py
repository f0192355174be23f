"""Checks of the image repository: immutable tags, scanning, encryption, privacy."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, equal, holds, one_of, registry
from mclass_tf.verify.iam import statements_of
from mclass_tf.verify.world import World

check = registry.group("registry")


@check(
    "the repository is the one that the outputs name",
    hint="the outputs are of another repository: apply the environment again",
)
def identity(world: World) -> Iterator[Comparison]:
    outputs, repository = world.outputs, world.ecr.repository
    yield equal("ARN", expected=outputs.repository_arn, actual=repository["repositoryArn"])
    yield equal("URL", expected=outputs.repository_url, actual=repository["repositoryUri"])


@check(
    "a tag that was pushed to the repository cannot be moved",
    hint='image_tag_mutability = "IMMUTABLE" in modules/ecr',
)
def immutable(world: World) -> Iterator[Comparison]:
    actual = world.ecr.repository.get("imageTagMutability")
    yield equal("tag mutability", expected="IMMUTABLE", actual=actual)


@check("the repository scans every image on push", hint="scan_on_push = true in modules/ecr")
def scanned(world: World) -> Iterator[Comparison]:
    actual = world.ecr.repository.get("imageScanningConfiguration", {}).get("scanOnPush")
    yield equal("scan on push", expected=True, actual=actual)


@check(
    "the repository is encrypted with the key that the outputs name",
    hint="encryption_configuration of modules/ecr; it cannot be changed on a repository that exists",
)
def encrypted(world: World) -> Iterator[Comparison]:
    configuration, key = world.ecr.repository.get("encryptionConfiguration", {}), world.outputs.kms_key_arn
    if key is None:
        actual = configuration.get("encryptionType")
        yield one_of("encryption", allowed=("AES256", "KMS"), actual=actual)
        return
    yield equal("encryption", expected="KMS", actual=configuration.get("encryptionType"))
    yield equal("key", expected=key, actual=configuration.get("kmsKey"))


@check(
    "the repository expires untagged images, and old releases by their count",
    hint="the lifecycle policy of modules/ecr needs a rule for untagged images and one that counts releases",
)
def lifecycle(world: World) -> Iterator[Comparison]:
    rules = world.ecr.lifecycle_rules
    untagged = [rule for rule in rules if rule.get("selection", {}).get("tagStatus") == "untagged"]
    counted = [rule for rule in rules if rule.get("selection", {}).get("countType") == "imageCountMoreThan"]
    expires = all(rule.get("action", {}).get("type") == "expire" for rule in rules)
    yield holds("rules for untagged images", bool(untagged), expected="at least one", actual=len(untagged))
    yield holds("rules that count images", bool(counted), expected="at least one", actual=len(counted))
    yield holds("actions of the rules", expires, expected="expire", actual=[r.get("action") for r in rules])


@check(
    "the repository is open only to named accounts",
    hint="pull_account_ids of modules/ecr names accounts; the repository policy must have no principal *",
)
def private(world: World) -> Iterator[Comparison]:
    policy = world.ecr.repository_policy
    statements = statements_of(policy) if policy else ()
    open_to_all = [
        statement
        for statement in statements
        if statement.allows
        and (statement.inverted or any("*" in who for who in statement.principals.values()))
        and not statement.conditional
    ]
    yield equal("statements for everybody", expected=0, actual=len(open_to_all))
