"""The other services around a task: EC2, IAM, KMS, CloudWatch, ECR and Application Auto Scaling."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.callers import signed
from tests.local.conftest import REGION, Account, Network

# ---- EC2


def _rules(ec2: Any, group_id: str) -> list[dict[str, Any]]:
    found = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group_id]}])
    return [rule for rule in found["SecurityGroupRules"] if not rule["IsEgress"]]


def test_a_rule_keeps_its_description_whatever_it_refers_to(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    lists = ec2.describe_prefix_lists()["PrefixLists"]
    s3 = next(entry["PrefixListId"] for entry in lists if entry["PrefixListName"].endswith(".s3"))
    references: list[dict[str, Any]] = [
        {"UserIdGroupPairs": [{"GroupId": network.group_id, "Description": "group"}]},
        {"PrefixListIds": [{"PrefixListId": s3, "Description": "list"}]},
        {"IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "range"}]},
    ]
    for reference in references:
        ec2.authorize_security_group_ingress(
            GroupId=network.group_id,
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **reference}],
        )
    assert {rule["Description"] for rule in _rules(ec2, network.group_id)} == {"group", "list", "range"}


def test_a_rule_that_refers_to_a_group_can_be_changed(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    pair = {"GroupId": network.group_id, "Description": "before"}
    rule = ec2.authorize_security_group_ingress(
        GroupId=network.group_id,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [pair]}],
    )["SecurityGroupRules"][0]
    wanted = {
        "IpProtocol": "tcp",
        "FromPort": 81,
        "ToPort": 82,
        "ReferencedGroupId": network.group_id,
        "Description": "after",
    }
    ec2.modify_security_group_rules(
        GroupId=network.group_id,
        SecurityGroupRules=[
            {"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": wanted}
        ],
    )
    changed = _rules(ec2, network.group_id)[0]
    assert (changed["FromPort"], changed["ToPort"], changed["Description"]) == (81, 82, "after")
    assert changed["ReferencedGroupInfo"]["GroupId"] == network.group_id


def test_rules_that_differ_only_in_their_description_are_duplicates(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")

    def allow(description: str) -> None:
        pair = {"GroupId": network.group_id, "Description": description}
        ec2.authorize_security_group_ingress(
            GroupId=network.group_id,
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [pair]}],
        )

    allow("one")
    with pytest.raises(ClientError, match=r"InvalidPermission\.Duplicate"):
        allow("other")


def test_private_dns_of_an_endpoint_needs_dns_in_the_vpc(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    request = {
        "VpcId": network.vpc_id,
        "ServiceName": f"com.amazonaws.{REGION}.logs",
        "VpcEndpointType": "Interface",
        "SubnetIds": list(network.subnet_ids),
        "SecurityGroupIds": [network.group_id],
        "PrivateDnsEnabled": True,
    }
    with pytest.raises(ClientError, match="enableDnsHostnames"):
        ec2.create_vpc_endpoint(**request)
    ec2.modify_vpc_attribute(VpcId=network.vpc_id, EnableDnsHostnames={"Value": True})
    made = ec2.create_vpc_endpoint(**request)["VpcEndpoint"]
    assert made["State"].lower() == "available"
    with pytest.raises(ClientError, match=r"InvalidGroup\.NotFound"):
        ec2.create_vpc_endpoint(**{**request, "SecurityGroupIds": ["sg-0123456789abcdef0"]})


def test_a_nat_gateway_is_available_at_once(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=network.subnet_ids[0], AllocationId=address)["NatGateway"]
    found = ec2.describe_nat_gateways(NatGatewayIds=[made["NatGatewayId"]])["NatGateways"]
    assert [entry["State"] for entry in found] == ["available"]


def test_a_security_group_that_another_one_references_cannot_be_deleted(
    fresh: Account, network: Network
) -> None:
    ec2 = fresh.client("ec2")
    other = ec2.create_security_group(GroupName="o", Description="o", VpcId=network.vpc_id)["GroupId"]
    rule = ec2.authorize_security_group_ingress(
        GroupId=network.group_id,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": other}]}
        ],
    )["SecurityGroupRules"][0]
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=other)
    ec2.revoke_security_group_ingress(
        GroupId=network.group_id, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]]
    )
    ec2.delete_security_group(GroupId=other)


def test_the_network_of_a_load_balancer_cannot_be_deleted(fresh: Account, network: Network) -> None:
    ec2, elb = fresh.client("ec2"), fresh.client("elbv2")
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    made = elb.create_load_balancer(
        Name="web", Subnets=list(network.subnet_ids), SecurityGroups=[network.group_id]
    )["LoadBalancers"][0]["LoadBalancerArn"]
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=network.group_id)
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_subnet(SubnetId=network.subnet_ids[0])
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc_id)
    elb.delete_load_balancer(LoadBalancerArn=made)
    ec2.delete_security_group(GroupId=network.group_id)
    ec2.delete_subnet(SubnetId=network.subnet_ids[0])
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc_id)


def test_the_address_of_a_nat_gateway_cannot_be_released(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=network.subnet_ids[0], AllocationId=address)["NatGateway"]
    with pytest.raises(ClientError, match="InUse"):
        ec2.release_address(AllocationId=address)
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_subnet(SubnetId=network.subnet_ids[0])
    ec2.delete_nat_gateway(NatGatewayId=made["NatGatewayId"])
    ec2.release_address(AllocationId=address)
    ec2.delete_subnet(SubnetId=network.subnet_ids[0])


def test_the_network_of_an_endpoint_cannot_be_deleted(fresh: Account, network: Network) -> None:
    ec2 = fresh.client("ec2")
    made = ec2.create_vpc_endpoint(
        VpcId=network.vpc_id,
        VpcEndpointType="Interface",
        ServiceName=f"com.amazonaws.{REGION}.logs",
        SubnetIds=[network.subnet_ids[0]],
        SecurityGroupIds=[network.group_id],
        PrivateDnsEnabled=False,
    )["VpcEndpoint"]["VpcEndpointId"]
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=network.group_id)
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_subnet(SubnetId=network.subnet_ids[0])
    ec2.delete_vpc_endpoints(VpcEndpointIds=[made])
    ec2.delete_security_group(GroupId=network.group_id)
    ec2.delete_subnet(SubnetId=network.subnet_ids[0])


# ---- IAM


@pytest.mark.parametrize(
    ("name", "trust", "words"),
    [("r" * 65, "", "ValidationError"), ("r", '{"nonsense": 1}', "MalformedPolicyDocument")],
)
def test_an_invalid_role_is_refused(fresh: Account, name: str, trust: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        fresh.client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=trust or _trust("ecs.amazonaws.com")
        )


@pytest.mark.parametrize(
    "path",
    ["AmazonECSInfrastructureRolePolicyForLoadBalancers", "service-role/AmazonECSTaskExecutionRolePolicy"],
)
def test_an_aws_managed_policy_can_be_attached_and_read(fresh: Account, path: str) -> None:
    iam, arn = fresh.client("iam"), f"arn:aws:iam::aws:policy/{path}"
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=_trust("ecs.amazonaws.com"))
    iam.attach_role_policy(RoleName="r", PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName="r")["AttachedPolicies"]
    assert [entry["PolicyArn"] for entry in attached] == [arn]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert document["Statement"]


@pytest.mark.parametrize("path", ["NoSuchPolicy", "AmazonECSTaskExecutionRolePolicy", "service-role/"])
def test_an_unknown_aws_managed_policy_cannot_be_attached(fresh: Account, path: str) -> None:
    iam = fresh.client("iam")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=_trust("ecs.amazonaws.com"))
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.attach_role_policy(RoleName="r", PolicyArn=f"arn:aws:iam::aws:policy/{path}")


def _trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# ---- KMS, with the services that use its keys


def _key(account: Account, *, services: tuple[str, ...]) -> str:
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account.account_id}:root"},
            "Action": "kms:*",
            "Resource": "*",
        },
        *(
            {"Effect": "Allow", "Principal": {"Service": name}, "Action": "kms:Encrypt*", "Resource": "*"}
            for name in services
        ),
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return str(account.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"])


def test_a_log_group_accepts_a_key_that_logs_may_use(fresh: Account) -> None:
    logs, key = fresh.client("logs"), _key(fresh, services=(f"logs.{REGION}.amazonaws.com",))
    logs.create_log_group(logGroupName="/ecs/a", kmsKeyId=key)
    assert logs.describe_log_groups()["logGroups"][0]["kmsKeyId"] == key


@pytest.mark.parametrize("fault", ["missing", "not allowed", "disabled"])
def test_a_log_group_refuses_a_key_that_logs_cannot_use(fresh: Account, fault: str) -> None:
    key = _key(fresh, services=() if fault == "not allowed" else (f"logs.{REGION}.amazonaws.com",))
    if fault == "missing":
        key = f"{key[:-1]}x"
    if fault == "disabled":
        fresh.client("kms").disable_key(KeyId=key)
    with pytest.raises(ClientError, match="does not exist or is not allowed to be used"):
        fresh.client("logs").create_log_group(logGroupName="/ecs/a", kmsKeyId=key)


def test_the_key_of_a_log_group_can_be_changed(fresh: Account) -> None:
    logs, key = fresh.client("logs"), _key(fresh, services=(f"logs.{REGION}.amazonaws.com",))
    logs.create_log_group(logGroupName="/ecs/a")
    logs.associate_kms_key(logGroupName="/ecs/a", kmsKeyId=key)
    assert logs.describe_log_groups()["logGroups"][0]["kmsKeyId"] == key
    logs.disassociate_kms_key(logGroupName="/ecs/a")
    assert "kmsKeyId" not in logs.describe_log_groups()["logGroups"][0]


def test_a_retention_that_does_not_exist_is_refused(fresh: Account) -> None:
    logs = fresh.client("logs")
    logs.create_log_group(logGroupName="/a")
    logs.put_retention_policy(logGroupName="/a", retentionInDays=7)
    with pytest.raises(ClientError, match="InvalidParameterException"):
        logs.put_retention_policy(logGroupName="/a", retentionInDays=8)
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 7


def test_a_key_is_not_deleted_sooner_than_in_a_week(fresh: Account) -> None:
    kms = fresh.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises(ClientError, match="ValidationException"):
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=6)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


def test_a_repository_refuses_a_key_that_does_not_exist(fresh: Account) -> None:
    ecr, key = fresh.client("ecr"), _key(fresh, services=())
    encryption = {"encryptionType": "KMS", "kmsKey": key}
    with pytest.raises(ClientError, match="KmsException"):
        ecr.create_repository(
            repositoryName="web", encryptionConfiguration={**encryption, "kmsKey": f"{key[:-1]}x"}
        )
    made = ecr.create_repository(repositoryName="web", encryptionConfiguration=encryption)["repository"]
    assert made["encryptionConfiguration"] == encryption


# ---- CloudWatch


def _alarm(account: Account) -> None:
    """Put an alarm without data, whose state does not change at the end of a minute."""
    account.client("cloudwatch").put_metric_alarm(
        AlarmName="a",
        Namespace="AWS/ApplicationELB",
        MetricName="HTTPCode_Target_5XX_Count",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )


def _state(account: Account) -> str:
    return str(account.client("cloudwatch").describe_alarms()["MetricAlarms"][0]["StateValue"])


def test_a_new_alarm_has_no_data_and_a_changed_one_keeps_its_state(fresh: Account) -> None:
    _alarm(fresh)
    assert _state(fresh) == "INSUFFICIENT_DATA"
    fresh.client("cloudwatch").set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="test")
    _alarm(fresh)
    assert _state(fresh) == "ALARM"


def test_cloudwatch_speaks_json_to_newer_clients(fresh: Account) -> None:
    _alarm(fresh)
    body = b'{"AlarmNames": ["a"]}'
    credentials = Credentials(fresh.access_key, fresh.secret_key, fresh.session_token)
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "GraniteServiceVersion20100801.DescribeAlarms",
    }
    signing = signed(
        credentials, "monitoring", f"{fresh.server.url}/", region=REGION, body=body, headers=headers
    )
    connection = http.client.HTTPConnection("127.0.0.1", fresh.server.port, timeout=30)
    connection.request("POST", "/", body=body, headers=signing)
    response = connection.getresponse()
    found = json.loads(response.read())
    connection.close()
    assert [alarm["AlarmName"] for alarm in found["MetricAlarms"]] == ["a"]


# ---- Application Auto Scaling


_TARGET = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/c/s",
    "ScalableDimension": "ecs:service:DesiredCount",
}


def _make_service(account: Account, network: Network) -> None:
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(
        family="t",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "web", "image": "example/web"}],
    )
    ecs.create_service(
        cluster="c",
        serviceName="s",
        taskDefinition="t",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": list(network.subnet_ids)}},
    )


def test_a_scalable_target_has_bounds_in_order(fresh: Account, network: Network) -> None:
    _make_service(fresh, network)
    scaling = fresh.client("application-autoscaling")
    with pytest.raises(ClientError, match="ValidationException"):
        scaling.register_scalable_target(**_TARGET, MinCapacity=3, MaxCapacity=1)
    with pytest.raises(ClientError, match="ValidationException"):
        scaling.register_scalable_target(**_TARGET, MinCapacity=1)
    scaling.register_scalable_target(**_TARGET, MinCapacity=1, MaxCapacity=3)
    scaling.register_scalable_target(**_TARGET, MaxCapacity=4)
    found = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 4)


@pytest.mark.parametrize(("lowest", "highest", "expected"), [(0, 4, 1), (3, 4, 3), (0, 0, 0)])
def test_a_service_is_scaled_into_its_bounds_when_they_are_registered(
    fresh: Account, network: Network, lowest: int, highest: int, expected: int
) -> None:
    _make_service(fresh, network)
    ecs, scaling = fresh.client("ecs"), fresh.client("application-autoscaling")
    ecs.update_service(cluster="c", service="s", desiredCount=1)

    scaling.register_scalable_target(**_TARGET, MinCapacity=lowest, MaxCapacity=highest)

    assert ecs.describe_services(cluster="c", services=["s"])["services"][0]["desiredCount"] == expected


def test_a_policy_needs_a_target_and_a_metric_that_exist(fresh: Account, network: Network) -> None:
    _make_service(fresh, network)
    scaling = fresh.client("application-autoscaling")

    def put(metric: str) -> None:
        scaling.put_scaling_policy(
            **_TARGET,
            PolicyName="p",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 50,
                "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
            },
        )

    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        put("ECSServiceAverageCPUUtilization")
    scaling.register_scalable_target(**_TARGET, MinCapacity=1, MaxCapacity=3)
    with pytest.raises(ClientError, match="ValidationException"):
        put("ECSServiceAverageLuck")
    put("ECSServiceAverageCPUUtilization")


def test_a_scalable_target_has_tags(fresh: Account, network: Network) -> None:
    _make_service(fresh, network)
    scaling = fresh.client("application-autoscaling")
    arn = scaling.register_scalable_target(
        **_TARGET, MinCapacity=1, MaxCapacity=3, Tags={"a": "1", "b": "2"}
    )["ScalableTargetARN"]
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"a": "1", "b": "2"}
    scaling.tag_resource(ResourceARN=arn, Tags={"c": "3"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"b": "2", "c": "3"}
    scaling.deregister_scalable_target(**_TARGET)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        scaling.list_tags_for_resource(ResourceARN=arn)


# ---- All at once


def test_many_clients_in_both_accounts_at_once_break_nothing(dev: Account, prod: Account) -> None:
    """Twenty threads create, list and delete the same kinds of resources, like two concurrent applies."""

    def work(number: int) -> int:
        account = (dev, prod)[number % 2]
        ec2, logs, ssm = account.client("ec2"), account.client("logs"), account.client("ssm")
        for turn in range(5):
            vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            ec2.describe_vpcs()
            ec2.describe_security_groups()
            ec2.describe_route_tables()
            ec2.delete_vpc(VpcId=vpc_id)
            logs.create_log_group(logGroupName=f"/race/{number}/{turn}")
            logs.describe_log_groups(logGroupNamePrefix="/race/")
            ssm.put_parameter(Name=f"/race/{number}/{turn}", Value="x", Type="String")
            ssm.describe_parameters()
        return number

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(work, range(20))) == list(range(20))
