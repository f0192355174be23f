"""The resolution of images and the placement of tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.ecs.model import images
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.tasks import capacity
from tests.local import task_world
from tests.local.in_process import REGION
from tests.local.task_world import REPOSITORY, World, digest_of, make_manifest, push

_INDEX = "application/vnd.oci.image.index.v1+json"


def _reason(task: Task) -> tuple[str | None, str | None]:
    return task.stop_code, task.stopped_reason


async def _fails(world: World, image: str, **settings: object) -> str:
    task = world.launch(world.applied.container(image=image), **settings)
    await world.status(task, "STOPPED")
    assert task.stop_code == "TaskFailedToStart"
    assert task.containers[0].reason == task.stopped_reason
    assert task.containers[0].exit_code is None
    return str(task.stopped_reason)


# ---- references


def test_an_image_is_pulled_by_digest_and_its_manifest_is_stored_as_a_blob(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        digest = world.applied.digest
        assert world.driver.pulled == [digest]
        assert container.container.manifest_digest == digest
        assert task.containers[0].image_digest == digest
        assert digest_of((tmp_path / digest.removeprefix("sha256:")).read_text()) == digest

    task_world.run(tmp_path, scenario)


@pytest.mark.parametrize("suffix", [":v1", ""])
def test_a_tag_is_resolved_when_the_task_starts(suffix: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        latest = push(world.applied.account_id, make_manifest(name="two"), tag="latest")
        image = f"{world.applied.host}/{REPOSITORY}{suffix}"
        _, container = await world.running(world.applied.container(image=image))
        assert container.container.manifest_digest == (world.applied.digest if suffix else latest)

    task_world.run(tmp_path, scenario)


def test_a_missing_image_cannot_be_pulled(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        host = world.applied.host
        for name in (f"{REPOSITORY}:nope", f"{REPOSITORY}@sha256:{'0' * 64}"):
            assert await _fails(world, f"{host}/{name}") == (
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
                f"{host}/{name}: not found"
            )

    task_world.run(tmp_path, scenario)


def test_nothing_but_ecr_can_be_reached(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        reason = await _fails(world, "nginx:latest")
        assert reason.startswith("CannotPullContainerError: pull image manifest has been retried 5 time(s): ")
        assert "the local AWS pulls from Amazon ECR alone" in reason

    task_world.run(tmp_path, scenario)


def test_an_index_leads_to_the_image_of_the_platform(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        account = world.applied.account_id
        arm = push(account, make_manifest(name="arm"), tag="arm")
        index = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _INDEX,
                "manifests": [
                    {"digest": arm, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
                ],
            }
        )
        digest = push(account, index, tag="index")
        image = f"{world.applied.host}/{REPOSITORY}:index"
        platform = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
        task, container = await world.running(
            world.applied.container(image=image), definition={"runtimePlatform": platform}
        )
        assert container.container.manifest_digest == arm
        assert task.containers[0].image_digest == digest
        assert await _fails(world, image) == (
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain "
            "descriptor matching platform 'linux/amd64'"
        )

    task_world.run(tmp_path, scenario)


def _configured(folder: Path, **config: object) -> str:
    """Return the manifest of an image with this configuration, whose blob is in the folder."""
    text = json.dumps({"config": {"Entrypoint": ["/usr/local/bin/python", "-m", "app"]}, **config})
    (folder / digest_of(text).removeprefix("sha256:")).write_text(text)
    manifest = json.loads(make_manifest(name=text))
    manifest["config"]["digest"] = digest_of(text)
    return json.dumps(manifest)


def test_an_image_of_another_architecture_is_pulled_and_fails_to_execute_as_on_fargate(
    tmp_path: Path,
) -> None:
    async def scenario(world: World) -> None:
        digest = push(world.applied.account_id, _configured(tmp_path, architecture="arm64"), tag="arm")
        image = f"{world.applied.host}/{REPOSITORY}:arm"
        task = world.launch(world.applied.container(image=image))
        await world.status(task, "STOPPED")
        assert _reason(task) == ("EssentialContainerExited", "Essential container in task exited")
        assert task.containers[0].exit_code == 1
        assert world.driver.pulled == [digest]
        assert world.driver.started == []
        assert world.log(task) == ["exec /usr/local/bin/python: exec format error"]
        arm = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
        await world.running(world.applied.container(image=image), definition={"runtimePlatform": arm})

    task_world.run(tmp_path, scenario)


@pytest.mark.parametrize("config", [{"architecture": "amd64"}, {"architecture": ""}, {}])
def test_an_image_that_names_no_architecture_is_started(config: dict[str, object], tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        push(world.applied.account_id, _configured(tmp_path, **config), tag="own")
        image = f"{world.applied.host}/{REPOSITORY}:own"
        await world.running(world.applied.container(image=image))

    task_world.run(tmp_path, scenario)


def test_an_entry_of_an_index_without_a_platform_has_that_of_its_configuration(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        account = world.applied.account_id
        own, other = (
            push(account, _configured(tmp_path, architecture=each, os="linux"), tag=each)
            for each in ("amd64", "arm64")
        )
        entries = [{"digest": each, "size": 1} for each in (other, own)]
        index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})
        push(account, index, tag="index")
        image = f"{world.applied.host}/{REPOSITORY}:index"
        _, container = await world.running(world.applied.container(image=image))
        assert container.container.manifest_digest == own

    task_world.run(tmp_path, scenario)


def test_an_image_must_fit_into_the_ephemeral_storage(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        digest = push(world.applied.account_id, make_manifest(size=21 * 1024**3), tag="big")
        image = f"{world.applied.host}/{REPOSITORY}@{digest}"
        assert "no space left on device" in await _fails(world, image)
        storage = {"ephemeralStorage": {"sizeInGiB": 30}}
        await world.running(world.applied.container(image=image), definition=storage)

    task_world.run(tmp_path, scenario)


def test_errors_of_the_driver_become_stopped_reasons_of_ecs(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.driver.pull_error = "layer is broken"
        assert await _fails(world, world.applied.image) == "CannotPullContainerError: layer is broken"
        world.driver.pull_error = ""
        world.driver.start_error = "no such file"
        assert await _fails(world, world.applied.image) == "CannotStartContainerError: no such file"

    task_world.run(tmp_path, scenario)


def test_a_reference_is_parsed() -> None:
    host = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
    found = images.parse(f"{host}/team/app:v1@sha256:{'a' * 64}")
    assert (found.host, found.account_id, found.region) == (host, "123456789012", REGION)
    assert (found.repository, found.tag, found.version) == ("team/app", "v1", f"sha256:{'a' * 64}")
    assert images.parse(f"{host}/app").version == "latest"


# ---- placement


def test_tasks_are_spread_over_the_zones_with_addresses_of_their_own(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        tasks = [world.launch() for _ in range(4)]
        for task in tasks:
            await world.status(task, "RUNNING")
        assert sorted(task.availability_zone for task in tasks) == [
            f"{REGION}a",
            f"{REGION}a",
            f"{REGION}c",
            f"{REGION}c",
        ]
        assert len({task.interface.private_ip for task in tasks if task.interface}) == 4
        assert len(world.targets()) == 4

    task_world.run(tmp_path, scenario)


def test_the_interface_of_a_task_exists_in_ec2_as_long_as_the_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running()
        assert task.interface is not None
        ec2 = world.applied.client("ec2")
        asked = {"Filters": [{"Name": "network-interface-id", "Values": [task.interface.id]}]}
        found = ec2.describe_network_interfaces(**asked)["NetworkInterfaces"][0]
        assert found["PrivateIpAddress"] == task.interface.private_ip
        assert found["SubnetId"] == task.interface.subnet_id
        assert found["Status"] == "in-use"
        assert [group["GroupId"] for group in found["Groups"]] == [world.applied.group_id]
        assert found["Description"].endswith(f":attachment/{task.attachment_id}")
        with pytest.raises(ClientError, match="DependencyViolation"):
            ec2.delete_security_group(GroupId=world.applied.group_id)
        with pytest.raises(ClientError, match="DependencyViolation"):
            ec2.delete_subnet(SubnetId=found["SubnetId"])
        world.stop(task)
        await world.status(task, "STOPPED")
        assert ec2.describe_network_interfaces(**asked)["NetworkInterfaces"] == []
        interfaces, vpc_id = world.live.interfaces, task.interface.vpc_id
        assert interfaces.find(vpc_id=vpc_id, private_ip=task.interface.private_ip) is None
        ec2.delete_security_group(GroupId=world.applied.group_id)
        ec2.delete_subnet(SubnetId=found["SubnetId"])

    task_world.run(tmp_path, scenario)


def test_a_subnet_without_a_free_address_takes_no_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ec2 = world.applied.client("ec2")
        subnet = ec2.create_subnet(VpcId=world.applied.vpc_id, CidrBlock="10.0.250.0/28")["Subnet"]
        ec2.associate_route_table(
            RouteTableId=world.applied.ids["private_table_a"], SubnetId=subnet["SubnetId"]
        )
        network = {
            "awsvpcConfiguration": {
                "subnets": [subnet["SubnetId"]],
                "securityGroups": [world.applied.group_id],
            }
        }
        tasks = [world.launch(settings={"networkConfiguration": network}) for _ in range(11)]
        for task in tasks:
            await world.status(task, "RUNNING")
        late = world.launch(settings={"networkConfiguration": network})
        await world.status(late, "STOPPED")
        assert "InsufficientFreeAddressesInSubnet" in str(late.stopped_reason)
        world.stop(tasks[0])
        await world.status(tasks[0], "STOPPED")
        await world.running(settings={"networkConfiguration": network})

    task_world.run(tmp_path, scenario)


def test_a_deleted_subnet_takes_no_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        network = {"awsvpcConfiguration": {"subnets": ["subnet-00000000"]}}
        task = world.launch(settings={"networkConfiguration": network})
        await world.status(task, "STOPPED")
        assert _reason(task) == ("TaskFailedToStart", "The subnet ID 'subnet-00000000' does not exist")

    task_world.run(tmp_path, scenario)


def test_the_base_comes_first_and_the_weights_share_the_rest() -> None:
    strategy = [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]
    running: list[str | None] = []
    for _ in range(9):
        running.append(capacity.choose_provider(strategy, others=running))
    assert running[0] == "FARGATE"
    assert (running.count("FARGATE"), running.count("FARGATE_SPOT")) == (3, 6)


def test_a_launch_type_needs_no_capacity_provider() -> None:
    assert capacity.choose_provider([], others=[]) is None
