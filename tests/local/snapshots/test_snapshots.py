"""Snapshots: saving a local AWS at rest, starting another from the file, and refusing invalid files."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf import local
from mclass_tf.local.snapshots import file, state
from mclass_tf.local.snapshots.file import SnapshotHeader
from tests.callers import ask
from tests.local import rollouts
from tests.local.conftest import DEV, account_of
from tests.local.rollouts import Rollouts


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home folder of the saved local AWS."""
    yield from _home(tmp_path / "home")


@pytest.fixture
def other(tmp_path: Path, home: Path) -> Iterator[Path]:
    """Another home folder of the same owner, with the key."""
    folder = tmp_path / "other"
    folder.mkdir(mode=0o700)
    yield from _home(folder)


def _home(folder: Path) -> Iterator[Path]:
    yield folder
    local.down(home=folder)


def take_the_key(home: Path, other: Path) -> None:
    shutil.copy(home / "snapshot.key", other)


def ports(server: local.LocalAws) -> list[tuple[str, int]]:
    found = ask(server, "load-balancers")["load_balancers"]
    return [(each["host"], each["local_port"]) for balancer in found for each in balancer["listeners"]]


def health(of: Rollouts) -> list[str]:
    elb = of.client("elbv2")
    (group,) = elb.describe_target_groups()["TargetGroups"]
    found = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    return [each["TargetHealth"]["State"] for each in found]


# ---- what is in it


def test_a_local_aws_starts_from_a_snapshot_and_its_service_serves_again(
    home: Path, other: Path, tmp_path: Path
) -> None:
    first = local.up(home=home, port=0, speed=rollouts.SPEED)
    before = rollouts.make(account_of(first, DEV))
    before.wait_for_status("SUCCESSFUL")
    s3 = before.client("s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"new"):
        s3.put_object(Bucket="kept", Key="k", Body=body)
    service, deployment, tasks = before.service, before.record, before.tasks()
    versions = s3.list_object_versions(Bucket="kept")["Versions"]
    images = before.client("ecr").list_images(repositoryName="mclass-server")["imageIds"]

    local.save(home=home, path=tmp_path / "s.snapshot")
    local.down(home=home)
    take_the_key(home, other)
    second = local.up(home=other, port=0, speed=1, snapshot=tmp_path / "s.snapshot")

    (address,) = [f"http://{host}:{port}" for host, port in ports(second)]
    after = Rollouts(account=account_of(second, DEV), image=before.image, url=address)
    assert len(tasks) == len(after.tasks()), "up returns when they run"
    assert {task["taskArn"] for task in tasks}.isdisjoint(task["taskArn"] for task in after.tasks())
    assert health(after) == ["healthy"] * len(tasks)
    assert after.version() == "1"
    assert (service["serviceArn"], service["createdAt"]) == (
        after.service["serviceArn"],
        after.service["createdAt"],
    )
    assert [each["id"] for each in service["deployments"]] == [
        each["id"] for each in after.service["deployments"]
    ]
    assert after.record == deployment
    s3 = after.client("s3")
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"new"
    assert s3.list_object_versions(Bucket="kept")["Versions"] == versions
    assert after.client("ecr").list_images(repositoryName="mclass-server")["imageIds"] == images
    assert after.register("2").endswith(":2"), "counters go on"
    interfaces = after.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    assert len(tasks) == sum(each["RequesterManaged"] for each in interfaces), (
        "those of the old tasks are gone"
    )
    local.up(home=other, speed=rollouts.SPEED)
    after.update(taskDefinition="t:2")
    after.wait_for_status("SUCCESSFUL")
    assert after.version() == "2", "the image is there to be pulled"


@pytest.mark.parametrize(("asked", "speed"), [(None, 5), (7, 7)])
def test_the_clock_has_the_saved_speed_or_the_requested_one(
    home: Path, tmp_path: Path, asked: float | None, speed: float
) -> None:
    local.up(home=home, port=0, speed=5)
    local.save(home=home, path=tmp_path / "s")
    local.down(home=home)

    second = local.up(home=home, port=0, speed=asked, snapshot=tmp_path / "s")

    assert ask(second, "clock") == {"speed": speed}


def test_activity_under_way_is_named_and_prevents_a_snapshot(home: Path, tmp_path: Path) -> None:
    first = local.up(home=home, port=0)
    before = rollouts.make(account_of(first, DEV))

    with pytest.raises(
        local.SnapshotError, match=r"not at rest: a deployment of service s of account \d+ is"
    ) as error:
        local.save(home=home, path=tmp_path / "s")

    assert ("status", "ENV") in error.value.hint
    assert list(tmp_path.glob("s*")) == []
    assert list(home.glob("*.state")) == []
    before.client("ecs").delete_service(cluster="c", service="s", force=True)


def test_a_state_locked_by_terraform_prevents_a_snapshot(home: Path, tmp_path: Path) -> None:
    s3 = account_of(local.up(home=home, port=0), DEV).client("s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    s3.put_object(Bucket="kept", Key="x/terraform.tfstate.tflock", Body=b"{}")

    with pytest.raises(
        local.SnapshotError, match=r"holds the lock x/terraform.tfstate.tflock in bucket kept"
    ):
        local.save(home=home, path=tmp_path / "s")

    s3.delete_object(Bucket="kept", Key="x/terraform.tfstate.tflock")
    assert local.save(home=home, path=tmp_path / "s") == (tmp_path / "s").stat().st_size


def test_a_snapshot_has_the_version_of_the_server_even_if_the_sources_changed_since(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.up(home=home, port=0)
    started_as = file.versions()
    monkeypatch.setattr(file, "versions", lambda: {**started_as, "mclass-tf": "changed since"})

    local.save(home=home, path=tmp_path / "s")

    with (
        pytest.raises(local.SnapshotError, match="and this is mclass-tf changed since"),
        file.verified(tmp_path / "s", home=home),
    ):
        pass


def test_nothing_is_saved_if_no_local_aws_is_up(home: Path, tmp_path: Path) -> None:
    with pytest.raises(local.SnapshotError, match="not up"):
        local.save(home=home, path=tmp_path / "s")


def test_a_running_local_aws_is_not_replaced(home: Path, tmp_path: Path) -> None:
    up = local.up(home=home, port=0)
    local.save(home=home, path=tmp_path / "s")

    with pytest.raises(local.SnapshotError, match="up already"):
        local.up(home=home, port=0, snapshot=tmp_path / "s")

    assert local.status(home=home) == up


# ---- the file


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A snapshot with arbitrary content."""
    return write(tmp_path)


def write(tmp_path: Path, **versions: str) -> Path:
    home, blobs = tmp_path / "signer", tmp_path / "blobs"
    for folder in (home, blobs):
        folder.mkdir(exist_ok=True)
    (blobs / "ab12").write_bytes(b"layer")
    (tmp_path / "state").write_bytes(b"state")
    header = SnapshotHeader(speed=2, tasks="", versions={**file.versions(), **versions})
    file.write(tmp_path / "s", header=header, state=tmp_path / "state", blobs=blobs, home=home)
    return tmp_path / "s"


def read(path: Path, home: Path) -> tuple[SnapshotHeader, bytes, dict[str, bytes]]:
    into = home / "into"
    into.mkdir(exist_ok=True)
    with file.verified(path, home=home) as (header, archive):
        data = file.unpack(archive, blobs=into)
    return header, data, {blob.name: blob.read_bytes() for blob in into.iterdir()}


def test_a_written_snapshot_can_be_read(written: Path) -> None:
    header, data, blobs = read(written, written.with_name("signer"))

    assert (header.speed, data, blobs) == (2, b"state", {"ab12": b"layer"})


def test_only_the_owner_can_read_a_snapshot_and_its_key(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE((written.with_name("signer") / "snapshot.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("position", [100, -1200, -1])
def test_a_changed_byte_is_noticed(written: Path, position: int) -> None:
    data = bytearray(written.read_bytes())
    data[position] ^= 1
    written.write_bytes(data)

    with pytest.raises(local.SnapshotError, match="not signed with the key"):
        read(written, written.with_name("signer"))


def test_a_snapshot_of_another_home_is_refused(written: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(local.SnapshotError, match="not signed with the key"):
        read(written, tmp_path / "mine")

    (tmp_path / "mine" / "snapshot.key").write_text("another key")
    with pytest.raises(local.SnapshotError, match="not signed with the key"):
        read(written, tmp_path / "mine")


def test_an_empty_key_signs_nothing(written: Path) -> None:
    (written.with_name("signer") / "snapshot.key").write_bytes(b"")

    with pytest.raises(local.SnapshotError, match="not signed with the key"):
        read(written, written.with_name("signer"))


@pytest.mark.parametrize("what", ["mclass-tf", "moto", "python"])
def test_a_snapshot_of_another_version_is_refused_and_names_both(tmp_path: Path, what: str) -> None:
    path = write(tmp_path, **{what: "0.0.1 of long ago"})

    with pytest.raises(local.SnapshotError) as error:
        read(path, tmp_path / "signer")

    assert f"was written by {what} 0.0.1 of long ago, and this is {what} {file.versions()[what]}" in str(
        error.value
    )


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"mclass-tf snapshot\n", b"mclass-tf snapshot\nabc\n{}\n"]
)
def test_another_file_is_no_snapshot(tmp_path: Path, written: Path, content: bytes) -> None:
    path = tmp_path / "another"
    path.write_bytes(content)

    with pytest.raises(local.SnapshotError):
        read(path, written.with_name("signer"))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(local.SnapshotError, match="No such file"):
        read(tmp_path / "none", tmp_path)


def test_a_failed_write_keeps_the_previous_snapshot(written: Path, tmp_path: Path) -> None:
    before = written.read_bytes()
    header = SnapshotHeader(speed=2, tasks="", versions=file.versions())

    with pytest.raises(OSError, match="gone"):
        file.write(
            written, header=header, state=tmp_path / "gone", blobs=tmp_path, home=written.with_name("signer")
        )

    assert written.read_bytes() == before
    assert list(tmp_path.glob(".s.*")) == []


# ---- the state


class _Runs:
    """An object with a hostile pickle."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("hostile",)


def test_a_state_that_would_execute_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(pickle.UnpicklingError, match=r"posix.mkdir is no part of a state"):
        state.load(pickle.dumps(_Runs()))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("mclass_tf.local.control", "down"), ("moto.settings", "os")]
)
def test_no_function_and_no_module_is_part_of_a_state(module: str, name: str) -> None:
    hostile = f"c{module}\n{name}\n.".encode()

    with pytest.raises(pickle.UnpicklingError, match="is no part of a state"):
        state.load(hostile)


def test_no_foreign_class_is_reachable_through_a_module_that_imports_it() -> None:
    hostile = b"\x80\x04\x8c\x16moto.core.base_backend\x8c\x07Session\x93."

    with pytest.raises(pickle.UnpicklingError, match="is no part of a state"):
        state.load(hostile)


def test_no_private_method_is_bound() -> None:
    with pytest.raises(pickle.UnpicklingError, match="no method of the local AWS"):
        state.bound(io.StringIO(), "close")


def test_a_restored_instance_accepts_no_keys_or_sessions_of_the_saved_one(home: Path, tmp_path: Path) -> None:
    first = local.up(home=home, port=0)
    session = account_of(first, DEV)
    iam = session.client("iam")
    iam.create_user(UserName="robot")
    robot = iam.create_access_key(UserName="robot")["AccessKey"]
    local.save(home=home, path=tmp_path / "s")
    local.down(home=home)

    second = local.up(home=home, port=0, snapshot=tmp_path / "s")

    assert second.key.access_key_id != first.key.access_key_id
    before = replace(session, server=second)
    owner_before = replace(
        before,
        access_key=first.key.access_key_id,
        secret_key=first.key.secret_access_key,
        session_token=None,
    )
    for refused in (before, owner_before):
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            refused.client("sts").get_caller_identity()
    kept = replace(
        owner_before, access_key=robot["AccessKeyId"], secret_key=robot["SecretAccessKey"]
    )  # a resource, as the user is
    assert kept.client("sts").get_caller_identity()["Account"] == DEV
