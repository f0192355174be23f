"""A local AWS that was started for it can be emptied by its owner, and no other one can."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from mclass_tf import local
from mclass_tf.local.aws.pages import SHORT
from tests.callers import ask
from tests.local import rollouts
from tests.local.conftest import Account, account_of


@pytest.fixture(scope="module")
def resettable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.LocalAws]:
    home = tmp_path_factory.mktemp("resettable")
    yield local.up(home=home, port=0, speed=rollouts.SPEED, resettable=True)
    local.down(home=home)


def test_everything_is_gone_with_its_tasks(resettable: local.LocalAws) -> None:
    account = account_of(resettable, "444444444444")
    rollouts.make(account, strategy={"strategy": "ROLLING"}).wait_for_status("SUCCESSFUL")

    assert ask(resettable, "reset", {}) == {"reset": True}

    ecs = account.client("ecs")
    assert ecs.list_clusters()["clusterArns"] == []
    ecs.create_cluster(clusterName="c")
    assert ecs.list_tasks(cluster="c")["taskArns"] == []
    assert ecs.list_tasks(cluster="c", desiredStatus="STOPPED")["taskArns"] == []
    assert account.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert account.client("ecr").describe_repositories()["repositories"] == []


def test_suites_of_others_find_their_items_in_the_first_page(resettable: local.LocalAws) -> None:
    logs = account_of(resettable, "555555555555").client("logs")
    for number in range(SHORT + 1):
        logs.create_log_group(logGroupName=f"/page/{number}")

    assert len(logs.describe_log_groups(logGroupNamePrefix="/page/")["logGroups"]) == SHORT + 1


def test_a_local_aws_of_a_user_has_no_such_call(dev: Account) -> None:
    with pytest.raises(HTTPError, match="404"):
        ask(dev.server, "reset", {})


def test_nobody_else_may_reset(resettable: local.LocalAws) -> None:
    request = urllib.request.Request(f"{resettable.url}/_mclass/reset", data=b"{}", method="PUT")
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(request)
