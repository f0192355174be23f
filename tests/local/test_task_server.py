"""A container reaches only its own task's metadata and credentials and what its role allows, and cannot start anything here."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mclass_tf.local.access.registry_tokens import Principal
from mclass_tf.local.aws import sts
from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.containers.gateway_listener import GatewayListener
from mclass_tf.local.http.server import Server
from mclass_tf.local.metadata import Metadata
from mclass_tf.local.task_server import TaskServers
from tests.callers import owner, signed
from tests.local import in_process, task_world
from tests.local.fake_driver import FakeContainer
from tests.local.in_process import KEY, REGION
from tests.local.task_world import URL, World

_EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)
_ONE_TRY = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """A container's view of the local AWS."""

    url: str
    container: FakeContainer
    role_arn: str

    def path(self, variable: str) -> str:
        return self.container.container.environment[variable].removeprefix(URL)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers={"Connection": "close", **headers}, timeout=30)

    def credentials(self) -> dict[str, str]:
        found = self.get(self.path("AWS_CONTAINER_CREDENTIALS_FULL_URI")).json()
        return {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["Token"],
        }

    def client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        factory: Any = boto3.client
        own = credentials or self.credentials()
        return factory(service, endpoint_url=self.url, region_name=REGION, config=_ONE_TRY, **own)


@asynccontextmanager
async def entered(world: World, *, policy: str = _EVERYTHING) -> AsyncIterator[Inside]:
    applied = world.applied
    iam = applied.client("iam")
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=task_world.trust(applied.account_id))
    iam.put_role_policy(RoleName="app", PolicyName="p", PolicyDocument=policy)
    role = f"arn:aws:iam::{applied.account_id}:role/app"
    task, container = await world.running(definition={"taskRoleArn": role})
    metadata = Metadata(exclusive=in_process.aws().exclusive)
    metadata.source = world.tasks
    servers = TaskServers(aws=in_process.aws(), metadata=metadata)
    listener = GatewayListener("127.0.0.1", task_id=task.id, serve_task=servers.open)
    try:
        yield Inside(url=f"http://127.0.0.1:{listener.port}", container=container, role_arn=role)
    finally:
        listener.close()


def play(folder: Path, scenario: Callable[[Inside], None], *, policy: str = _EVERYTHING) -> None:
    """Run in a thread what a container does."""

    async def run(world: World) -> None:
        async with entered(world, policy=policy) as inside:
            await asyncio.to_thread(scenario, inside)

    task_world.run(folder, run)


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


def test_a_container_reaches_its_own_metadata_and_acts_in_its_role(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        assert inside.get(inside.path("ECS_CONTAINER_METADATA_URI_V4") + "/task").status_code == 200
        identity = inside.client("sts").get_caller_identity()
        assert ":assumed-role/app/" in identity["Arn"]
        s3 = inside.client("s3")
        s3.create_bucket(Bucket="of-a-container", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="of-a-container", Key="key", Body=b"content")
        assert s3.get_object(Bucket="of-a-container", Key="key")["Body"].read() == b"content"

    play(tmp_path, scenario)


def test_nothing_of_another_task_comes_through(tmp_path: Path) -> None:
    async def run(world: World) -> None:
        _, other = await world.running()
        async with entered(world) as inside:
            await asyncio.to_thread(scenario, inside, other)

    def scenario(inside: Inside, other: FakeContainer) -> None:
        theirs = other.container.environment["ECS_CONTAINER_METADATA_URI_V4"].removeprefix(URL)
        assert inside.get(theirs).status_code == 404
        issued = sts.issue(
            account_id="1" * 12, region=REGION, role_arn="arn:aws:iam::111111111111:role/x", name="other", seconds=900,
            task_id="another",
        )  # fmt: skip
        keys = {
            "aws_access_key_id": issued.access_key_id,
            "aws_secret_access_key": issued.secret_access_key,
            "aws_session_token": issued.session_token,
        }
        assert code_of(inside.client("sts", keys).get_caller_identity) == "AccessDenied"

    task_world.run(tmp_path, run)


def test_a_body_that_no_call_has_is_not_taken(tmp_path: Path) -> None:
    """The response arrives before the body is sent."""

    def scenario(inside: Inside) -> None:
        own = Credentials(*inside.credentials().values())
        head = {
            **signed(own, "ecs", inside.url, region=REGION, headers={"X-Amz-Target": "ecs.ListClusters"}),
            "Host": "127.0.0.1",
            "Content-Length": str(1 << 40),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        with socket.create_connection(("127.0.0.1", urlsplit(inside.url).port or 0), timeout=30) as raw:
            raw.sendall(f"POST / HTTP/1.1\r\n{lines}\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert int(answer.split()[1]) == 413

    play(tmp_path, scenario)


def test_the_owner_s_key_and_sessions_are_of_no_use_in_a_container(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        assert code_of(inside.client("sts", owner(KEY)).get_caller_identity) == "AccessDenied"
        assert code_of(inside.client("ecs", owner(KEY)).list_clusters) == "AccessDeniedException"
        key, secret, token = in_process.session("300000000002")
        session = {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}
        assert code_of(inside.client("s3", session).list_buckets) == "AccessDenied"

    play(tmp_path, scenario)


def test_neither_the_admin_endpoint_nor_the_registry_is_there(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        token = ecr.tokens.issue(Principal(account_id="1" * 12, region=REGION)).authorization
        for path in ("/_mclass/health", "/_mclass/clock", "/v2/", "/v2/_catalog", "/moto-api/data.json"):
            for authorization in (KEY.authorization, f"Basic {token}", ""):
                answer = inside.get(path, **({"Authorization": authorization} if authorization else {}))
                assert answer.status_code in {400, 403}, path

    play(tmp_path, scenario)


_ROLE = {"Version": "2012-10-17", "Statement": []}
_STARTING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "RunTask": ("ecs", "run_task", {"taskDefinition": "t"}),
    "RegisterTaskDefinition": ("ecs", "register_task_definition", {"family": "t", "containerDefinitions": []}),
    "CreateService": ("ecs", "create_service", {"serviceName": "s", "taskDefinition": "t"}),
    "UpdateService": ("ecs", "update_service", {"service": "s", "desiredCount": 9}),
    "CreateCluster": ("ecs", "create_cluster", {"clusterName": "c"}),
    "PutImage": ("ecr", "put_image", {"repositoryName": "web", "imageManifest": "{}", "imageTag": "v1"}),
    "GetAuthorizationToken": ("ecr", "get_authorization_token", {}),
    "SetRepositoryPolicy": ("ecr", "set_repository_policy", {"repositoryName": "web", "policyText": "{}"}),
    "UpdateFunctionCode": ("lambda", "update_function_code", {"FunctionName": "f", "ZipFile": b"x"}),
    "UpdateFunctionConfiguration": ("lambda", "update_function_configuration", {"FunctionName": "f", "Environment": {"Variables": {"LD_PRELOAD": "/x"}}}),
    "Invoke": ("lambda", "invoke", {"FunctionName": "f"}),
    "RegisterScalableTarget": ("application-autoscaling", "register_scalable_target", {"ServiceNamespace": "ecs", "ResourceId": "service/c/s", "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 9}),
    "PutRolePolicy": ("iam", "put_role_policy", {"RoleName": "app", "PolicyName": "p", "PolicyDocument": "{}"}),
    "CreateAccessKey": ("iam", "create_access_key", {"UserName": "someone"}),
    "CreateUser": ("iam", "create_user", {"UserName": "someone"}),
    "CreateStack": ("cloudformation", "create_stack", {"StackName": "s", "TemplateBody": "{}"}),
    "StartExecution": ("stepfunctions", "start_execution", {"stateMachineArn": "arn:aws:states:r:1:stateMachine:s"}),
    "SubmitJob": ("batch", "submit_job", {"jobName": "j", "jobQueue": "q", "jobDefinition": "d"}),
    "ModifyRule": ("elbv2", "modify_rule", {"RuleArn": "r"}),
    "RunInstances": ("ec2", "run_instances", {"MinCount": 1, "MaxCount": 1}),
    "GetSessionToken": ("sts", "get_session_token", {}),
    "GetFederationToken": ("sts", "get_federation_token", {"Name": "xx"}),
}  # fmt: skip


def test_a_container_decides_nothing_that_this_machine_runs_whatever_its_role_may(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        own = inside.credentials()
        for name, (service, method, parameters) in _STARTING.items():
            call = getattr(inside.client(service, own), method)
            code = code_of(lambda call=call, parameters=parameters: call(**parameters))  # type: ignore[misc]
            assert code in ({"UnsupportedOperation"} if name in _REFUSED else _DENIALS), name

    play(tmp_path, scenario)


_DENIALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
# Calls that are refused to everybody.
_REFUSED = {"GetFederationToken", "GetSessionToken"}


def test_what_it_is_about_may_be_read(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        own = inside.credentials()
        assert inside.client("ecs", own).list_clusters()["clusterArns"] == []
        assert inside.client("ecr", own).describe_repositories()["repositories"]

    play(tmp_path, scenario)


def test_a_role_assumed_from_a_task_stays_within_what_a_task_may(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        iam = in_process.client(inside.role_arn.split(":")[4], "iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": inside.role_arn}, "Action": "sts:AssumeRole"}
        for name, statements in (
            ("trusting", [trust]),
            ("closed", [{**trust, "Principal": {"AWS": "999999999999"}}]),
        ):
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=_EVERYTHING)
        client = inside.client("sts")

        def assume(name: str, account: str = inside.role_arn.split(":")[4]) -> Any:
            return client.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{name}", RoleSessionName="deeper")

        for name, account in (("closed", inside.role_arn.split(":")[4]), ("none", "222222222222")):
            assert code_of(lambda name=name, account=account: assume(name, account)) == "AccessDenied"  # type: ignore[misc]
        found = assume("trusting")["Credentials"]
        keys = {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }
        assert ":assumed-role/trusting/" in inside.client("sts", keys).get_caller_identity()["Arn"]
        assert (
            code_of(lambda: inside.client("ecs", keys).run_task(taskDefinition="t"))
            == "AccessDeniedException"
        )

    play(tmp_path, scenario)


_READING_ONE = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "logs:DescribeLog*"], "Resource": "arn:aws:s3:::mine-*/*"},
            {"Effect": "Deny", "Action": "logs:DescribeLogStreams", "Resource": "*"},
        ],
    }
)  # fmt: skip


def test_a_role_may_what_its_policies_say(tmp_path: Path) -> None:
    def scenario(inside: Inside) -> None:
        theirs = in_process.client(inside.role_arn.split(":")[4], "s3")
        for bucket in ("mine-1", "other-1"):
            theirs.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
            theirs.put_object(Bucket=bucket, Key="k", Body=b"x")
        own = inside.credentials()
        s3, logs = inside.client("s3", own), inside.client("logs", own)
        assert s3.get_object(Bucket="mine-1", Key="k")["Body"].read() == b"x"
        assert logs.describe_log_groups()["logGroups"]
        for refused in (
            lambda: s3.get_object(Bucket="other-1", Key="k"),
            lambda: s3.put_object(Bucket="mine-1", Key="k", Body=b"y"),
            lambda: s3.list_objects_v2(Bucket="mine-1"),
            lambda: s3.delete_objects(Bucket="mine-1", Delete={"Objects": [{"Key": "k"}]}),
            lambda: s3.copy_object(Bucket="mine-1", Key="k", CopySource={"Bucket": "other-1", "Key": "k"}),
            lambda: logs.describe_log_streams(logGroupName=task_world.LOG_GROUP),
            lambda: inside.client("ecs", own).list_clusters(),
        ):
            assert code_of(refused) in _DENIALS

    play(tmp_path, scenario, policy=_READING_ONE)


_UPLOADING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::uploads-????????"},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::uploads-????????/own/*"},
            {
                "Effect": "Deny",
                "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::uploads-????????/own/secret",
            },
        ],
    }
)


@pytest.mark.parametrize(
    ("key", "status"), [("own/one", 204), ("own/${filename}", 204), ("other", 403), ("own/secret", 403)]
)
def test_a_form_uploads_what_its_role_may_upload(tmp_path: Path, key: str, status: int) -> None:
    bucket = f"uploads-{uuid.uuid4().hex[:8]}"

    def scenario(inside: Inside) -> None:
        theirs = in_process.client(inside.role_arn.split(":")[4], "s3")
        theirs.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        form = inside.client("s3").generate_presigned_post(bucket, key)
        answer = requests.post(
            form["url"],
            data=form["fields"],
            files={"file": ("name", b"x")},
            headers={"Connection": "close"},
            timeout=30,
        )
        assert answer.status_code == status, answer.text
        assert ("Contents" in theirs.list_objects_v2(Bucket=bucket)) == (status == 204)

    play(tmp_path, scenario, policy=_UPLOADING)


@pytest.mark.parametrize("host", ["other-bucket.localhost", "ecs.ap-northeast-2.amazonaws.com.localhost"])
def test_a_host_name_opens_no_other_bucket_and_no_other_service(tmp_path: Path, host: str) -> None:
    def scenario(inside: Inside) -> None:
        s3 = inside.client("s3")

        def rename(request: Any, **_: Any) -> None:
            request.headers["Host"] = host

        s3.meta.events.register("before-sign", rename)
        assert code_of(lambda: s3.get_object(Bucket="mine-nowhere", Key="k")) == "NoSuchBucket"

    play(tmp_path, scenario, policy=_READING_ONE)


def test_a_listener_that_is_closed_is_no_door() -> None:
    """A task server has no thread that waits for connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task_server = TaskServers(
            aws=in_process.aws(), metadata=Metadata(exclusive=in_process.aws().exclusive)
        ).open(listener, "t")
        assert isinstance(task_server, Server)
        task_server.server_close()
        assert listener.fileno() == -1
