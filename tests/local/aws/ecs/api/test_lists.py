"""The lists of ECS come page by page."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process
from tests.local.ecs_cluster import task_definition


@pytest.fixture(scope="module")
def ecs() -> Any:
    client = in_process.client(in_process.new_account(), "ecs")
    for number in range(3):
        client.create_cluster(clusterName=f"c{number}")
        client.register_task_definition(**task_definition(family=f"t{number}"))
    return client


_LISTS = {
    "list_clusters": "clusterArns",
    "list_task_definition_families": "families",
    "list_task_definitions": "taskDefinitionArns",
}


@pytest.mark.parametrize(("operation", "key"), _LISTS.items())
def test_a_list_has_as_many_items_as_the_request_says_and_goes_on_after_them(
    ecs: Any, operation: str, key: str
) -> None:
    everything = [item for page in ecs.get_paginator(operation).paginate() for item in page[key]]
    first = getattr(ecs, operation)(maxResults=2)
    second = getattr(ecs, operation)(maxResults=2, nextToken=first["nextToken"])
    assert [len(first[key]), len(second[key])] == [2, 1]
    assert everything == [*first[key], *second[key]]
    assert "nextToken" not in second


@pytest.mark.parametrize("operation", [*_LISTS, "list_services"])
def test_a_page_has_at_most_100_items(ecs: Any, operation: str) -> None:
    more = {"cluster": "c0"} if operation == "list_services" else {}
    with pytest.raises(ClientError, match="maxResults must be between 1 and 100"):
        getattr(ecs, operation)(maxResults=101, **more)
