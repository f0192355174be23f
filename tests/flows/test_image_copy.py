"""Copying an image from the registry of one account of a local AWS to that of another: byte for byte, and no byte twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import requests

from mclass_tf import image, local
from mclass_tf.aws import Access, Aws, connect
from mclass_tf.errors import (
    CorruptedImageError,
    InterruptedByUserError,
    LoginRefusedError,
    NoImageError,
    RepositoryMissingError,
    TagTakenError,
)
from mclass_tf.image.layout import Descriptor
from mclass_tf.image.registry import Manifest
from tests.flows.test_image_push import make_image

DEV, PROD = "111111111111", "222222222222"
INDEX = "application/vnd.oci.image.index.v1+json"


class Account:
    """One account of the local AWS, with a repository of its own for each test."""

    def __init__(self, server: local.LocalAws, account_id: str, repository: str) -> None:
        base = Access(
            region="ap-northeast-2",
            endpoint_url=server.url,
            **asdict(server.key),
        )
        self.aws: Aws = connect(base, account_id=account_id, role_arn=f"arn:aws:iam::{account_id}:role/tests")
        self.url = server.url
        self.name = repository
        self.lines: list[str] = []
        self.aws.ecr.create_repository(repositoryName=repository, imageTagMutability="IMMUTABLE")

    def repository(self, name: str = "") -> image.Registry:
        return image.Registry(
            image.log_in(self.aws),
            name or self.name,
            environment="prod",
            report=self.lines.append,
            sleep=lambda _: None,
        )

    def there(self) -> dict[str, list[str]]:
        details = self.aws.ecr.describe_images(repositoryName=self.name)["imageDetails"]
        return {each["imageDigest"]: each.get("imageTags", []) for each in details}

    def get(self, path: str, *, accept: str = "*/*") -> requests.Response:
        login = image.log_in(self.aws)
        session = requests.Session()
        session.trust_env = False
        return session.get(
            f"{self.url}/v2/{self.name}/{path}",
            auth=(login.user, login.password),
            headers={"Accept": accept},
            timeout=30,
        )


@pytest.fixture
def dev(server: local.LocalAws, request: pytest.FixtureRequest) -> Account:
    return Account(server, DEV, f"web-{abs(hash(request.node.nodeid))}")


@pytest.fixture
def prod(server: local.LocalAws, request: pytest.FixtureRequest) -> Account:
    return Account(server, PROD, f"api-{abs(hash(request.node.nodeid))}")


def test_an_image_is_the_same_in_the_other_account_byte_for_byte(
    dev: Account, prod: Account, tmp_path: Path
) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")

    copied = image.copy(
        dev.repository(), prod.repository(), digest=built.digest, tags=["v1", "v2"], folder=tmp_path
    )

    assert (copied.digest, copied.changed, copied.sent) == (built.digest, True, built.size)
    assert {digest: sorted(tags) for digest, tags in prod.there().items()} == {built.digest: ["v1", "v2"]}
    for path in (f"manifests/{built.digest}", *(f"blobs/{blob.digest}" for blob in built.blobs)):
        assert prod.get(path).content == dev.get(path).content
    assert dev.there() == {built.digest: ["v1"]}, "nothing changes where it came from"
    assert not list(tmp_path.glob(".copy-*")), "nothing stays behind"


def test_what_is_there_already_is_not_sent_again(dev: Account, prod: Account, tmp_path: Path) -> None:
    first, second = make_image(tmp_path, name="one"), make_image(tmp_path, name="two")
    for tag, built in (("v1", first), ("v2", second)):
        dev.repository().push(built, tag=tag)

    image.copy(dev.repository(), prod.repository(), digest=first.digest, tags=["v1"], folder=tmp_path)
    shared = image.copy(
        dev.repository(), prod.repository(), digest=second.digest, tags=["v2"], folder=tmp_path
    )
    again = image.copy(
        dev.repository(), prod.repository(), digest=second.digest, tags=["v2"], folder=tmp_path
    )

    assert shared.sent == second.blobs[0].size, "the layer is shared, the configuration is not"
    assert (again.sent, again.changed) == (0, False)


def test_a_copy_that_is_given_up_publishes_nothing(dev: Account, prod: Account, tmp_path: Path) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")
    asked: list[bool] = []

    def before_blob() -> None:
        asked.append(True)
        if len(asked) > 1:
            raise InterruptedByUserError("given up", hint="again")

    with pytest.raises(InterruptedByUserError):
        image.copy(
            dev.repository(),
            prod.repository(),
            digest=built.digest,
            tags=["v1"],
            folder=tmp_path,
            before_blob=before_blob,
        )

    assert prod.there() == {}
    assert not list(tmp_path.glob(".copy-*")), "nothing stays behind"


def test_a_further_tag_sends_no_blob(dev: Account, prod: Account, tmp_path: Path) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")
    image.copy(dev.repository(), prod.repository(), digest=built.digest, tags=["v1"], folder=tmp_path)

    copied = image.copy(
        dev.repository(), prod.repository(), digest=built.digest, tags=["v1", "v2"], folder=tmp_path
    )

    assert (copied.sent, copied.changed) == (0, True)


def test_a_tag_that_names_another_image_is_refused_and_nothing_is_sent(
    dev: Account, prod: Account, tmp_path: Path
) -> None:
    built, other = make_image(tmp_path, name="one"), make_image(tmp_path, name="two")
    dev.repository().push(built, tag="v1")
    prod.repository().push(other, tag="v1")

    with pytest.raises(TagTakenError):
        image.copy(dev.repository(), prod.repository(), digest=built.digest, tags=["v1"], folder=tmp_path)

    assert prod.there() == {other.digest: ["v1"]}


def test_an_index_comes_with_all_its_images(dev: Account, prod: Account, tmp_path: Path) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [built.manifest.to_json()]}
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    dev.repository().put_manifest(Manifest(digest=digest, media_type=INDEX, data=data), reference="all")

    image.copy(dev.repository(), prod.repository(), digest=digest, tags=["all"], folder=tmp_path)

    assert prod.there() == {digest: ["all"], built.digest: []}
    assert prod.get("manifests/all", accept=INDEX).content == data


def test_an_index_behind_a_tag_is_found(dev: Account, prod: Account, tmp_path: Path) -> None:
    built, other = make_image(tmp_path, name="one"), make_image(tmp_path, name="two")
    for tag, each in (("v1", built), ("v2", other)):
        dev.repository().push(each, tag=tag)
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [built.manifest.to_json()]}
    data = json.dumps(document).encode()
    index = f"sha256:{hashlib.sha256(data).hexdigest()}"
    dev.repository().put_manifest(Manifest(digest=index, media_type=INDEX, data=data), reference="all")

    assert dev.repository().is_tagged("all", index)
    image.copy(dev.repository(), prod.repository(), digest=index, tags=["all"], folder=tmp_path)
    again = image.copy(dev.repository(), prod.repository(), digest=index, tags=["all"], folder=tmp_path)
    assert (again.changed, again.sent) == (False, 0)
    with pytest.raises(TagTakenError, match=f"names another image already: {index}"):
        dev.repository().push(other, tag="all")
    with pytest.raises(TagTakenError, match=f"names another image already: {index}"):
        image.copy(dev.repository(), prod.repository(), digest=other.digest, tags=["all"], folder=tmp_path)


def test_a_deleted_image_is_reported(dev: Account, prod: Account, tmp_path: Path) -> None:
    digest = "sha256:" + "e" * 64

    with pytest.raises(NoImageError, match="does not have") as caught:
        image.copy(dev.repository(), prod.repository(), digest=digest, tags=["v1"], folder=tmp_path)

    assert caught.value.exit_code == 3
    assert prod.there() == {}


def test_a_missing_repository_is_reported(dev: Account, prod: Account, tmp_path: Path) -> None:
    with pytest.raises(RepositoryMissingError):
        image.copy(
            dev.repository(),
            prod.repository("nope"),
            digest="sha256:" + "e" * 64,
            tags=["v1"],
            folder=tmp_path,
        )
    with pytest.raises(RepositoryMissingError):
        dev.repository("nope").manifest("sha256:" + "e" * 64)


def test_a_blob_that_is_not_what_its_digest_says_is_not_passed_on(
    dev: Account, prod: Account, tmp_path: Path
) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")

    class Damaged(image.Registry):
        def _download(self, blob: Descriptor, path: Path) -> str:
            super()._download(blob, path)
            path.write_bytes(bytes(blob.size))  # as long: less would be waited for by who gets it
            return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    damaged = Damaged(
        image.log_in(dev.aws), dev.name, environment="dev", report=lambda _: None, sleep=lambda _: None
    )
    with pytest.raises(CorruptedImageError, match="came as"):
        image.copy(damaged, prod.repository(), digest=built.digest, tags=["v1"], folder=tmp_path)

    assert prod.there() == {}


def test_the_other_account_pulls_for_itself_only_where_the_repositorys_policy_lets_it(
    server: local.LocalAws, dev: Account, prod: Account, tmp_path: Path
) -> None:
    built = make_image(tmp_path)
    dev.repository().push(built, tag="v1")
    path = f"{server.url}/v2/{dev.name}/manifests/{built.digest}"
    host = f"{DEV}.dkr.ecr.ap-northeast-2.localhost"
    login = image.log_in(prod.aws)

    def pull() -> requests.Response:
        session = requests.Session()
        session.trust_env = False
        return session.get(path, auth=(login.user, login.password), headers={"Host": host}, timeout=30)

    assert not pull().ok
    allowed = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{PROD}:root"},
        "Action": ["ecr:BatchGetImage"],
    }
    dev.aws.ecr.set_repository_policy(
        repositoryName=dev.name, policyText=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    assert pull().content == dev.get(f"manifests/{built.digest}").content


def test_a_refused_token_is_reported(dev: Account, prod: Account, tmp_path: Path) -> None:
    login = image.Login(
        host=server_host(dev), is_tls=False, user="AWS", password="nothing that this registry gave out"
    )
    registry = image.Registry(login, dev.name, environment="dev", report=lambda _: None)

    with pytest.raises(LoginRefusedError, match="refused to pull from"):
        registry.manifest("sha256:" + "e" * 64)


def server_host(account: Account) -> str:
    return account.url.removeprefix("http://")
