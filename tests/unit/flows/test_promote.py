"""Only an image that serves, is proven and clean, and has the right source may be promoted; each refusal names its reason."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import flows, verify
from mclass_tf.aws import Access, Aws
from mclass_tf.cli import promote_commands
from mclass_tf.cli.call import Call, Reporter
from mclass_tf.cli.grammar import parser
from mclass_tf.cli.promote_commands import differences_text, history_document, history_text, path
from mclass_tf.environment import Backend, Environment, PromotionSettings
from mclass_tf.errors import (
    ApprovalRefusedError,
    DeploymentInProgressError,
    GateRefusedError,
    LeaseHeldError,
    NoImageError,
    PlanRefusedError,
    PromotionRefusedError,
    RefusedError,
    UsageError,
)
from mclass_tf.flows.deployer import deploy
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.differences import Difference, EnvironmentSide, differences
from mclass_tf.flows.history import summarise
from mclass_tf.flows.promote import _serving_task_definition, require_path
from mclass_tf.flows.proof import _tags, require_proven, serving_digest
from mclass_tf.flows.scans import ScannedImage, _scan, require_clean, require_clean_scans
from mclass_tf.lease import Holder, Lease
from mclass_tf.ledger import AttemptEnd, AttemptStart, Origin, Record, Step
from mclass_tf.rollout import Patience
from mclass_tf.session import Project, Session
from tests.unit.fake_s3 import FakeS3
from tests.unit.fake_service import (
    DIGEST,
    NEW,
    OLD,
    FakeEcs,
    deployment,
    service,
    service_deployment,
    task,
)

OTHER_DIGEST = "sha256:" + "b" * 64
NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
ANY = PromotionSettings()


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be on its way, so that no test waits for it."""
    monkeypatch.setattr(deploy, "settling_seconds", lambda *_: 0.0)


def record(
    minutes_ago: float,
    *,
    digest: str = DIGEST,
    outcome: str = "released",
    command: str = "release",
    is_verified: bool = True,
    cause: str = "",
    is_ended: bool = True,
) -> Record:
    """Return an attempt that ended some minutes ago, one minute after its beginning."""
    at = NOW - dt.timedelta(minutes=minutes_ago)
    begun = AttemptStart(
        command=command,
        environment="dev",
        who="arn:aws:sts::111111111111:assumed-role/deploy/kim",
        at=(at - dt.timedelta(minutes=1)).isoformat(),
        commit="c0ffee",
        digest=digest,
        revision="c0ffee",
        strategy="ROLLING",
        state_serial=1,
    )
    ended = AttemptEnd(
        at=at.isoformat(),
        outcome=outcome,
        cause=cause,
        task_definition_arn=NEW,
        service_deployment_arn="",
        is_verified=is_verified,
        state_serial=1,
    )
    return Record(name=f"at {minutes_ago}", begun=begun, ended=ended if is_ended else None)


def proven(*records: Record, soak: float = 0.0) -> Record:
    return require_proven(
        records,
        digest=DIGEST,
        environment="dev",
        settings=PromotionSettings(soak_minutes=soak),
        now=NOW,
    )


def environment(name: str, *, promotes_from: str | None = None, **variables: Any) -> Environment:
    return Environment(
        name=name,
        directory=Path("environments") / name,
        account_id="111111111111",
        region="ap-northeast-2",
        role_arn=None,
        promotes_from=promotes_from,
        backend=Backend(
            file=Path("backend.hcl"),
            bucket="state",
            key="state",
            region="ap-northeast-2",
            allowed_account_ids=(),
        ),
        variables={"environment": name, **variables},
    )


def session(name: str, *, promotes_from: str | None = None, aws: Aws | None = None) -> Session:
    fake = SimpleNamespace(
        environment=environment(name, promotes_from=promotes_from), aws=aws, report=lambda _: None
    )
    return cast("Session", fake)


class WithImages(FakeEcs):
    image = f"repository@{DIGEST}"

    def task_definition(self, _: str) -> Mapping[str, Any]:
        return {"containerDefinitions": [{"name": "mclass-server", "image": self.image}]}


def deployer(ecs: FakeEcs, *, s3: FakeS3 | None = None, ecr: Any = None) -> Deployer:
    aws = Aws(Access(region="ap-northeast-2"))
    aws.__dict__.update(s3=s3 or FakeS3(), ecr=ecr)
    outputs = SimpleNamespace(container_name="mclass-server", repository_name="mclass-server")
    return Deployer(
        session=session("dev", aws=aws),
        outputs=cast("verify.Outputs", outputs),
        ecs=cast("Any", ecs),
        patience=Patience(report=lambda _: None),
    )


def steady() -> WithImages:
    """Return a service at rest with two tasks of one image, the only targets."""
    return WithImages(
        service(deployment(NEW, status="PRIMARY")),
        running=[task("one", address="10.0.0.1"), task("two", address="10.0.0.2")],
        states={"10.0.0.1": "healthy", "10.0.0.2": "healthy"},
    )


def test_what_all_tasks_run_at_rest_is_what_serves() -> None:
    assert serving_digest(deployer(steady())) == DIGEST


def test_an_environment_in_mid_release_has_nothing_to_promote_yet() -> None:
    ecs = steady()
    ecs.listed = [service_deployment()]

    with pytest.raises(PromotionRefusedError, match="under way since") as caught:
        serving_digest(deployer(ecs))

    assert "`status dev`" in caught.value.hint


def test_an_environment_that_is_being_rolled_back_is_distinguished() -> None:
    ecs = steady()
    ecs.listed = [service_deployment(status="ROLLBACK_IN_PROGRESS")]

    with pytest.raises(PromotionRefusedError, match="being rolled back since"):
        serving_digest(deployer(ecs))


def test_an_environment_where_somebody_is_at_work_is_in_mid_release_before_ecs_knows() -> None:
    s3 = FakeS3()
    source = deployer(steady(), s3=s3)
    lease = Lease(source.session.aws, source.session.environment.backend, environment="dev")

    with (
        lease.held(Holder.here(who="kim", command="release", digest=OTHER_DIGEST)),
        pytest.raises(PromotionRefusedError, match=f"kim is at work in dev since .*: release {OTHER_DIGEST}"),
    ):
        serving_digest(source)


@pytest.mark.parametrize(
    "found",
    [
        replace(steady().now, desired=0),
        service(deployment(OLD, status="PRIMARY", desired=0, running=0), desired=0),
    ],
)
def test_an_empty_environment_has_nothing_to_promote(found: Any) -> None:
    with pytest.raises(PromotionRefusedError, match="dev runs nothing") as caught:
        serving_digest(deployer(replace(steady(), now=found)))

    assert "`release dev`" in caught.value.hint


def test_an_environment_of_the_placeholder_alone_has_nothing_to_promote() -> None:
    ecs = steady()
    ecs.image = f"repository@{verify.PLACEHOLDER}"

    with pytest.raises(PromotionRefusedError, match="dev runs nothing"):
        serving_digest(deployer(ecs))


def test_the_last_attempt_proves_what_serves() -> None:
    assert proven(record(5), record(60, digest=OTHER_DIGEST)).name == "at 5"


def test_what_is_under_way_or_was_cut_off_proves_and_disproves_nothing() -> None:
    assert proven(record(1, is_ended=False), record(5)).name == "at 5"


def test_an_image_that_serves_by_a_cut_off_attempt_is_proven_by_resuming_it() -> None:
    with pytest.raises(PromotionRefusedError) as caught:
        proven(record(1, is_ended=False), record(5, digest=OTHER_DIGEST))

    assert "`release dev --resume`" in caught.value.hint


def test_what_was_refused_before_it_changed_anything_does_not_count() -> None:
    refused = record(1, outcome="refused", is_verified=False)
    planned = (Step(what="planning", at=""), Step(what="planned", at=""))

    assert proven(replace(refused, steps=planned), record(5)).name == "at 5"


def test_what_came_by_another_promotion_is_proven_too() -> None:
    assert proven(record(5, command="promote")).name == "at 5"


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "records no release of it"),
        ([record(5, digest=OTHER_DIGEST)], "records no release of it"),
        (
            [record(5, digest=OTHER_DIGEST, outcome="rolled back", cause="3 tasks failed"), record(60)],
            r"the last release in dev, .* ended with 'rolled back' \(3 tasks failed\); sha256:a+ serves there",
        ),
        ([record(5, outcome="failed", is_verified=False), record(60)], "ended with 'failed'"),
        ([record(5, outcome="interrupted", is_verified=False), record(60)], "ended with 'interrupted'"),
        (
            [record(5, command="rollback", outcome="rolled back"), record(60)],
            "the last rollback in dev, .* ended with 'rolled back'",
        ),
        ([record(5, digest=OTHER_DIGEST), record(60)], "ended with 'released'; sha256:a+ serves there"),
        ([record(5, is_verified=False)], "its verification failed"),
    ],
)
def test_what_was_not_proven_last_is_refused_with_what_would_prove_it(
    records: list[Record], told: str
) -> None:
    with pytest.raises(PromotionRefusedError, match=told) as caught:
        proven(*records)

    assert f"`release dev --image {DIGEST}`" in caught.value.hint
    assert caught.value.digest == DIGEST
    assert caught.value.exit_code == 5


def test_what_is_not_proven_long_enough_is_refused_with_the_time_that_is_left() -> None:
    assert proven(record(30), soak=30)
    with pytest.raises(PromotionRefusedError, match=r"for 4\.0 minutes, 30 are required") as caught:
        proven(record(4), soak=30)

    assert "promote in 26 minutes" in caught.value.hint


def test_proving_it_anew_does_not_start_the_soak_time_again() -> None:
    assert proven(record(4, outcome="unchanged"), record(40), soak=30).name == "at 4"


def test_the_soak_time_starts_again_after_something_else() -> None:
    with pytest.raises(PromotionRefusedError, match="are required"):
        proven(record(4), record(10, digest=OTHER_DIGEST), record(40), soak=30)


IMAGE = ScannedImage(image=DIGEST, digest=DIGEST, repository="mclass-server", environment="dev")


def scanned(status: str = "COMPLETE", **counts: int) -> Mapping[str, Any]:
    return {
        "imageScanStatus": {"status": status, "description": "so it is"},
        "imageScanFindings": {"findingSeverityCounts": counts},
    }


def clean(scan: Mapping[str, Any] | None, least: str = "HIGH") -> None:
    require_clean(scan, IMAGE, settings=PromotionSettings(refuse_findings=least))


def test_findings_below_the_threshold_pass() -> None:
    clean(scanned())
    clean(scanned(MEDIUM=3, LOW=1, UNDEFINED=2))
    clean(scanned("ACTIVE", HIGH=1), "CRITICAL")


@pytest.mark.parametrize(
    ("scan", "told"),
    [
        (scanned(HIGH=2, CRITICAL=1, LOW=5), "findings of HIGH or above: 1 CRITICAL, 2 HIGH$"),
        (scanned("IN_PROGRESS"), "is not over"),
        (scanned("FAILED"), "failed: FAILED so it is; what is in it is not known"),
        (scanned("UNSUPPORTED_IMAGE"), "failed: UNSUPPORTED_IMAGE"),
        (None, "was not scanned; what is in it is not known"),
    ],
)
def test_findings_and_inconclusive_scans_are_refused_with_different_reasons(
    scan: Mapping[str, Any] | None, told: str
) -> None:
    with pytest.raises(PromotionRefusedError, match=told):
        clean(scan)


class AwsError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class FakeEcr:
    """A repository; `code` is the error of every call."""

    def __init__(self, code: str = "", tags: list[str] | None = None) -> None:
        self.code = code
        self.tags = tags

    def describe_images(self, **_: Any) -> Mapping[str, Any]:
        if self.code:
            raise AwsError(self.code)
        return {"imageDetails": [{"imageTags": self.tags} if self.tags else {}]}

    def describe_image_scan_findings(self, **_: Any) -> Mapping[str, Any]:
        raise AwsError(self.code)


def test_an_image_that_was_deleted_while_it_serves_is_not_promoted() -> None:
    with pytest.raises(NoImageError, match="does not have it any more") as caught:
        _tags(deployer(steady(), ecr=FakeEcr("ImageNotFoundException")), DIGEST)

    assert f"`push dev --image {DIGEST}`" in caught.value.hint


def test_an_image_keeps_its_tags_and_gets_one_where_it_has_none() -> None:
    assert _tags(deployer(steady(), ecr=FakeEcr(tags=["b", "a"])), DIGEST) == ("a", "b")
    assert _tags(deployer(steady(), ecr=FakeEcr()), DIGEST) == ("promoted-aaaaaaaaaaaa",)


def test_a_scan_that_never_was_is_none_and_a_refusal_is_an_error() -> None:
    assert _scan(FakeEcr("ScanNotFoundException"), IMAGE) is None
    with pytest.raises(AwsError):
        _scan(FakeEcr("AccessDeniedException"), IMAGE)


AMD64, NOWHERE = "linux/amd64", "unknown/unknown"


class Repository:
    """A repository of manifests; `scans` are the findings of its images, keyed by digest."""

    def __init__(self) -> None:
        self.manifests: dict[str, str] = {}
        self.scans: dict[str, Mapping[str, Any]] = {}

    def add(self, document: Mapping[str, Any] | str, scan: Mapping[str, Any] | None = None) -> str:
        text = document if isinstance(document, str) else json.dumps(document)
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self.manifests[digest] = text
        self.scans |= {} if scan is None else {digest: scan}
        return digest

    def image(self, name: str, scan: Mapping[str, Any] | None = None) -> str:
        return self.add({"config": {}, "layers": [], "name": name}, scan)

    def index(self, *entries: tuple[str, str]) -> str:
        """Add an index of platforms and digests; "" means no platform."""
        return self.add({"manifests": [_entry(*each) for each in entries]})

    def batch_get_image(
        self,
        *,
        repositoryName: str,  # noqa: N803  # boto3's names
        imageIds: list[dict[str, str]],  # noqa: N803
        acceptedMediaTypes: list[str],  # noqa: N803
    ) -> Mapping[str, Any]:
        assert (repositoryName, len(acceptedMediaTypes)) == ("mclass-server", 4)
        asked = [each["imageDigest"] for each in imageIds]
        there = [digest for digest in asked if digest in self.manifests]
        return {
            "images": [
                {"imageId": {"imageDigest": each}, "imageManifest": self.manifests[each]} for each in there
            ],
            "failures": [
                {"imageId": {"imageDigest": each}, "failureReason": "Requested image not found"}
                for each in asked
                if each not in there
            ],
        }

    def describe_image_scan_findings(
        self,
        *,
        repositoryName: str,  # noqa: N803
        imageId: Mapping[str, str],  # noqa: N803
    ) -> Mapping[str, Any]:
        assert repositoryName == "mclass-server"
        # ECR scans no index: there is nothing for its digest.
        if imageId["imageDigest"] not in self.scans:
            raise AwsError("ScanNotFoundException")
        return self.scans[imageId["imageDigest"]]

    def require_clean(self, digest: str) -> None:
        require_clean_scans(
            self,
            digest=digest,
            repository="mclass-server",
            environment="dev",
            settings=PromotionSettings(refuse_findings="HIGH"),
        )


def _entry(platform: str, digest: str) -> Mapping[str, Any]:
    found = dict(zip(("os", "architecture"), platform.split("/"), strict=False))
    return {"digest": digest, "platform": found} if platform else {"digest": digest}


def test_of_an_index_the_scans_of_its_images_are_judged_and_attestations_are_none() -> None:
    there = Repository()
    clean = there.image("clean", scanned())
    attestation = there.image("attestation", scanned("FAILED"))

    there.require_clean(clean)
    index = there.index((AMD64, clean), (NOWHERE, attestation))
    there.require_clean(index)
    there.require_clean(there.index((AMD64, index), (NOWHERE, attestation)))


@pytest.mark.parametrize("platform", [AMD64, "linux/arm64", "linux/x86_64", "", "linux", "unknown/amd64"])
@pytest.mark.parametrize("nested", [False, True])
def test_every_image_of_an_index_that_may_run_must_be_clean(platform: str, *, nested: bool) -> None:
    there = Repository()
    bad = there.image("bad", scanned(CRITICAL=1))
    clean = there.image("clean", scanned())
    index = there.index((AMD64, clean), (platform, bad), (NOWHERE, bad))
    index = there.index((AMD64, index)) if nested else index

    with pytest.raises(PromotionRefusedError, match="1 CRITICAL") as caught:
        there.require_clean(index)

    assert f"{bad} (" in str(caught.value)
    assert f"of the index {index}) of dev" in str(caught.value)
    assert f"--repository-name mclass-server --image-id imageDigest={bad}`" in caught.value.hint
    assert index == caught.value.digest


def test_a_manifest_that_is_an_image_and_an_index_at_once_is_judged_as_both() -> None:
    there = Repository()
    other = there.image("bad", scanned(CRITICAL=1))
    both = there.add({"config": {}, "layers": [], "manifests": [_entry(AMD64, other)]}, scanned())

    with pytest.raises(PromotionRefusedError, match="1 CRITICAL"):
        there.require_clean(both)


def test_an_index_whose_images_were_not_scanned_is_refused_with_the_scan_of_the_image_as_next_step() -> None:
    there = Repository()
    image = there.image("new")

    with pytest.raises(PromotionRefusedError, match="was not scanned") as caught:
        there.require_clean(there.index((AMD64, image)))

    scan = f"`aws ecr start-image-scan --repository-name mclass-server --image-id imageDigest={image}`"
    assert scan in caught.value.hint


def test_an_index_of_a_missing_image_is_reported_with_its_digest() -> None:
    there = Repository()
    index = there.index((AMD64, OTHER_DIGEST))

    with pytest.raises(NoImageError, match=f"{OTHER_DIGEST}, which the index {index} names, cannot be read"):
        there.require_clean(index)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ({"manifests": 1}, "cannot be read"),
        ({"manifests": [1]}, "cannot be read"),
        ({"manifests": [{}]}, "cannot be read"),
        ({"manifests": [{"digest": "sha256:1", "platform": 1}]}, "cannot be read"),
        ({"manifests": []}, "names no image that could run"),
        ({"manifests": [_entry(NOWHERE, DIGEST)]}, "names no image that could run"),
        ({"manifests": [_entry("", f"sha256:{each}") for each in range(2000)]}, "too many"),
    ],
)
def test_a_manifest_that_names_no_image_is_refused(document: Mapping[str, Any] | str, told: str) -> None:
    there = Repository()

    with pytest.raises(PromotionRefusedError, match=told):
        there.require_clean(there.add(document))


def test_indexes_of_indexes_come_to_an_end() -> None:
    there = Repository()
    index = there.image("clean", scanned())
    for _ in range(10):
        index = there.index(("", index))

    with pytest.raises(PromotionRefusedError, match="nested too deeply"):
        there.require_clean(index)


@pytest.mark.parametrize("allowed", [None, "qa"])
def test_a_promotion_from_elsewhere_than_promotes_from_is_refused(allowed: str | None) -> None:
    with pytest.raises(PromotionRefusedError, match="not from dev; nothing was changed") as caught:
        require_path(session("dev"), session("prod", promotes_from=allowed))

    assert ("promote qa prod" in caught.value.hint) is (allowed == "qa")


def test_a_promotion_from_where_releases_come_from_is_allowed() -> None:
    require_path(session("dev"), session("prod", promotes_from="dev"))


@pytest.mark.parametrize(
    "words",
    [["dev", "prod"], ["dev→prod"], ["dev->prod"], ["dev", "→", "prod"], ["dev -> prod"], ["dev", "->prod"]],
)
def test_where_from_and_where_to_are_written_in_several_ways(words: list[str]) -> None:
    assert path(words) == ("dev", "prod")


def test_an_arrow_of_its_own_is_no_option() -> None:
    arguments = parser().parse_args(["promote", "dev", "->", "prod", "--yes"])

    assert path(arguments.path) == ("dev", "prod")
    assert arguments.yes


@pytest.mark.parametrize("words", [["dev"], ["dev", "qa", "prod"], ["dev", "dev"], ["→"]])
def test_anything_but_two_environments_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        path(words)


@pytest.mark.parametrize("words", [["dev-"], ["dev", "-"]])
def test_an_arrow_that_the_shell_interpreted_is_reported(words: list[str]) -> None:
    with pytest.raises(UsageError, match="the shell has taken the >"):
        path(words)


def call(*arguments: str) -> Call:
    return Call(
        arguments=parser().parse_args(["promote", *arguments]),
        project=Project(folder=Path("/project"), home=Path("/project/.mclass")),
        reporter=Reporter(),
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The environments that a promotion opens. prod requires a confirmation, and there is no terminal."""
    names: list[str] = []

    def load(_: Path, name: str, **__: Any) -> Environment:
        return replace(environment(name), promotion=PromotionSettings(allow_yes=name != "prod"))

    def open_session(_: Project, name: str, **__: Any) -> Session:
        names.append(name)
        nothing = cast("Any", SimpleNamespace(is_local=False))
        return Session(
            project=nothing,
            environment=environment(name),
            cloud=nothing,
            aws=nothing,
            workspace=nothing,
            engine=nothing,
            env={},
            report=lambda _: None,
        )

    monkeypatch.setattr("mclass_tf.environment.load", load)
    monkeypatch.setattr(promote_commands, "open_session", open_session)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    return names


def test_yes_is_refused_before_anything_happens_where_the_environment_does_not_allow_it(
    opened: list[str],
) -> None:
    done = promote_commands.promote(call("dev", "prod", "--yes"))

    assert done.exit_code == 5
    assert done.document["error"]["type"] == "PromotionRefusedError"
    assert (done.document["outcome"], done.document["environment"]) == ("refused", "prod")
    assert "at a terminal without --yes" in done.document["error"]["hint"]
    assert (
        "`allow_yes = true` under [promotion] of environments/prod/environment.toml"
        in done.document["error"]["hint"]
    )
    assert not opened


def test_no_hint_suggests_a_yes_that_the_environment_does_not_allow(opened: list[str]) -> None:
    with pytest.raises(UsageError, match="not a terminal") as allowed:
        promote_commands.promote(call("prod", "dev"))
    with pytest.raises(UsageError, match="not a terminal") as caught:
        promote_commands.promote(call("dev", "prod"))

    assert allowed.value.hint == "add --yes"
    assert "--yes" not in caught.value.hint
    assert "at a terminal" in caught.value.hint
    assert not opened


def test_yes_answers_where_the_environment_allows_it(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def promoted(*_: Any, confirm: Any, **__: Any) -> None:
        asked.append(confirm("Promote?"))
        raise ApprovalRefusedError("that will do")

    monkeypatch.setattr(flows, "promote", promoted)

    promote_commands.promote(call("prod", "dev", "--yes"))

    assert asked == [True]
    assert opened == ["prod", "dev"]


@pytest.mark.parametrize(
    ("error", "digest"),
    [
        (PromotionRefusedError("not proven", digest=DIGEST), DIGEST),
        (PromotionRefusedError("dev runs nothing"), ""),
        (LeaseHeldError("kim is at work", holder="kim", digest=OTHER_DIGEST), ""),
        (ApprovalRefusedError("dev was left as it is"), ""),
        (GateRefusedError("the gates refuse this plan"), ""),
        (PlanRefusedError("the plan is stale"), ""),
        (DeploymentInProgressError("a deployment is under way"), ""),
    ],
)
def test_every_refusal_of_a_promotion_is_a_document_without_digests_of_other_images(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, error: RefusedError, digest: str
) -> None:
    def promoted(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(flows, "promote", promoted)

    done = promote_commands.promote(call("prod", "dev", "--yes"))

    assert opened
    assert done.exit_code == 5
    assert done.document == {
        "environment": "dev",
        "digest": digest,
        "outcome": "refused",
        "cause": str(error),
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "exit_code": 5,
        },
    }


def test_what_serves_already_is_known_by_what_runs() -> None:
    assert _serving_task_definition(deployer(steady()), DIGEST) == NEW
    assert not _serving_task_definition(deployer(steady()), OTHER_DIGEST)
    in_mid_release = steady()
    in_mid_release.listed = [service_deployment()]
    assert not _serving_task_definition(deployer(in_mid_release), DIGEST)
    failed = replace(steady(), now=service(deployment(NEW, status="PRIMARY", state="FAILED")))
    assert not _serving_task_definition(deployer(failed), DIGEST)


def test_a_differing_sensitive_input_is_reported_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        'variable "key" { sensitive = true }\nvariable "same" { sensitive = true }\n'
    )
    (tmp_path / "main_override.tf").write_text('variable "key" { default = "x" }\n')
    sides = (
        EnvironmentSide(environment=environment(name, key={"a": secret}, same=1), outputs={})
        for name, secret in (("dev", "hunter2"), ("prod", "hunter3"))
    )

    assert differences(*sides, root=tmp_path) == (
        Difference(what="input", name="key", source="(sensitive)", target="(sensitive)"),
    )


def test_each_difference_is_listed_once(tmp_path: Path) -> None:
    dev = EnvironmentSide(
        environment=environment("dev", task={"cpu": 256, "memory": 512}, network={"egress": "nat"}, a=1),
        outputs={"egress": "nat", "deployment": {"maximum_percent": 200}, "alb_arn": "dev's", "region": "x"},
    )
    prod = EnvironmentSide(
        environment=environment(
            "prod", task={"cpu": 1024, "memory": 512}, network={"egress": "endpoints"}, a=1
        ),
        outputs={"egress": "endpoints", "deployment": {"maximum_percent": 150}, "alb_arn": "prod's"},
    )

    assert differences(dev, prod, root=tmp_path) == (
        Difference(what="input", name="network.egress", source="nat", target="endpoints"),
        Difference(what="input", name="task.cpu", source="256", target="1024"),
        Difference(what="output", name="deployment.maximum_percent", source="200", target="150"),
        Difference(what="output", name="region", source="x", target="-"),
    )


def test_the_table_of_differences_is_short_and_says_which_is_which() -> None:
    found = (
        Difference(what="input", name="task.cpu", source="256", target="1024"),
        Difference(what="output", name="region", source="x" * 50, target="-"),
    )

    assert differences_text(("dev", "prod"), found).splitlines() == [
        "                 dev                                       prod",
        "  task.cpu       256                                       1024",
        f"  output region  {'x' * 39}…  -",
    ]
    assert differences_text(("dev", "prod"), ()) == "dev and prod are configured alike"


PAST = summarise(
    [
        record(1, is_ended=False),
        replace(
            record(5, command="promote"),
            begun=replace(
                record(5, command="promote").begun, promoted_from=Origin(environment="dev", record="s3://dev")
            ),
        ),
        record(9, is_ended=False),
        record(20, outcome="rolled back", cause="3 tasks failed", is_verified=False),
    ],
    urls=["s3://1", "s3://2", "s3://3", "s3://4"],
    is_held=True,
)


def test_the_history_tells_each_attempt_with_its_kind_its_end_and_how_long_it_took() -> None:
    assert [(past.kind, past.outcome, past.seconds) for past in PAST] == [
        ("release", "under way", None),
        ("promotion", "released", 60.0),
        ("release", "cut off", None),
        ("release", "rolled back", 60.0),
    ]
    assert summarise([record(1, is_ended=False)], urls=["s3://1"], is_held=False)[0].outcome == "cut off"


def test_the_history_is_a_table_with_the_cause_below_what_failed() -> None:
    lines = history_text("prod", PAST).splitlines()

    assert re.split(r"\s{2,}", lines[1]) == [
        "2026-11-23 11:54:00",
        "promotion from dev",
        "sha256:aaaaaaaaaaaa",
        "c0ffee",
        "released",
        "60 s",
        "assumed-role/deploy/kim",
    ]
    assert "rolled back, not verified" in lines[3]
    assert lines[4] == "    3 tasks failed"
    assert history_text("prod", ()) == "nothing was released in prod yet"


def test_the_history_as_json_says_where_a_promotion_came_from() -> None:
    document = history_document("prod", PAST)

    assert document["environment"] == "prod"
    assert document["attempts"][1]["promoted_from"] == {"environment": "dev", "record": "s3://dev"}
    assert document["attempts"][0]["seconds"] is None
    assert document["attempts"][3]["verified"] is False
