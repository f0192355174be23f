"""What serves and what a rollback would need does not expire, however often something is pushed. Asked of the local AWS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf.errors import TagTakenError
from mclass_tf.flows import retention
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.retention import KEPT, Repository, keep_image, tag_of, try_to_keep_image
from tests.commands import ROOT
from tests.local import in_process, task_world
from tests.local.task_world import REPOSITORY, World, make_manifest, push

POLICY = {
    "rules": [
        {
            "rulePriority": priority,
            "selection": {
                "tagStatus": "tagged",
                "tagPatternList": [pattern],
                "countType": "imageCountMoreThan",
                "countNumber": count,
            },
            "action": {"type": "expire"},
        }
        for priority, pattern, count in ((1, "released-*", 1000), (3, "*", 10))
    ]
}


class Environment:
    """A repository of the local AWS, with a service that runs `serving` and a ledger of `proven` images, latest last."""

    def __init__(self) -> None:
        self.account_id = in_process.new_account()
        self.ecr: Any = in_process.client(self.account_id, "ecr")
        self.ecr.create_repository(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")
        self.ecr.put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=json.dumps(POLICY))
        self.serving = ""
        self.proven: list[str] = []
        self.said: list[str] = []
        self.failed = 0

    def push(self, name: str) -> str:
        return push(self.account_id, make_manifest(name=name), tag=name)

    def release(self, name: str, *, fails: bool = False) -> str:
        digest = self.push(name)
        keep_image(self.deployer(), digest)
        if not fails:
            self.serving = digest
            self.proven.append(digest)
        return digest

    def there(self) -> set[str]:
        details = self.ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]
        return {each["imageDigest"] for each in details}

    def deployer(self) -> Deployer:
        made = SimpleNamespace(
            session=SimpleNamespace(
                aws=SimpleNamespace(ecr=self.ecr), report=self.said.append, records=self.records
            ),
            outputs=SimpleNamespace(repository_name=REPOSITORY),
            service=lambda: SimpleNamespace(deployments=[SimpleNamespace(task_definition_arn="task:1")]),
            image_of=lambda _: f"host/{REPOSITORY}@{self.serving}",
        )
        return cast("Deployer", made)

    def records(self) -> Sequence[Any]:
        failed = SimpleNamespace(
            is_proven=False, ended=None, begun=SimpleNamespace(digest="", command="release")
        )
        proven = [
            SimpleNamespace(
                is_proven=True,
                begun=SimpleNamespace(digest=digest, command="release"),
                ended=SimpleNamespace(task_definition_arn=f"task:{number}"),
            )
            for number, digest in enumerate(self.proven)
        ]
        return [*proven, *[failed] * self.failed][::-1]


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> Environment:
    def ledger(session: Any) -> Any:
        return SimpleNamespace(latest_first=lambda *, most: session.records()[:most])

    monkeypatch.setattr(retention, "ledger_of", ledger)
    return Environment()


def test_eleven_pushes_without_a_release_leave_what_serves_and_what_served_before(dev: Environment) -> None:
    first, second = dev.release("one"), dev.release("two")

    for number in range(11):
        dev.push(f"push-{number}")

    assert {first, second} <= dev.there()
    assert len(dev.there()) == 12


def test_many_failed_releases_push_out_neither_what_serves_nor_each_others_image_too_early(
    dev: Environment,
) -> None:
    serving = dev.release("good")
    for number in range(40):
        failed = dev.release(f"bad-{number}", fails=True)
        assert {serving, failed} <= dev.there()

    assert len(dev.there()) <= 12, "the images of failed releases are left to the lifecycle policy"


def test_proven_images_are_found_behind_many_failed_releases(dev: Environment) -> None:
    earlier, serving = dev.release("one"), dev.release("two")
    dev.failed = 120
    dev.release("bad", fails=True)
    for number in range(11):
        dev.push(f"push-{number}")

    assert {earlier, serving} <= dev.there()


def test_the_last_proven_images_are_kept_and_older_ones_are_not(dev: Environment) -> None:
    digests = [dev.release(f"v{number}") for number in range(KEPT + 5)]
    for number in range(11):
        dev.push(f"push-{number}")

    assert set(digests[-KEPT:]) <= dev.there()
    assert not set(digests[:4]) & dev.there()


def test_an_old_image_that_a_rollback_brings_back_is_kept_though_it_was_pushed_long_ago(
    dev: Environment,
) -> None:
    old = dev.release("old")
    for number in range(KEPT - 1):
        dev.release(f"v{number}")
    try_to_keep_image(dev.deployer(), old)
    dev.serving = old
    for number in range(30):
        dev.release(f"bad-{number}", fails=True)

    assert old in dev.there()


def test_what_served_before_the_tags_existed_gets_one(dev: Environment) -> None:
    dev.serving = dev.push("by hand")
    dev.release("new", fails=True)
    for number in range(11):
        dev.push(f"push-{number}")

    assert dev.serving in dev.there()


def test_an_index_is_kept_with_its_images(dev: Environment) -> None:
    dev.push("layers")
    part = dev.ecr.put_image(repositoryName=REPOSITORY, imageManifest=make_manifest(name="part"))
    digest = part["image"]["imageId"]["imageDigest"]
    entry = {"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    media_type = "application/vnd.oci.image.index.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]})
    index = push(dev.account_id, manifest, tag="index")
    keep_image(dev.deployer(), index)
    for number in range(11):
        dev.push(f"push-{number}")

    assert {index, digest} <= dev.there()


def test_keeping_an_image_twice_changes_nothing(dev: Environment) -> None:
    digest = dev.release("one")
    keep_image(dev.deployer(), digest)

    (detail,) = dev.ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]
    assert sorted(detail["imageTags"]) == ["one", tag_of(digest)]


def test_a_tag_of_ours_that_names_another_image_is_refused(dev: Environment) -> None:
    digest = dev.push("one")
    push(dev.account_id, make_manifest(name="other"), tag=tag_of(digest))

    with pytest.raises(TagTakenError, match="names another image"):
        keep_image(dev.deployer(), digest)


def test_an_image_whose_only_tag_is_ours_is_not_deleted_by_letting_it_go(dev: Environment) -> None:
    digest = push(dev.account_id, make_manifest(name="promoted"), tag="only")
    keep_image(dev.deployer(), digest)
    dev.ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "only"}])
    dev.release("new")

    assert digest in dev.there()


class Refusing:
    """ECR that refuses some calls."""

    def __init__(self, ecr: Any, *calls: str) -> None:
        self._ecr, self._calls = ecr, calls

    def __getattr__(self, name: str) -> Any:
        if name not in self._calls:
            return getattr(self._ecr, name)

        def refuse(*_: Any, **__: Any) -> None:
            error: Any = {"Error": {"Code": "AccessDeniedException", "Message": f"not authorized: {name}"}}
            raise ClientError(error, name)

        return refuse


def test_a_release_that_cannot_keep_its_image_is_refused_and_a_rollback_goes_on(dev: Environment) -> None:
    digest = dev.push("one")
    dev.ecr = Refusing(dev.ecr, "put_image")

    with pytest.raises(ClientError, match="put_image"):
        keep_image(dev.deployer(), digest)
    try_to_keep_image(dev.deployer(), digest)
    assert "not authorized: put_image; the credentials need ecr:ListImages" in dev.said[0]


@pytest.mark.parametrize("call", ["get_paginator", "batch_delete_image"])
def test_a_clean_up_that_is_not_allowed_is_a_report(dev: Environment, call: str) -> None:
    dev.release("old", fails=True)
    dev.ecr = Refusing(dev.ecr, call)
    digest = dev.release("one")

    assert (
        tag_of(digest)
        in Repository(ecr=in_process.client(dev.account_id, "ecr"), name=REPOSITORY).tags()[digest]
    )
    assert f"not authorized: {call}" in dev.said[0]


def test_a_replacement_task_pulls_what_serves_after_eleven_pushes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        ecr = world.applied.client("ecr")
        ecr.put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=json.dumps(POLICY))
        Repository(ecr=ecr, name=REPOSITORY).keep(world.applied.digest)
        for number in range(11):
            push(world.applied.account_id, make_manifest(name=f"push {number}"), tag=f"push-{number}")
        await world.running()

    task_world.run(tmp_path, scenario)


def test_the_module_has_the_rule_of_these_tags_before_all_others() -> None:
    text = (ROOT / "modules" / "ecr" / "main.tf").read_text(encoding="utf-8")

    assert f'released_tag_pattern = "{retention.PREFIX}*"' in text
    first = text[text.index("rulePriority") :].split("rulePriority")[1]
    assert "tagPatternList = [local.released_tag_pattern]" in first
