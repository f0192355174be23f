"""The preconditions of a task. Each is removed in turn, and the stopped reason must name it as ECS does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.local.aws.ecs.model.task import Task
from tests.local import in_process, task_world
from tests.local.in_process import REGION
from tests.local.task_world import LOG_GROUP, REPOSITORY, Applied, World

Change = Callable[[Applied], object]
Launch = Callable[[World], Task]

_HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
_AUTH = (
    "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from "
    "Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration."
)
_LOGS = (
    "ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon CloudWatch log group "
    "defined in the task definition. There is a connection issue between the task and Amazon CloudWatch. Check your "
    "network configuration."
)
_PULL = "There is a connection issue between the task and Amazon ECR. Check your task network configuration."
_LAYERS = "CannotPullContainerError: ref pull has been retried 5 time(s): failed to copy: httpReadSeeker: failed open: "


def stopped(folder: Path, applied: Applied, launch: Launch = World.launch) -> str:
    """Return why the task did not start."""
    found: list[Task] = []

    async def scenario(world: World) -> None:
        found.append(launch(world))
        await world.status(found[0], "STOPPED")
        assert world.driver.started == []

    task_world.run(folder, scenario, applied=applied)
    assert found[0].stop_code == "TaskFailedToStart"
    return str(found[0].stopped_reason)


def starts(folder: Path, applied: Applied, launch: Launch = World.launch) -> None:
    async def scenario(world: World) -> None:
        await world.status(launch(world), "RUNNING")

    task_world.run(folder, scenario, applied=applied)


@pytest.mark.parametrize("egress", ["nat", "endpoints"])
def test_a_task_starts_with_either_egress_of_the_modules(egress: str, tmp_path: Path) -> None:
    starts(tmp_path, task_world.apply(egress=egress))


# ---- the network: with NAT


def _ec2(applied: Applied) -> Any:
    return applied.client("ec2")


def _delete_route(table: str) -> Change:
    def change(applied: Applied) -> None:
        for zone in "ac" if table == "private" else ("",):
            name = f"private_table_{zone}" if zone else "public_table"
            _ec2(applied).delete_route(RouteTableId=applied.ids[name], DestinationCidrBlock="0.0.0.0/0")

    return change


def _revoke_egress(applied: Applied) -> None:
    group = _ec2(applied).describe_security_groups(GroupIds=[applied.group_id])["SecurityGroups"][0]
    _ec2(applied).revoke_security_group_egress(
        GroupId=applied.group_id, IpPermissions=group["IpPermissionsEgress"]
    )


def _close_acl(applied: Applied) -> None:
    for acl in _ec2(applied).describe_network_acls()["NetworkAcls"]:
        if acl["VpcId"] == applied.vpc_id:
            _ec2(applied).create_network_acl_entry(
                NetworkAclId=acl["NetworkAclId"],
                RuleNumber=50,
                Protocol="6",
                RuleAction="deny",
                Egress=True,
                CidrBlock="0.0.0.0/0",
                PortRange={"From": 443, "To": 443},
            )


def _delete_gateway(applied: Applied) -> None:
    _ec2(applied).delete_nat_gateway(NatGatewayId=applied.ids["nat_gateway"])


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (_delete_route("private"), "has no default route, and vpc-"),
        (_delete_route("public"), "has no route to an internet gateway"),
        (_delete_gateway, "which is not there"),
        (_revoke_egress, "no egress rule of sg-"),
        (_close_acl, "the network ACL of subnet-"),
        (
            lambda applied: _ec2(applied).modify_vpc_attribute(
                VpcId=applied.vpc_id, EnableDnsSupport={"Value": False}
            ),
            "enableDnsSupport of vpc-",
        ),
    ],
    ids=["route", "route of the gateway", "gateway", "egress", "network acl", "dns"],
)
def test_a_task_behind_nat_needs_its_network_path(change: Change, hint: str, tmp_path: Path) -> None:
    applied = task_world.apply(egress="nat")
    change(applied)
    reason = stopped(tmp_path, applied)
    assert reason.startswith(_AUTH)
    assert f'Post "https://api.ecr.{REGION}.amazonaws.com/": dial tcp ' in reason
    assert hint in reason.rpartition("[local AWS: ")[2]


def _in_public_subnets(*, public_ip: str) -> Launch:
    def launch(world: World) -> Task:
        subnets = _ec2(world.applied).describe_route_tables(
            RouteTableIds=[world.applied.ids["public_table"]]
        )["RouteTables"][0]["Associations"]
        network = {
            "subnets": [entry["SubnetId"] for entry in subnets],
            "securityGroups": [world.applied.group_id],
            "assignPublicIp": public_ip,
        }
        return world.launch(settings={"networkConfiguration": {"awsvpcConfiguration": network}})

    return launch


def test_a_task_in_a_public_subnet_needs_a_public_ip(tmp_path: Path) -> None:
    applied = task_world.apply(egress="nat")
    reason = stopped(tmp_path, applied, _in_public_subnets(public_ip="DISABLED"))
    assert reason.startswith(_AUTH)
    assert reason.endswith("is public, but the task has no public IP: assignPublicIp is DISABLED]")
    starts(tmp_path, applied, _in_public_subnets(public_ip="ENABLED"))


# ---- the network: with endpoints


def _delete_endpoint(service: str) -> Change:
    return lambda applied: _ec2(applied).delete_vpc_endpoints(VpcEndpointIds=[applied.ids[service]])


@pytest.mark.parametrize(
    ("service", "begins"),
    [("ecr.api", _AUTH), ("ecr.dkr", "CannotPullContainerError: The task cannot pull '"), ("logs", _LOGS)],
)
def test_every_interface_endpoint_is_needed(service: str, begins: str, tmp_path: Path) -> None:
    applied = task_world.apply(egress="endpoints")
    _delete_endpoint(service)(applied)
    reason = stopped(tmp_path, applied)
    assert reason.startswith(begins)
    assert f"and {applied.vpc_id} no endpoint for {service}]" in reason


@pytest.mark.parametrize(
    "change",
    [
        _delete_endpoint("s3"),
        lambda applied: _ec2(applied).modify_vpc_endpoint(
            VpcEndpointId=applied.ids["s3"],
            RemoveRouteTableIds=[applied.ids["private_table_a"], applied.ids["private_table_c"]],
        ),
        lambda applied: _ec2(applied).revoke_security_group_egress(
            GroupId=applied.group_id,
            IpPermissions=[{**_HTTPS, "PrefixListIds": [{"PrefixListId": applied.ids["s3_prefix_list"]}]}],
        ),
    ],
    ids=["endpoint", "route", "egress"],
)
def test_layers_are_pulled_through_the_gateway_endpoint_of_s3(change: Change, tmp_path: Path) -> None:
    applied = task_world.apply(egress="endpoints")
    change(applied)
    reason = stopped(tmp_path, applied)
    assert reason.startswith(f"{_LAYERS}failed to do request: Get {applied.image}: dial tcp ")
    assert "i/o timeout" in reason


def _close_endpoint_group(applied: Applied) -> None:
    group = applied.ids["endpoint_group"]
    found = _ec2(applied).describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    _ec2(applied).revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])


def _close_way_to_endpoints(applied: Applied) -> None:
    _ec2(applied).revoke_security_group_egress(
        GroupId=applied.group_id,
        IpPermissions=[{**_HTTPS, "UserIdGroupPairs": [{"GroupId": applied.ids["endpoint_group"]}]}],
    )


@pytest.mark.parametrize(
    ("change", "hint"),
    [(_close_endpoint_group, "no ingress rule of sg-"), (_close_way_to_endpoints, "no egress rule of sg-")],
    ids=["ingress of the endpoints", "egress of the task"],
)
def test_security_groups_must_allow_the_traffic_to_an_endpoint(
    change: Change, hint: str, tmp_path: Path
) -> None:
    applied = task_world.apply(egress="endpoints")
    change(applied)
    reason = stopped(tmp_path, applied)
    assert reason.startswith(_AUTH)
    assert hint in reason


# ---- the roles


def _trust(**changed: str) -> Change:
    return lambda applied: applied.client("iam").update_assume_role_policy(
        RoleName=applied.execution_role, PolicyDocument=task_world.trust(applied.account_id, **changed)
    )


def _delete_role(applied: Applied) -> None:
    applied.client("iam").delete_role_policy(RoleName=applied.execution_role, PolicyName="start-tasks")
    applied.client("iam").delete_role(RoleName=applied.execution_role)


@pytest.mark.parametrize(
    "change",
    [_trust(service="ec2.amazonaws.com"), _trust(source="999999999999"), _delete_role],
    ids=["another service", "another account", "no role"],
)
def test_ecs_must_be_trusted_with_the_execution_role(change: Change, tmp_path: Path) -> None:
    applied = task_world.apply()
    change(applied)
    assert stopped(tmp_path, applied) == (
        f"ECS was unable to assume the role '{applied.role_arn}' that was provided for this task. Please verify that "
        "the role being passed has the proper trust relationship and permissions and that your IAM user has permissions "
        "to pass this role."
    )


def test_ecs_must_be_trusted_with_the_task_role(tmp_path: Path) -> None:
    role = "arn:aws:iam::{}:role/nobody"
    applied = task_world.apply()

    def launch(world: World) -> Task:
        return world.launch(definition={"taskRoleArn": role.format(applied.account_id)})

    assert "unable to assume the role 'arn:aws:iam::" in stopped(tmp_path, applied, launch)


def _policy(applied: Applied, document: str, *, name: str = "start-tasks") -> None:
    applied.client("iam").put_role_policy(
        RoleName=applied.execution_role, PolicyName=name, PolicyDocument=document
    )


_WITHOUT = {
    "ecr:GetAuthorizationToken": (
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
            "unable to retrieve ecr registry auth: service call has been retried 1 time(s): "
        ),
        (
            " is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows "
            "the ecr:GetAuthorizationToken action"
        ),
    ),
    "ecr:BatchGetImage": (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ",
        ": 403 Forbidden",
    ),
    "ecr:GetDownloadUrlForLayer": (
        (
            "CannotPullContainerError: ref pull has been retried 1 time(s): failed to copy: httpReadSeeker: failed open: "
            "unexpected status code https://"
        ),
        ": 403 Forbidden",
    ),
    "logs:CreateLogStream": (
        (
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to "
            "create Cloudwatch log stream: AccessDeniedException: User: arn:aws:sts::"
        ),
        "because no identity-based policy allows the logs:CreateLogStream action : exit status 1",
    ),
}


@pytest.mark.parametrize("action", _WITHOUT)
def test_every_action_of_the_modules_policy_is_needed(action: str, tmp_path: Path) -> None:
    applied = task_world.apply()
    _policy(applied, task_world.policy(applied.account_id, without=action))
    reason = stopped(tmp_path, applied)
    begins, contains = _WITHOUT[action]
    assert reason.startswith(begins)
    assert contains in reason
    assert f"arn:aws:sts::{applied.account_id}:assumed-role/mclass-execution/" in reason


def test_the_aws_managed_policy_for_execution_roles_is_sufficient(tmp_path: Path) -> None:
    applied = task_world.apply()
    iam = applied.client("iam")
    iam.delete_role_policy(RoleName=applied.execution_role, PolicyName="start-tasks")
    iam.attach_role_policy(
        RoleName=applied.execution_role,
        PolicyArn="arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy",
    )
    starts(tmp_path, applied)


def test_a_deny_outweighs_every_allow(tmp_path: Path) -> None:
    applied = task_world.apply()
    deny = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Deny", "Action": "ecr:Get*", "Resource": "*"},
    }
    _policy(applied, json.dumps(deny), name="deny")
    assert "with an explicit deny in an identity-based policy" in stopped(tmp_path, applied)


def test_a_permissions_boundary_must_allow_it_too(tmp_path: Path) -> None:
    applied = task_world.apply()
    iam = applied.client("iam")
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}],
    }
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=applied.execution_role, PermissionsBoundary=boundary)
    assert "because no permissions boundary allows the ecr:GetAuthorizationToken action" in stopped(
        tmp_path, applied
    )


def test_a_condition_that_is_not_modelled_is_an_error(tmp_path: Path) -> None:
    applied = task_world.apply()
    statement = {
        "Effect": "Allow",
        "Action": "*",
        "Resource": "*",
        "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "300"}},
    }
    _policy(applied, json.dumps({"Version": "2012-10-17", "Statement": [statement]}), name="odd")
    assert "the local AWS does not model the condition operator NumericLessThan" in stopped(tmp_path, applied)


def test_a_task_runs_without_the_permission_to_put_events_and_logs_nothing(tmp_path: Path) -> None:
    applied = task_world.apply()
    _policy(applied, task_world.policy(applied.account_id, without="logs:PutLogEvents"))

    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.say("nobody hears it")
        container.exit(0)
        await world.status(task, "STOPPED")
        assert world.log(task) == []

    task_world.run(tmp_path, scenario, applied=applied)


# ---- the repository


def test_an_image_of_another_account_needs_that_repositorys_policy(tmp_path: Path) -> None:
    applied, owner = task_world.apply(), in_process.new_account()
    ecr = in_process.client(owner, "ecr")
    ecr.create_repository(repositoryName=REPOSITORY)
    digest = task_world.push(owner, task_world.make_manifest())
    image = f"{owner}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}@{digest}"
    _policy(
        applied,
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": ["ecr:*", "logs:*"], "Resource": "*"}],
            }
        ),
    )

    def launch(world: World) -> Task:
        return world.launch(applied.container(image=image))

    reason = stopped(tmp_path, applied, launch)
    assert ": 403 Forbidden" in reason
    assert "because no resource-based policy allows the ecr:BatchGetImage action" in reason
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{applied.account_id}:root"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }
    ecr.set_repository_policy(
        repositoryName=REPOSITORY,
        policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    starts(tmp_path, applied, launch)


# ---- the log group


def test_the_log_group_must_exist(tmp_path: Path) -> None:
    applied = task_world.apply()
    applied.client("logs").delete_log_group(logGroupName=LOG_GROUP)
    assert stopped(tmp_path, applied) == (
        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to "
        "create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1"
    )


def test_the_driver_needs_permission_to_create_the_log_group(tmp_path: Path) -> None:
    applied = task_world.apply()
    options = {
        "awslogs-group": "/new",
        "awslogs-region": REGION,
        "awslogs-stream-prefix": "p",
        "awslogs-create-group": "true",
    }

    def launch(world: World) -> Task:
        return world.launch(applied.container(logConfiguration={"logDriver": "awslogs", "options": options}))

    reason = stopped(tmp_path, applied, launch)
    assert "failed to create Cloudwatch log group: AccessDeniedException" in reason
    assert "logs:CreateLogGroup" in reason


def test_the_log_driver_needs_its_options(tmp_path: Path) -> None:
    applied = task_world.apply()

    def launch(world: World) -> Task:
        options = {"awslogs-group": LOG_GROUP, "awslogs-stream-prefix": "p"}
        return world.launch(applied.container(logConfiguration={"logDriver": "awslogs", "options": options}))

    assert stopped(tmp_path, applied, launch) == (
        "ResourceInitializationError: failed to validate logger args: unable to get awslogs driver arguments: "
        "awslogs-region is required"
    )


# ---- secrets


def _secret(applied: Applied, value: str = "s3cret", **settings: str) -> str:
    found = applied.client("secretsmanager").create_secret(Name="app", SecretString=value, **settings)
    return str(found["ARN"])


def _let(applied: Applied, *actions: str) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}],
    }
    _policy(applied, json.dumps(document), name="secrets")


def _with_secret(applied: Applied, value_from: str) -> Launch:
    return lambda world: world.launch(
        applied.container(secrets=[{"name": "SECRET", "valueFrom": value_from}])
    )


def _environment(tmp_path: Path, applied: Applied, value_from: str) -> str:
    """Return the value that the container gets."""
    found: list[str] = []

    async def scenario(world: World) -> None:
        await world.status(_with_secret(applied, value_from)(world), "RUNNING")
        found.append(world.driver.started[0].container.environment["SECRET"])

    task_world.run(tmp_path, scenario, applied=applied)
    return found[0]


@pytest.mark.parametrize("egress", ["nat", "endpoints"])
def test_a_secret_reaches_the_container(egress: str, tmp_path: Path) -> None:
    applied = task_world.apply(egress=egress)
    _let(applied, "secretsmanager:GetSecretValue")
    assert _environment(tmp_path, applied, _secret(applied)) == "s3cret"


def test_a_key_of_a_secret_reaches_the_container(tmp_path: Path) -> None:
    applied = task_world.apply()
    _let(applied, "secretsmanager:GetSecretValue")
    arn = _secret(applied, json.dumps({"user": "u", "port": 5432}))
    assert _environment(tmp_path, applied, f"{arn}:user::") == "u"
    assert _environment(tmp_path, applied, f"{arn}:port:AWSCURRENT:") == "5432"
    reason = stopped(tmp_path, applied, _with_secret(applied, f"{arn}:password::"))
    assert reason.endswith("retrieved secret from Secrets Manager did not contain json key password")


@pytest.mark.parametrize("reference", ["/app/token", "arn:aws:ssm:{region}:{account}:parameter/app/token"])
def test_a_parameter_reaches_the_container(reference: str, tmp_path: Path) -> None:
    applied = task_world.apply()
    _let(applied, "ssm:GetParameters")
    applied.client("ssm").put_parameter(Name="/app/token", Value="t0ken", Type="SecureString")
    named = reference.format(region=REGION, account=applied.account_id)
    assert _environment(tmp_path, applied, named) == "t0ken"


def test_a_secret_needs_the_permission_to_read_it(tmp_path: Path) -> None:
    applied = task_world.apply()
    arn = _secret(applied)
    reason = stopped(tmp_path, applied, _with_secret(applied, arn))
    assert reason.startswith(
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
        "unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret "
        f"{arn} from secrets manager: operation error Secrets Manager: GetSecretValue, https response error StatusCode: 400"
    )
    assert (
        f"is not authorized to perform: secretsmanager:GetSecretValue on resource: {arn} because no identity-based policy "
        "allows the secretsmanager:GetSecretValue action" in reason
    )


def test_a_secret_must_exist(tmp_path: Path) -> None:
    applied = task_world.apply()
    _let(applied, "secretsmanager:GetSecretValue")
    arn = f"arn:aws:secretsmanager:{REGION}:{applied.account_id}:secret:nothing-abcdef"
    reason = stopped(tmp_path, applied, _with_secret(applied, arn))
    assert "unable to retrieve secret from asm: " in reason
    assert "ResourceNotFoundException: Secrets Manager can't find the specified secret" in reason


def test_a_parameter_must_exist(tmp_path: Path) -> None:
    applied = task_world.apply()
    _let(applied, "ssm:GetParameters")
    assert stopped(tmp_path, applied, _with_secret(applied, "/nothing")) == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
        "unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: /nothing"
    )


@pytest.mark.parametrize(
    ("service", "contains"),
    [
        (
            "secretsmanager",
            (
                "unable to retrieve secret from asm: There is a connection issue between the task and AWS Secrets Manager. "
                "Check your task network configuration."
            ),
        ),
        (
            "ssm",
            (
                "unable to retrieve secrets from ssm: The task cannot pull secrets from AWS Systems Manager. There is a "
                "connection issue between the task and AWS Systems Manager Parameter Store."
            ),
        ),
    ],
)
def test_secrets_need_their_endpoint(service: str, contains: str, tmp_path: Path) -> None:
    applied = task_world.apply(egress="endpoints")
    _let(applied, "ssm:GetParameters", "secretsmanager:GetSecretValue")
    _delete_endpoint(service)(applied)
    arn = f"arn:aws:{service}:{REGION}:{applied.account_id}:" + (
        "parameter/x" if service == "ssm" else "secret:x-abcdef"
    )
    assert contains in stopped(tmp_path, applied, _with_secret(applied, arn))


def test_a_secret_under_a_customers_key_needs_the_permission_to_decrypt(tmp_path: Path) -> None:
    applied = task_world.apply()
    key = applied.client("kms").create_key()["KeyMetadata"]["KeyId"]
    arn = _secret(applied, KmsKeyId=key)
    _let(applied, "secretsmanager:GetSecretValue")
    assert "AccessDeniedException: Access to KMS is not allowed" in stopped(
        tmp_path, applied, _with_secret(applied, arn)
    )
    _let(applied, "secretsmanager:GetSecretValue", "kms:Decrypt")
    assert _environment(tmp_path, applied, arn) == "s3cret"
    applied.client("kms").disable_key(KeyId=key)
    assert "Access to KMS is not allowed" in stopped(tmp_path, applied, _with_secret(applied, arn))
