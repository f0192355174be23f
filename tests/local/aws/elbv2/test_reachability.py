"""Whether a load balancer can reach a target through security groups and network ACLs."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from mclass_tf.local.aws.elbv2.reachability import AclEntry, GroupRule, Peer, entries_allow, rules_allow

_NODE = Peer(range=IPv4Network("10.0.1.0/24"), group_ids=frozenset({"sg-alb"}))
_HTTP = (3000, 3000)


@pytest.mark.parametrize(
    ("rule", "is_open"),
    [
        pytest.param(GroupRule(protocol="tcp", ports=_HTTP, group_id="sg-alb"), True, id="its group"),
        pytest.param(GroupRule(protocol="tcp", ports=_HTTP, group_id="sg-other"), False, id="another group"),
        pytest.param(GroupRule(protocol="tcp", ports=_HTTP, ranges=("10.0.0.0/16",)), True, id="its range"),
        pytest.param(
            GroupRule(protocol="tcp", ports=_HTTP, ranges=("10.0.1.128/25",)), False, id="half of it"
        ),
        pytest.param(
            GroupRule(protocol="tcp", ports=_HTTP, ranges=("10.9.0.0/16", "10.0.1.0/24")),
            True,
            id="a prefix list",
        ),
        pytest.param(
            GroupRule(protocol="tcp", ports=(3001, 3001), group_id="sg-alb"), False, id="another port"
        ),
        pytest.param(
            GroupRule(protocol="tcp", ports=(2000, 4000), group_id="sg-alb"), True, id="a range of ports"
        ),
        pytest.param(GroupRule(protocol="6", ports=_HTTP, group_id="sg-alb"), True, id="TCP by its number"),
        pytest.param(GroupRule(protocol="udp", ports=_HTTP, group_id="sg-alb"), False, id="another protocol"),
        pytest.param(GroupRule(protocol="-1", group_id="sg-alb"), True, id="every protocol"),
        pytest.param(GroupRule(protocol="tcp", ports=_HTTP), False, id="IPv6 alone"),
    ],
)
def test_a_security_group_allows_the_peers_of_its_rules(rule: GroupRule, *, is_open: bool) -> None:
    assert rules_allow([rule], other=_NODE, port=3000) is is_open


def test_without_rules_nothing_is_allowed() -> None:
    assert rules_allow([], other=_NODE, port=3000) is False


_ALL = "0.0.0.0/0"
_ALLOW_ALL = AclEntry(number=100, protocol="-1", is_allow=True, range=_ALL)
_DENY_ALL = AclEntry(number=32767, protocol="-1", is_allow=False, range=_ALL)


@pytest.mark.parametrize(
    ("entries", "is_open"),
    [
        pytest.param([_ALLOW_ALL, _DENY_ALL], True, id="as EC2 makes it"),
        pytest.param([_DENY_ALL], False, id="closed"),
        pytest.param(
            [_ALLOW_ALL, AclEntry(number=90, protocol="6", is_allow=False, range="10.0.1.7/32", ports=_HTTP)],
            False,
            id="a part is denied first",
        ),
        pytest.param(
            [
                _ALLOW_ALL,
                AclEntry(number=110, protocol="6", is_allow=False, range="10.0.1.7/32", ports=_HTTP),
            ],
            True,
            id="a denial that comes too late",
        ),
        pytest.param(
            [
                _ALLOW_ALL,
                AclEntry(number=90, protocol="6", is_allow=False, range="10.0.1.0/24", ports=(80, 80)),
            ],
            True,
            id="another port is denied",
        ),
        pytest.param(
            [_ALLOW_ALL, AclEntry(number=90, protocol="17", is_allow=False, range=_ALL, ports=_HTTP)],
            True,
            id="another protocol is denied",
        ),
        pytest.param(
            [AclEntry(number=10, protocol="6", is_allow=True, range="10.0.0.0/16", ports=(1024, 65535))],
            True,
            id="exactly what is needed",
        ),
        pytest.param([], False, id="nothing at all"),
    ],
)
def test_the_lowest_matching_entry_of_a_network_acl_decides(
    entries: list[AclEntry], *, is_open: bool
) -> None:
    assert entries_allow(entries, other=_NODE.range, ports=_HTTP) is is_open
