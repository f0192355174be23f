"""A lifecycle policy expires images as ECR's rules say: in the order of priority, by the time of the push, and no part of an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.access.registry_tokens import Principal
from mclass_tf.local.aws.ecr import backend
from tests.local import in_process, task_world
from tests.local.in_process import REGION
from tests.local.task_world import REPOSITORY, World, make_manifest, push

_INDEX = "application/vnd.oci.image.index.v1+json"


def rule(priority: int, status: str, count: int, *patterns: str, days: bool = False, **more: Any) -> Any:
    selection = {"tagStatus": status, "countNumber": count, **more}
    selection |= (
        {"countType": "sinceImagePushed", "countUnit": "days"}
        if days
        else {"countType": "imageCountMoreThan"}
    )
    selection |= {"tagPatternList": list(patterns)} if patterns else {}
    return {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}


class Registry:
    def __init__(self) -> None:
        self.account_id = in_process.new_account()
        self.ecr = in_process.client(self.account_id, "ecr")
        self.ecr.create_repository(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")

    def policy(self, *rules: Any) -> None:
        self.ecr.put_lifecycle_policy(
            repositoryName=REPOSITORY, lifecyclePolicyText=json.dumps({"rules": rules})
        )

    def push(self, name: str, *tags: str) -> str:
        digest = ""
        for tag in tags or (name,):
            digest = push(self.account_id, make_manifest(name=name), tag=tag)
        return digest

    def push_untagged(self, name: str) -> str:
        put = self.ecr.put_image(repositoryName=REPOSITORY, imageManifest=make_manifest(name=name))
        return str(put["image"]["imageId"]["imageDigest"])

    def age(self, days: int) -> None:
        """Make all images older."""
        with in_process.aws().exclusive():
            there = backend.backend_of(Principal(account_id=self.account_id, region=REGION))
            for image in there.repositories[REPOSITORY].images:
                image.image_pushed_at -= days * 86400

    def tags(self) -> set[str]:
        details = self.ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]
        return {tag for each in details for tag in each.get("imageTags") or ("untagged",)}


@pytest.fixture
def there() -> Registry:
    return Registry()


def test_all_but_the_last_pushes_expire(there: Registry) -> None:
    there.policy(rule(1, "tagged", 2, "*"))
    for name in ("a", "b", "c"):
        there.push(name)

    assert there.tags() == {"b", "c"}


def test_a_policy_applies_to_what_was_pushed_before_it(there: Registry) -> None:
    for name in ("a", "b", "c"):
        there.push(name)
    there.policy(rule(1, "any", 1))

    assert there.tags() == {"c"}


def test_an_image_that_an_earlier_rule_matches_is_expired_by_no_later_one_and_counts_there(
    there: Registry,
) -> None:
    there.policy(rule(1, "tagged", 9, "released-*"), rule(2, "tagged", 2, "*"))
    there.push("kept", "v1", "released-v1")
    for name in ("a", "b", "c"):
        there.push(name)
    assert there.tags() == {"v1", "released-v1", "b", "c"}

    there.policy(rule(1, "tagged", 2, "*"), rule(2, "tagged", 9, "released-*"))
    assert there.tags() == {"b", "c"}, "in the other order, it protects nothing"


def test_a_further_tag_does_not_make_an_image_younger(there: Registry) -> None:
    there.policy(rule(1, "tagged", 2, "*"))
    there.push("a")
    there.push("b")
    push(there.account_id, make_manifest(name="a"), tag="again")
    there.push("c")

    assert there.tags() == {"b", "c"}


def test_all_patterns_of_a_rule_must_match_a_tag(there: Registry) -> None:
    there.push("both", "prod-1", "web-1")
    there.push("one", "prod-2")
    there.age(days=2)
    there.policy(rule(1, "tagged", 1, "prod-*", "web-*", days=True))

    assert there.tags() == {"prod-2"}


def test_untagged_images_expire_by_age(there: Registry) -> None:
    there.push("tagged")
    there.push_untagged("old")
    there.age(days=4)
    there.policy(rule(1, "untagged", 3, days=True))
    there.push_untagged("new")

    assert there.tags() == {"tagged", "untagged"}
    assert len(there.ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]) == 2


def test_an_image_of_an_index_stays_as_long_as_the_index(there: Registry) -> None:
    there.push("layers")
    part = there.push_untagged("part")
    entry = {"digest": part, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]})
    push(there.account_id, index, tag="index")
    there.age(days=30)
    there.policy(rule(1, "untagged", 3, days=True), rule(2, "tagged", 1, "*"))
    assert there.tags() == {"index", "untagged"}

    there.push("other")
    there.push("another")
    assert there.tags() == {"another"}


@pytest.mark.parametrize(
    "rules",
    [
        (rule(1, "tagged", 2, "a*"), rule(1, "tagged", 2, "b*")),
        (rule(1, "any", 2), rule(2, "tagged", 2, "b*")),
        (rule(1, "untagged", 2), rule(2, "untagged", 3)),
        (rule(1, "tagged", 2),),
        (rule(1, "untagged", 2, "a*"),),
    ],
)
def test_rules_that_contradict_each_other_are_refused_and_the_policy_stays(
    there: Registry, rules: Any
) -> None:
    there.policy(rule(1, "any", 7))

    with pytest.raises(ClientError, match="InvalidParameterException"):
        there.policy(*rules)

    stored = there.ecr.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"]
    assert json.loads(stored)["rules"][0]["selection"]["countNumber"] == 7


def test_a_replacement_task_cannot_pull_an_image_that_has_expired_while_it_serves(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        policy = json.dumps({"rules": [rule(1, "tagged", 10, "*")]})
        world.applied.client("ecr").put_lifecycle_policy(
            repositoryName=REPOSITORY, lifecyclePolicyText=policy
        )
        for number in range(11):
            push(world.applied.account_id, make_manifest(name=f"push {number}"), tag=f"push-{number}")
        replacement = world.launch()
        await world.status(replacement, "STOPPED")
        assert "CannotPullContainerError" in str(replacement.stopped_reason)
        assert "not found" in str(replacement.stopped_reason)

    task_world.run(tmp_path, scenario)
