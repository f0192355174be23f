"""The regions of AWS. Callers may name any region, but moto has backends only for these."""

from __future__ import annotations

from functools import cache

from botocore.session import Session


def is_known(region: str) -> bool:
    """Return whether the region exists in any partition of AWS."""
    return region in _known()


@cache
def _known() -> frozenset[str]:
    session = Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ecs", partition_name=partition)
    )


def dns_suffix(region: str) -> str:
    """Return the suffix of host names in a region: China has its own.

    https://docs.amazonaws.cn/en_us/general/latest/gr/endpoints-arns.html
    """
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
