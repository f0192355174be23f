"""Checks of the caller: the credentials are for the environment that the outputs describe."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, equal, registry
from mclass_tf.verify.world import World

check = registry.group("account")


@check(
    "the credentials belong to the account of the outputs",
    hint="use credentials of this environment's account: account_id in environment.toml",
)
def account(world: World) -> Iterator[Comparison]:
    yield equal("account", expected=world.outputs.account_id, actual=world.identity["Account"])


@check(
    "the calls go to the region of the outputs", hint="region in environment.toml is the one that was applied"
)
def region(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    yield equal("region of the calls", expected=outputs.region, actual=world.aws.access.region)
    yield equal("region of the cluster", expected=outputs.region, actual=outputs.cluster_arn.split(":")[3])
