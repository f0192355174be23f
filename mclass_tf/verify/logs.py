"""Checks of the log group: it exists before the tasks, has a retention period, and is encrypted as the outputs say."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, NotApplicableError, equal, holds, registry
from mclass_tf.verify.world import World

check = registry.group("logs")


@check(
    "the log group exists under the ARN of the outputs",
    hint="the tasks cannot start without it: apply the environment again",
)
def exists(world: World) -> Iterator[Comparison]:
    expected = world.outputs.log_group_arn.removesuffix(":*")
    yield equal("ARN", expected=expected, actual=str(world.log_group["arn"]).removesuffix(":*"))


@check(
    "the log group keeps its events for a limited time",
    hint="retention_in_days of modules/logs; without one, events are kept and paid for for ever",
)
def retention(world: World) -> Iterator[Comparison]:
    days, expected = world.log_group.get("retentionInDays") or 0, world.outputs.log_retention_days
    yield holds("retention", days > 0, expected="a number of days", actual=f"{days} days" if days else None)
    if expected is not None:
        yield equal("retention in days", expected=expected, actual=days)


@check(
    "the log group is encrypted with the key of the outputs",
    hint="kms_key_arn of modules/logs; the key's policy must admit logs.<region>.amazonaws.com",
)
def encrypted(world: World) -> Iterator[Comparison]:
    key = world.outputs.kms_key_arn
    if key is None:
        raise NotApplicableError(
            "no key of our own is given (kms_key_arn is null); AWS encrypts with its own"
        )
    yield equal("key", expected=key, actual=world.log_group.get("kmsKeyId"))
