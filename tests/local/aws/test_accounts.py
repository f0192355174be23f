"""Two accounts on one port do not see each other's resources."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process
from tests.local.conftest import DEV, PROD, REGION, Account, make_network


def test_an_assumed_role_acts_in_its_account(dev: Account, prod: Account) -> None:
    assert dev.client("sts").get_caller_identity()["Account"] == DEV
    assert prod.client("sts").get_caller_identity()["Account"] == PROD


def test_buckets_belong_to_one_account(dev: Account, prod: Account) -> None:
    place = {"LocationConstraint": REGION}
    dev.client("s3").create_bucket(Bucket="state-of-dev", CreateBucketConfiguration=place)
    names = {bucket["Name"] for bucket in prod.client("s3").list_buckets()["Buckets"]}
    assert "state-of-dev" not in names
    assert "state-of-dev" in {bucket["Name"] for bucket in dev.client("s3").list_buckets()["Buckets"]}


def test_both_accounts_use_the_same_names(dev: Account, prod: Account) -> None:
    for account in (dev, prod):
        account.client("ecs").create_cluster(clusterName="same-name")
        account.client("logs").create_log_group(logGroupName="/ecs/same-name")
    arns = {
        account.client("ecs").describe_clusters(clusters=["same-name"])["clusters"][0]["clusterArn"]
        for account in (dev, prod)
    }
    assert {f"arn:aws:ecs:{REGION}:{account}:cluster/same-name" for account in (DEV, PROD)} == arns


def test_a_deletion_in_one_account_does_not_affect_the_other(dev: Account, prod: Account) -> None:
    for account in (dev, prod):
        account.client("ecr").create_repository(repositoryName="shared-name")
    dev.client("ecr").delete_repository(repositoryName="shared-name")
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        dev.client("ecr").describe_repositories(repositoryNames=["shared-name"])
    assert prod.client("ecr").describe_repositories(repositoryNames=["shared-name"])["repositories"]


def test_load_balancers_with_the_same_name_have_different_dns_names(dev: Account, prod: Account) -> None:
    names = set()
    for account in (dev, prod):
        network = make_network(account)
        made = account.client("elbv2").create_load_balancer(
            Name="twin", Subnets=network.subnet_ids, SecurityGroups=[network.group_id]
        )
        names.add(made["LoadBalancers"][0]["DNSName"])
    assert len(names) == 2


def test_a_key_acts_in_its_account_until_it_is_deleted() -> None:
    account_id = in_process.new_account()
    iam = in_process.client(account_id, "iam")
    iam.create_user(UserName="someone")
    made = iam.create_access_key(UserName="someone")["AccessKey"]
    key, secret = made["AccessKeyId"], made["SecretAccessKey"]

    assert in_process.identity(key, secret, None)["Account"] == account_id
    iam.update_access_key(UserName="someone", AccessKeyId=key, Status="Inactive")
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        in_process.identity(key, secret, None)
    iam.update_access_key(UserName="someone", AccessKeyId=key, Status="Active")
    assert in_process.identity(key, secret, None)["Account"] == account_id
    iam.delete_access_key(UserName="someone", AccessKeyId=key)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        in_process.identity(key, secret, None)
