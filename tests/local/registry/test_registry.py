"""The registry returns pushed images byte for byte, and refuses what ECR refuses."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from mclass_tf import local
from mclass_tf.environment import PromotionSettings
from mclass_tf.errors import PromotionRefusedError
from mclass_tf.flows.scans import require_clean_scans
from tests.local.conftest import DEV, PROD, REGION, Account, account_of
from tests.local.registry_client import (
    INDEX,
    MANIFEST,
    Client,
    basic,
    codes,
    digest_of,
    log_in,
    make_attestation,
    make_image,
    make_index,
)


@pytest.fixture
def client(fresh: Account) -> Client:
    return log_in(fresh, "web")


def test_a_pushed_image_can_be_pulled_by_tag_and_by_digest(client: Client) -> None:
    image = make_image()

    pushed = client.push(image, "v1")

    assert pushed.status_code == 201
    assert pushed.headers["Docker-Content-Digest"] == image.digest
    for reference in ("v1", image.digest):
        pulled = client.call("GET", f"manifests/{reference}")
        assert pulled.content == image.manifest
        assert pulled.headers["Content-Type"] == MANIFEST
        head = client.call("HEAD", f"manifests/{reference}")
        assert head.headers["Docker-Content-Digest"] == image.digest
        assert head.headers["Content-Length"] == str(len(image.manifest))
    blob = client.call("GET", f"blobs/{digest_of(image.layer)}")
    assert blob.content == image.layer
    assert blob.headers["Docker-Content-Digest"] == digest_of(image.layer)


def test_a_range_of_a_blob_can_be_pulled(client: Client) -> None:
    client.push_blob(b"0123456789")
    path = f"blobs/{digest_of(b'0123456789')}"

    for wanted, expected, span in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
    ):
        part = client.call("GET", path, headers={"Range": wanted})
        assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, expected, span)
    beyond = client.call("GET", path, headers={"Range": "bytes=10-"})
    assert beyond.status_code == 416
    assert client.call("HEAD", path).headers["Content-Length"] == "10"


@pytest.mark.parametrize("wanted", ["bytes=-0", "bytes=9999-"])
def test_a_range_outside_the_blob_is_refused(client: Client, wanted: str) -> None:
    client.push(make_image(), "v1")

    answer = client.call("GET", f"blobs/{digest_of(make_image().layer)}", headers={"Range": wanted})

    assert (answer.status_code, codes(answer)) == (416, ["SIZE_INVALID"])


def test_a_blob_can_be_uploaded_in_consecutive_chunks(client: Client) -> None:
    place = client.start()

    first = client.call("PATCH", place, data=b"hello ", headers={"Content-Range": "0-5"})
    assert (first.status_code, first.headers["Range"]) == (202, "0-5")
    skipped = client.call("PATCH", place, data=b"!", headers={"Content-Range": "9-9"})
    assert (skipped.status_code, skipped.headers["Range"]) == (416, "0-5")
    again = client.call("PATCH", place, data=b"hello ", headers={"Content-Range": "0-5"})
    assert again.status_code == 416
    client.call("PATCH", first.headers["Location"], data=b"world", headers={"Content-Range": "6-10"})
    done = client.call("PUT", place, digest=digest_of(b"hello world"))

    assert done.status_code == 201
    assert client.call("GET", done.headers["Location"]).content == b"hello world"


def test_a_blob_can_be_uploaded_in_a_single_post(client: Client) -> None:
    answer = client.call("POST", "blobs/uploads/", data=b"small", digest=digest_of(b"small"))

    assert answer.status_code == 201
    assert client.call("GET", f"blobs/{digest_of(b'small')}").content == b"small"


def test_an_interrupted_upload_can_be_resumed(client: Client) -> None:
    place = client.start()
    broken = http.client.HTTPConnection("127.0.0.1", client.account.server.port, timeout=30)
    broken.putrequest("PATCH", place)
    broken.putheader("Authorization", client.authorization)
    broken.putheader("Content-Length", "100")
    broken.endheaders()
    broken.send(b"first")
    broken.close()

    status = client.call("GET", place)
    while status.headers["Range"] == "0-0":  # the server has not read it yet
        status = client.call("GET", place)
    assert (status.status_code, status.headers["Range"]) == (204, "0-4")
    client.call("PATCH", place, data=b" second", headers={"Content-Range": "5-11"})

    assert client.call("PUT", place, digest=digest_of(b"first second")).status_code == 201


def test_an_upload_can_be_cancelled(client: Client) -> None:
    place = client.start()

    assert client.call("DELETE", place).status_code == 204
    assert codes(client.call("PUT", place, data=b"x", digest=digest_of(b"x"))) == ["BLOB_UPLOAD_UNKNOWN"]


def test_bytes_with_another_digest_are_refused_and_discarded(client: Client) -> None:
    place = client.start()

    corrupt = client.call("PUT", place, data=b"corrupted", digest=digest_of(b"intact"))

    assert (corrupt.status_code, codes(corrupt)) == (400, ["DIGEST_INVALID"])
    for data in (b"corrupted", b"intact"):
        assert client.call("HEAD", f"blobs/{digest_of(data)}").status_code == 404
    assert client.call("GET", place).status_code == 404
    image = make_image()
    client.push(image, "v1")
    by_digest = client.push_manifest(image.manifest + b"\n", image.digest)
    assert (by_digest.status_code, codes(by_digest)) == (400, ["DIGEST_INVALID"])


def test_a_manifest_with_missing_blobs_is_refused(client: Client) -> None:
    image = make_image()
    client.push_blob(image.config)

    refused = client.push_manifest(image.manifest, "v1")

    assert (refused.status_code, codes(refused)) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert digest_of(image.layer) in refused.text
    assert client.account.client("ecr").list_images(repositoryName="web")["imageIds"] == []


@pytest.mark.parametrize("body", [b"", b"nothing", b"[]", b'{"layers": [{}]}', b"\xff"])
def test_an_invalid_manifest_is_refused(client: Client, body: bytes) -> None:
    refused = client.push_manifest(body, "v1")

    assert (refused.status_code, codes(refused)) == (400, ["MANIFEST_INVALID"])


def test_an_index_needs_its_images(client: Client) -> None:
    image = make_image()
    entry = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()

    early = client.push_manifest(index, "v1", INDEX)
    assert codes(early) == ["MANIFEST_BLOB_UNKNOWN"]
    client.push(image, image.digest)
    assert client.push_manifest(index, "v1", INDEX).headers["Docker-Content-Digest"] == digest_of(index)

    accepted = {"Accept": f"{MANIFEST}, {INDEX}"}
    assert client.call("GET", "manifests/v1", headers=accepted).headers["Content-Type"] == INDEX
    details = client.account.client("ecr").describe_images(repositoryName="web")["imageDetails"]
    assert {detail["imageDigest"]: detail.get("imageTags") for detail in details} == {
        image.digest: None,
        digest_of(index): ["v1"],
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accepted", [None, "*/*", MANIFEST, f"{MANIFEST}, */*"])
def test_an_index_is_hidden_from_a_client_that_does_not_name_its_media_type(
    client: Client, method: str, accepted: str | None
) -> None:
    image = make_image()
    client.push(image, image.digest)
    index = make_index(image)
    client.push_manifest(index, "v1", INDEX)
    headers = {} if accepted is None else {"Accept": accepted}

    assert client.call(method, "manifests/v1", headers=headers).status_code == 404
    assert client.call(method, f"manifests/{digest_of(index)}", headers=headers).status_code == 404
    assert client.call(method, f"manifests/{image.digest}", headers=headers).status_code == 200
    assert client.call(method, "manifests/v1", headers={"Accept": f"{INDEX};q=0.5"}).status_code == 200
    assert client.call(method, f"manifests/{image.digest}", headers={"Accept": INDEX}).status_code == 404


def test_a_tag_of_an_immutable_repository_never_moves(fresh: Account) -> None:
    client = log_in(fresh, "web", imageTagMutability="IMMUTABLE")
    first, second = make_image("one"), make_image("two")
    client.push(first, "v1")

    refused = client.push(second, "v1")

    assert (refused.status_code, codes(refused)) == (400, ["TAG_INVALID"])
    assert refused.json()["errors"][0]["message"] == (
        "The image tag 'v1' already exists in the 'web' repository and cannot be overwritten "
        "because the repository is immutable."
    )
    assert client.call("GET", "manifests/v1").content == first.manifest
    assert client.call("GET", f"manifests/{second.digest}").status_code == 404
    # ECR refuses the same image again too: https://github.com/aws/containers-roadmap/issues/2179
    assert codes(client.push(first, "v1")) == ["TAG_INVALID"]
    assert client.push(first, "v1-again").status_code == 201
    assert client.push(first, first.digest).status_code == 201


def test_a_tag_of_a_mutable_repository_moves_and_leaves_the_old_image_untagged(client: Client) -> None:
    first, second = make_image("one"), make_image("two")

    client.push(first, "latest")
    client.push(second, "latest")

    assert client.push(second, "latest").status_code == 201
    assert client.call("GET", "manifests/latest").content == second.manifest
    assert client.call("GET", f"manifests/{first.digest}").content == first.manifest
    ecr = client.account.client("ecr")
    untagged = ecr.list_images(repositoryName="web", filter={"tagStatus": "UNTAGGED"})["imageIds"]
    assert untagged == [{"imageDigest": first.digest}]


def test_a_blob_is_mounted_from_another_repository_or_else_uploaded(client: Client) -> None:
    client.push_blob(b"shared")
    other = log_in(client.account, "worker")
    digest = digest_of(b"shared")
    assert other.call("HEAD", f"blobs/{digest}").status_code == 404, "a repository holds its own blobs only"

    mounted = other.call("POST", "blobs/uploads/", mount=digest, source="web")
    absent = other.call("POST", "blobs/uploads/", mount=digest_of(b"absent"), source="web")

    assert (mounted.status_code, mounted.headers["Docker-Content-Digest"]) == (201, digest)
    assert other.call("GET", f"blobs/{digest}").content == b"shared"
    assert absent.status_code == 202


def test_a_blob_is_not_mounted_from_a_repository_that_the_caller_may_not_pull(
    client: Client, visitor: Client
) -> None:
    private = log_in(client.account, "private")
    private.push_blob(b"secret")
    digest = digest_of(b"secret")
    push = ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload")
    grant(client, *push, to=visitor.account)

    refused = visitor.call("POST", "blobs/uploads/", mount=digest, source="private")

    assert (refused.status_code, "Location" in refused.headers) == (202, True)
    assert client.call("HEAD", f"blobs/{digest}").status_code == 404
    grant(private, "ecr:GetDownloadUrlForLayer", to=visitor.account)
    assert visitor.call("POST", "blobs/uploads/", mount=digest, source="private").status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", f"blobs/{digest_of(b'x')}", "GET, HEAD"),
        ("PUT", "blobs/uploads/", "POST"),
        ("POST", "manifests/v1", "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/v2/", "GET, HEAD"),
    ],
)
def test_an_unsupported_method_of_a_path_is_not_allowed(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = client.call(method, path)

    assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])
    assert answer.headers["Allow"] == allowed
    unknown = client.call(method, "nothing")
    assert (unknown.status_code, codes(unknown)) == (404, ["UNSUPPORTED"])


def test_tags_are_listed_in_pages(client: Client) -> None:
    for tag in ("c", "a", "b"):
        client.push(make_image(), tag)

    assert client.call("GET", "tags/list").json() == {"name": "web", "tags": ["a", "b", "c"]}
    page = client.call("GET", "tags/list", n="2")
    assert page.json()["tags"] == ["a", "b"]
    rest = requests.get(
        client.account.server.url + page.links["next"]["url"],
        headers={"Authorization": client.authorization},
        timeout=30,
    )
    assert rest.json()["tags"] == ["c"]
    assert "next" not in rest.links
    assert client.call("GET", "/v2/_catalog").json() == {"repositories": ["web"]}


def test_an_image_is_deleted_by_digest(client: Client) -> None:
    image = make_image()
    client.push(image, "v1")

    assert client.call("DELETE", f"manifests/{image.digest}").status_code == 202
    gone = client.call("DELETE", f"manifests/{image.digest}")
    assert (gone.status_code, codes(gone)) == (404, ["MANIFEST_UNKNOWN"])
    assert client.call("GET", "manifests/v1").status_code == 404


def test_a_repository_must_exist(fresh: Account) -> None:
    client = log_in(fresh, "absent", create=False)

    for answer in (
        client.call("POST", "blobs/uploads/"),
        client.push_manifest(make_image().manifest, "v1"),
        client.call("GET", "manifests/v1"),
        client.call("GET", "tags/list"),
    ):
        assert (answer.status_code, codes(answer)) == (404, ["NAME_UNKNOWN"])


def test_a_registry_requires_credentials(client: Client, fresh: Account) -> None:
    forged = json.dumps({"account": fresh.account_id, "region": "ap-northeast-2", "expires": 9e9})
    for authorization in ("", "Bearer x", "Basic !", basic("AWS", "x"), basic("AWS", f"{forged}.x")):
        answer = Client(fresh, "web", authorization).call("GET", "/v2/")
        assert (answer.status_code, codes(answer)) == (401, ["UNAUTHORIZED"])
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert client.call("GET", "/v2/").status_code == 200


def test_a_token_gives_access_to_the_repositories_of_its_own_account(client: Client, dev: Account) -> None:
    client.push(make_image(), "v1")

    stranger = Client(dev, "web", log_in(dev, "web", create=False).authorization)

    assert codes(stranger.call("GET", "manifests/v1")) == ["NAME_UNKNOWN"]


def grant(owner: Client, *actions: str, to: Account) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{to.account_id}:root"},
        "Action": list(actions),
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    owner.account.client("ecr").set_repository_policy(repositoryName=owner.repository, policyText=text)


@pytest.fixture
def visitor(client: Client, dev: Account) -> Client:
    """A client of another account at the first account's registry."""
    host = f"{client.account.account_id}.dkr.ecr.{REGION}.localhost"
    return Client(dev, client.repository, log_in(dev, "web", create=False).authorization, host)


def test_another_account_can_pull_if_the_repositorys_policy_allows_it(
    client: Client, visitor: Client
) -> None:
    image = make_image()
    client.push(image, "v1")

    refused = visitor.call("GET", f"manifests/{image.digest}")
    grant(
        client,
        *("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
        to=visitor.account,
    )

    assert (refused.status_code, codes(refused)) == (403, ["DENIED"])
    assert "is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:" in refused.text
    assert visitor.call("GET", f"manifests/{image.digest}").content == image.manifest
    assert visitor.call("GET", f"blobs/{digest_of(image.layer)}").content == image.layer
    assert visitor.call("HEAD", f"blobs/{digest_of(image.config)}").status_code == 200


def test_a_policy_for_pulling_allows_no_push_or_delete(client: Client, visitor: Client) -> None:
    image = make_image()
    client.push(image, "v1")
    grant(client, "ecr:BatchGetImage", to=visitor.account)

    for method, path in (
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/v2"),
        ("DELETE", f"manifests/{image.digest}"),
        ("GET", "tags/list"),
    ):
        answer = visitor.call(method, path, data=image.manifest)
        assert (answer.status_code, codes(answer)) == (403, ["DENIED"]), (method, path)
    assert client.call("GET", "manifests/v1").status_code == 200
    catalog = visitor.call("GET", "/v2/_catalog")
    assert (catalog.status_code, codes(catalog)) == (403, ["DENIED"])


def test_another_accounts_repository_is_readable_through_the_api_if_its_policy_allows(
    client: Client, visitor: Client
) -> None:
    image = make_image()
    client.push(image, "v1")
    ecr = visitor.account.client("ecr")
    wanted = {"registryId": client.account.account_id, "repositoryName": client.repository}

    with pytest.raises(ClientError, match="no resource-based policy allows the ecr:BatchGetImage action"):
        ecr.batch_get_image(**wanted, imageIds=[{"imageTag": "v1"}])
    grant(client, "ecr:BatchGetImage", "ecr:DescribeImages", to=visitor.account)
    (found,) = ecr.batch_get_image(**wanted, imageIds=[{"imageTag": "v1"}])["images"]

    assert found["imageManifest"] == image.manifest.decode()
    assert ecr.describe_images(**wanted)["imageDetails"][0]["imageDigest"] == image.digest
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ecr.delete_repository(**wanted, force=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[local.LocalAws]:
    """A local AWS with global settings that a test may change."""
    yield local.up(home=tmp_path, port=0)
    local.down(home=tmp_path)


def tell(server: local.LocalAws, path: str, document: Any) -> requests.Response:
    opening = {"Authorization": server.key.authorization}
    return requests.put(f"{server.url}/_mclass/{path}", json=document, headers=opening, timeout=30)


def test_a_token_expires(own_server: local.LocalAws) -> None:
    account = account_of(own_server, DEV)
    assert tell(own_server, "ecr/token-lifetime", {"seconds": -1}).status_code == 200

    answer = log_in(account, "web").call("GET", "/v2/")

    assert (answer.status_code, codes(answer)) == (401, ["DENIED"])
    assert "Reauthenticate" in answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_blobs_are_on_disk_and_are_deleted_with_the_local_aws(tmp_path: Path) -> None:
    server = local.up(home=tmp_path, port=0)
    try:
        client = log_in(account_of(server, PROD), "web")
        client.push(make_image(), "v1")
        blobs = list((tmp_path / "registry" / "blobs" / "sha256").iterdir())
        assert len(blobs) == 2
        assert not any((tmp_path / "registry" / "uploads").iterdir())
    finally:
        local.down(home=tmp_path)
    assert not (tmp_path / "registry").exists()


def test_ecrs_api_shows_pushed_images(client: Client) -> None:
    image = make_image()
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
    client.push(image, "v1")
    ecr = client.account.client("ecr")

    (detail,) = ecr.describe_images(repositoryName="web")["imageDetails"]
    assert detail["imageDigest"] == image.digest
    assert detail["imageTags"] == ["v1"]
    assert detail["imageSizeInBytes"] == len(image.layer) + len(image.config)
    assert detail["imageManifestMediaType"] == MANIFEST
    assert detail["artifactMediaType"] == "application/vnd.oci.image.config.v1+json"
    assert before <= detail["imagePushedAt"] <= dt.datetime.now(dt.UTC)
    got = ecr.batch_get_image(
        repositoryName="web", imageIds=[{"imageTag": "v1"}, {"imageDigest": digest_of(b"absent")}]
    )
    assert got["images"][0]["imageManifest"].encode() == image.manifest
    assert got["images"][0]["imageId"] == {"imageTag": "v1", "imageDigest": image.digest}
    assert got["failures"][0]["failureCode"] == "ImageNotFound"
    listed = ecr.list_images(repositoryName="web")["imageIds"]
    assert listed == [{"imageDigest": image.digest, "imageTag": "v1"}]
    layers = ecr.batch_check_layer_availability(repositoryName="web", layerDigests=[digest_of(image.layer)])
    assert layers["layers"][0]["layerAvailability"] == "AVAILABLE"


def test_an_image_is_tagged_again_through_the_api_by_its_manifest(client: Client) -> None:
    image = make_image()
    client.push(image, "v1")
    ecr = client.account.client("ecr")

    ecr.put_image(repositoryName="web", imageManifest=image.manifest.decode(), imageTag="release")

    assert client.call("GET", "manifests/release").headers["Docker-Content-Digest"] == image.digest
    with pytest.raises(ClientError, match="ImageAlreadyExistsException"):
        ecr.put_image(repositoryName="web", imageManifest=image.manifest.decode(), imageTag="release")


def test_layers_cannot_be_uploaded_through_the_api(client: Client) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        client.account.client("ecr").initiate_layer_upload(repositoryName="web")


def test_an_image_is_scanned_on_push_if_the_repository_is_configured_so(
    fresh: Account, server: local.LocalAws
) -> None:
    client = log_in(fresh, "web", imageScanningConfiguration={"scanOnPush": True})
    image, ecr = make_image(), fresh.client("ecr")
    client.push(image, "v1")

    report = ecr.describe_image_scan_findings(repositoryName="web", imageId={"imageTag": "v1"})
    assert report["imageScanStatus"]["status"] == "COMPLETE"
    assert report["imageScanFindings"]["findings"] == []

    finding = {"name": "CVE-2024-0001", "severity": "CRITICAL", "uri": "https://example.com/"}
    place = {"account_id": fresh.account_id, "region": "ap-northeast-2", "repository": "web"}
    assert tell(server, "ecr/scan-findings", {**place, "findings": [finding]}).status_code == 200
    report = ecr.describe_image_scan_findings(repositoryName="web", imageId={"imageTag": "v1"})
    assert [found["name"] for found in report["imageScanFindings"]["findings"]] == ["CVE-2024-0001"]
    assert report["imageScanFindings"]["findingSeverityCounts"] == {"CRITICAL": 1}
    (detail,) = ecr.describe_images(repositoryName="web")["imageDetails"]
    assert detail["imageScanStatus"]["status"] == "COMPLETE"
    assert detail["imageScanFindingsSummary"]["findingSeverityCounts"] == {"CRITICAL": 1}


def test_an_unscanned_image_has_no_findings(client: Client) -> None:
    client.push(make_image(), "v1")

    with pytest.raises(ClientError, match="ScanNotFoundException"):
        client.account.client("ecr").describe_image_scan_findings(
            repositoryName="web", imageId={"imageTag": "v1"}
        )


def test_the_images_of_an_index_are_scanned_but_not_the_index(fresh: Account) -> None:
    client = log_in(fresh, "web", imageScanningConfiguration={"scanOnPush": True})
    image, ecr = make_image(), fresh.client("ecr")
    attestation = make_attestation(image)
    for each in (image, attestation):
        client.push(each, each.digest)
    index = make_index(image, attestation, platforms=("linux/amd64", "unknown/unknown"))
    client.push_manifest(index, "v1", INDEX)

    for image_id in ({"imageTag": "v1"}, {"imageDigest": digest_of(index)}):
        with pytest.raises(ClientError, match="UnsupportedImageTypeException"):
            ecr.start_image_scan(repositoryName="web", imageId=image_id)
        with pytest.raises(ClientError, match="ScanNotFoundException"):
            ecr.describe_image_scan_findings(repositoryName="web", imageId=image_id)
    reports = {
        each.digest: ecr.describe_image_scan_findings(
            repositoryName="web", imageId={"imageDigest": each.digest}
        )
        for each in (image, attestation)
    }
    assert reports[image.digest]["imageScanStatus"]["status"] == "COMPLETE"
    assert reports[attestation.digest]["imageScanStatus"]["status"] == "FAILED"
    assert "imageScanFindings" not in reports[attestation.digest]


def test_a_promotion_judges_the_images_of_an_index_by_their_own_scans(
    fresh: Account, server: local.LocalAws
) -> None:
    client = log_in(fresh, "web", imageScanningConfiguration={"scanOnPush": True})
    image, other = make_image(), make_image("other")
    attestation = make_attestation(image)
    for each in (image, other, attestation):
        client.push(each, each.digest)
    platforms = ("linux/amd64", "linux/arm64", "unknown/unknown")
    index = make_index(image, other, attestation, platforms=platforms)
    client.push_manifest(index, "v1", INDEX)

    def judge() -> None:
        require_clean_scans(
            fresh.client("ecr"),
            digest=digest_of(index),
            repository="web",
            environment="dev",
            settings=PromotionSettings(refuse_findings="HIGH"),
        )

    judge()
    finding = {"name": "CVE-2024-0001", "severity": "CRITICAL", "uri": "https://example.com/"}
    place = {"account_id": fresh.account_id, "region": "ap-northeast-2", "repository": "web"}
    found = {**place, "digest": other.digest, "findings": [finding]}
    assert tell(server, "ecr/scan-findings", found).status_code == 200
    with pytest.raises(PromotionRefusedError, match=f"{other.digest} .linux/arm64, of the index.*1 CRITICAL"):
        judge()


def test_an_image_is_scanned_on_request_at_most_once_a_day(client: Client) -> None:
    image, ecr = make_image(), client.account.client("ecr")
    client.push(image, "v1")

    started = ecr.start_image_scan(repositoryName="web", imageId={"imageTag": "v1"})

    assert started["imageScanStatus"]["status"] == "IN_PROGRESS"
    report = ecr.describe_image_scan_findings(repositoryName="web", imageId={"imageTag": "v1"})
    assert report["imageScanStatus"]["status"] == "COMPLETE"
    with pytest.raises(ClientError, match="LimitExceededException"):
        ecr.start_image_scan(repositoryName="web", imageId={"imageTag": "v1"})


def test_a_large_blob_is_not_held_in_memory(client: Client) -> None:
    """Push and pull 64 MB; the peak of the server's memory does not grow."""
    piece, pieces = b"x" * (1024 * 1024), 64
    digest = digest_of(piece * pieces)
    peak = _peak(client.account.server.pid)

    def body() -> Iterator[bytes]:
        for _ in range(pieces):
            yield piece

    place = client.start()
    client.call("PATCH", place, data=body())
    assert client.call("PUT", place, digest=digest).status_code == 201
    assert len(client.call("GET", f"blobs/{digest}").content) == pieces * len(piece)

    assert _peak(client.account.server.pid) - peak < 32 * 1024


def _peak(pid: int) -> int:
    """Kilobytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_several_clients_can_push_the_same_blob_at_once(client: Client) -> None:
    answers: list[int] = []

    def push() -> None:
        answers.append(client.push_blob(b"the same" * 100_000).status_code)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [201] * 8


def test_a_registry_request_is_not_reported_as_an_unsupported_call(
    client: Client, health: Callable[[], dict[str, Any]]
) -> None:
    before = health()["unsupported"]

    client.call("GET", "/v2/web/nothing")

    assert health()["unsupported"] == before
