"""The access logs of load balancers, as AWS names and writes them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from typing import Any

import pytest

from mclass_tf.local.aws.elbv2.access_logs import AccessLogs, LogDestination, key_of
from mclass_tf.local.balancer.report import AccessLog
from mclass_tf.local.live import live
from tests.local import elb_world, in_process
from tests.local.elb_world import ElbWorld

_AT = 1_763_158_325.0  # 2025-11-14 22:12:05


@pytest.fixture
def world() -> ElbWorld:
    return elb_world.make()


@pytest.fixture
def logs() -> AccessLogs:
    return AccessLogs(exclusive=in_process.aws().exclusive)


def _log_to(world: ElbWorld, bucket: str, *, prefix: str) -> None:
    world.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": in_process.REGION}
    )
    settings = {"enabled": "true", "bucket": bucket, "prefix": prefix}
    world.client("elbv2").modify_load_balancer_attributes(
        LoadBalancerArn=world.arn,
        Attributes=[{"Key": f"access_logs.s3.{key}", "Value": value} for key, value in settings.items()],
    )


def _written(world: ElbWorld, bucket: str) -> dict[str, str]:
    s3: Any = world.client("s3")
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {
        entry["Key"]: gzip.decompress(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()).decode()
        for entry in found
    }


def test_an_object_is_named_as_aws_names_it() -> None:
    place = LogDestination(
        account_id="111111111111",
        region="ap-northeast-2",
        bucket="b",
        prefix="web",
        load_balancer="app/mclass-alb/0677f1c638e1e67f",
    )
    assert re.fullmatch(
        r"web/AWSLogs/111111111111/elasticloadbalancing/ap-northeast-2/2025/11/14/111111111111_elasticloadbalancing_"
        r"ap-northeast-2_app\.mclass-alb\.0677f1c638e1e67f_20251114T2212Z_127\.0\.0\.1_[a-z0-9]{8}\.log\.gz",
        key_of(place, at=_AT),
    )


def test_lines_are_collected_in_one_object(world: ElbWorld, logs: AccessLogs) -> None:
    bucket = f"logs-{world.account_id}"
    _log_to(world, bucket, prefix="")
    for line in ("http one", "http two"):
        logs.take(AccessLog(load_balancer_arn=world.arn, lines=(line,)))
    logs.write(now=_AT)
    logs.write(now=_AT + 300)
    ((key, text),) = _written(world, bucket).items()
    assert key.startswith(f"AWSLogs/{world.account_id}/elasticloadbalancing/")
    assert text == "http one\nhttp two\n"


def test_lines_of_a_load_balancer_without_access_logs_are_dropped(world: ElbWorld, logs: AccessLogs) -> None:
    logs.take(AccessLog(load_balancer_arn=world.arn, lines=("http one",)))
    bucket = f"logs-{world.account_id}"
    _log_to(world, bucket, prefix="")
    logs.write(now=_AT)
    assert _written(world, bucket) == {}


def test_remaining_lines_are_written_at_the_end(world: ElbWorld, logs: AccessLogs) -> None:
    bucket = f"logs-{world.account_id}"
    _log_to(world, bucket, prefix="")

    async def scenario() -> None:
        running = asyncio.create_task(logs.run())
        await asyncio.sleep(0)
        logs.take(AccessLog(load_balancer_arn=world.arn, lines=("http one",)))
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert list(_written(world, bucket).values()) == ["http one\n"]


def test_a_missing_bucket_is_reported_as_a_problem(world: ElbWorld, logs: AccessLogs) -> None:
    bucket = f"logs-{world.account_id}"
    _log_to(world, bucket, prefix="")
    logs.take(AccessLog(load_balancer_arn=world.arn, lines=("http one",)))
    world.client("s3").delete_bucket(Bucket=bucket)
    logs.write(now=_AT)
    assert live.problems[-1] == f"the access log of {world.arn} cannot be written to {bucket}"
