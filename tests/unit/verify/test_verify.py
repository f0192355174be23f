"""A verification: its report, its refusals, and an AWS that does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from mclass_tf import verify
from mclass_tf.aws import Access, Aws
from mclass_tf.errors import UsageError, VerificationError
from mclass_tf.verify.check import Check, CheckRegistry, Comparison, equal
from mclass_tf.verify.iam import Policies, Statement
from mclass_tf.verify.outputs import Outputs
from mclass_tf.verify.report import CheckStatus, VerifyReport, VerifyResult
from mclass_tf.verify.security import ingress

TEXTS = [
    name for name, kind in Outputs.__annotations__.items() if kind == "str" and name not in ("egress", "url")
]
OUTPUTS: Mapping[str, Any] = {
    **dict.fromkeys(TEXTS, "text"),
    "account_id": "111111111111",
    "autoscaling": None,
    "cluster_arn": "arn:aws:ecs:eu-west-1:111111111111:cluster/c",
    "container_port": 3000,
    "deployment": {"minimum_healthy_percent": 50, "maximum_percent": 200},
    "desired_count": 1,
    "egress": "endpoints",
    "private_subnet_ids": ["subnet-1"],
    "public_subnet_ids": ["subnet-2"],
    "region": "eu-west-1",
    "target_group_arns": {"blue": "b", "green": "g"},
    "url": "http://localhost",
    "vpc_endpoint_ids": {"logs": "vpce-1"},
}


class OneAnswerAws(Aws):
    """Every call of every client has the same answer, or raises. The calls are counted."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        super().__init__(Access(region="eu-west-1"))
        self.answered: list[str] = []
        self._answer = answer

    def _client(self, service: str) -> Any:
        return _OneAnswerClient(service, self)

    def answer(self, call: str) -> Mapping[str, Any]:
        self.answered.append(call)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class _OneAnswerClient:
    def __init__(self, service: str, aws: OneAnswerAws) -> None:
        self._service = service
        self._aws = aws

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **_: self._aws.answer(f"{self._service}.{operation}")

    def get_paginator(self, operation: str) -> _OneAnswerClient:
        return self

    def paginate(self, **arguments: Any) -> Iterator[Any]:
        yield self._aws.answer(f"{self._service}.paginate")


def nothing_answers(url: str, *, seconds: float) -> int:
    raise ConnectionRefusedError(url)


class ClientError(Exception):
    """Like botocore's, when AWS answers with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"An error occurred ({code}): {message}")
        self.response = {"Error": {"Code": code, "Message": message}}


class EndpointConnectionError(Exception):
    """Like botocore's, when nothing listens."""


def world(answer: Mapping[str, Any] | Exception) -> verify.World:
    return verify.open_world(OUTPUTS, OneAnswerAws(answer), fetch=nothing_answers)


def check(*comparisons: Comparison, error: Exception | None = None) -> Check:
    def probe(world: verify.World, /) -> Iterator[Comparison]:
        yield from comparisons
        if error is not None:
            raise error

    return Check(name="it is so", group="group", hint="make it so", probe=probe)


# Running


def test_a_call_that_aws_refuses_fails_the_check_with_its_cause_and_the_missing_permission() -> None:
    denied = ClientError("AccessDeniedException", "not authorized to perform: ecr:DescribeRepositories")
    report = verify.run(OUTPUTS, OneAnswerAws(denied), fetch=nothing_answers, only=["registry"])
    assert {CheckStatus.FAILED} == {result.status for result in report.results}
    assert "ecr:DescribeRepositories" in report.results[0].detail
    assert "read-only" in report.results[0].hint


def test_an_answer_without_what_was_expected_fails_the_check_and_does_not_crash() -> None:
    report = verify.run(OUTPUTS, OneAnswerAws({}), fetch=nothing_answers)
    assert report.failed == len(report.results) - report.skipped - report.passed
    assert report.failed > 50
    assert "KeyError" in "".join(result.detail for result in report.results)


def test_empty_listings_pass_no_check_that_reads_aws() -> None:
    empty: dict[str, list[Any]] = {
        key: []
        for key in ("Vpcs", "Subnets", "RouteTables", "SecurityGroups", "VpcEndpoints", "Listeners", "Rules")
    }
    report = verify.run(OUTPUTS, OneAnswerAws(empty), fetch=nothing_answers)
    passed = {result.name for result in report.results if result.status is CheckStatus.PASSED}
    assert passed <= {"the calls go to the region of the outputs"}


def test_an_aws_that_cannot_be_reached_is_asked_once_and_fails_every_check() -> None:
    aws = OneAnswerAws(EndpointConnectionError("Could not connect to the endpoint URL"))
    report = verify.run(OUTPUTS, aws, fetch=nothing_answers)
    assert len(aws.answered) == 1
    assert report.failed > 50
    assert "Could not connect" in report.results[0].detail


def test_what_several_checks_look_at_is_read_once() -> None:
    aws = OneAnswerAws({"repositories": [{"repositoryArn": "x"}]})
    verify.run(OUTPUTS, aws, fetch=nothing_answers, only=["registry"])
    assert aws.answered.count("ecr.describe_repositories") == 1


def test_a_check_that_compared_nothing_has_failed() -> None:
    result = verify.judge(check(), world({}))
    assert result.status is CheckStatus.FAILED
    assert "nothing to compare" in result.detail


def test_a_check_that_fails_says_everything_that_is_not_as_expected() -> None:
    comparisons = [
        equal("a", expected=1, actual=2),
        equal("b", expected=1, actual=1),
        equal("c", expected=True, actual=None),
    ]
    result = verify.judge(check(*comparisons), world({}))
    assert result.detail == "a: expected 1, found 2\nc: expected true, found none"
    assert result.hint == "make it so"


def test_a_check_that_breaks_off_has_failed_though_everything_before_held() -> None:
    result = verify.judge(check(equal("a", expected=1, actual=1), error=TypeError("bad")), world({}))
    assert result.status is CheckStatus.FAILED


def test_only_the_named_groups_and_checks_run() -> None:
    (chosen,) = [
        item
        for item in verify.checks()
        if item.name == "the cluster has Container Insights as the outputs say"
    ]
    report = verify.run(OUTPUTS, OneAnswerAws({}), fetch=nothing_answers, only=["account", chosen.name])
    assert [result.group for result in report.results] == ["account", "account", "service"]


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        verify.run(OUTPUTS, OneAnswerAws({}), fetch=nothing_answers, only=["netwerk"])
    assert "netwerk" in caught.value.message
    assert "network" in caught.value.hint


def test_outputs_that_lack_something_are_refused_with_every_name() -> None:
    outputs = {key: value for key, value in OUTPUTS.items() if key not in ("vpc_id", "alb_arn")}
    with pytest.raises(VerificationError) as caught:
        verify.run({**outputs, "container_port": "3000"}, OneAnswerAws({}), fetch=nothing_answers)
    assert "vpc_id is missing" in caught.value.message
    assert "alb_arn is missing" in caught.value.message
    assert "container_port is '3000', not a whole number" in caught.value.message
    assert "apply" in caught.value.hint


def test_an_output_that_is_null_is_as_good_as_one_that_is_left_out() -> None:
    absent = {key: value for key, value in OUTPUTS.items() if key != "autoscaling"}
    assert Outputs.parse(OUTPUTS) == Outputs.parse(absent)


def test_two_checks_cannot_have_one_name() -> None:
    declare = CheckRegistry().group("group")
    declare("it is so", hint="")(check().probe)
    with pytest.raises(ValueError, match="it is so"):
        declare("it is so", hint="")(check().probe)


def test_every_check_is_a_sentence_with_a_hint() -> None:
    for item in verify.checks():
        assert len(item.name.split()) >= 4, item.name
        assert item.hint, item.name


# Reporting


REPORT = VerifyReport(
    results=(
        VerifyResult(name="it is so", group="first", status=CheckStatus.PASSED, detail="a: 1"),
        VerifyResult(
            name="it is not",
            group="first",
            status=CheckStatus.FAILED,
            detail="a: expected 1, found 2\nb: ...",
            hint="do it",
        ),
        VerifyResult(
            name="it need not", group="second", status=CheckStatus.SKIPPED, detail="nothing is given"
        ),
    )
)


def test_a_report_is_a_tree_of_results_and_hints() -> None:
    assert verify.render(REPORT).splitlines() == [
        "first",
        "  OK    it is so",
        "  NG    it is not",
        "        a: expected 1, found 2",
        "        b: ...",
        "        fix: do it",
        "second",
        "  SKIP  it need not",
        "        nothing is given",
        "1 passed, 1 failed, 1 skipped",
    ]


def test_a_report_for_machines_counts_and_lists() -> None:
    document = REPORT.to_json()
    assert (document["passed"], document["failed"], document["skipped"]) == (1, 1, 1)
    assert document["results"][1] == {
        "name": "it is not",
        "group": "first",
        "status": "failed",
        "detail": "a: expected 1, found 2\nb: ...",
        "hint": "do it",
    }


def test_a_report_without_a_passed_check_is_not_ok() -> None:
    assert not REPORT.ok
    assert not VerifyReport(results=()).ok
    assert not VerifyReport(results=REPORT.results[2:]).ok
    assert VerifyReport(results=REPORT.results[:1]).ok


# Policies and security groups


def policies(*statements: Mapping[str, Any]) -> Policies:
    return Policies.parse([{"Statement": list(statements)}])


def allow(action: str, resource: str = "*") -> Mapping[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.mark.parametrize(
    ("pattern", "resource", "expected"),
    [
        ("arn:a:repository/x", "arn:a:repository/x", True),
        ("arn:a:repository/x", "arn:a:repository/xy", False),
        ("arn:a:repository/x*", "arn:a:repository/xy", True),
        ("arn:a:repository/?", "arn:a:repository/x", True),
        ("arn:a:repository/[x]", "arn:a:repository/x", False),
    ],
)
def test_resources_match_as_in_iam(pattern: str, resource: str, *, expected: bool) -> None:
    assert policies(allow("ecr:Pull", pattern)).allow(action="ecr:Pull", resource=resource) is expected


def test_actions_match_without_regard_to_case_and_a_denial_wins() -> None:
    assert policies(allow("ECR:pull*")).allow(action="ecr:PullImage", resource="x")
    denied = {**allow("ecr:*"), "Effect": "Deny"}
    assert not policies(allow("*"), denied).allow(action="ecr:PullImage", resource="x")
    conditional = {**denied, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert policies(allow("*"), conditional).allow(action="ecr:PullImage", resource="x")


def test_a_statement_that_names_what_it_does_not_cover_is_known_as_such() -> None:
    assert Statement.parse({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}).inverted
    assert not Statement.parse(allow("iam:*")).inverted


def test_a_document_may_be_percent_encoded() -> None:
    assert Policies.parse(["%7B%22Statement%22%3A%5B%5D%7D"]).statements == ()


def test_an_opening_of_every_protocol_covers_every_port() -> None:
    (opening,) = ingress({"IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]})
    assert opening.covers(22)
    assert opening.is_internet
    assert str(opening) == "all 0-65535 with 0.0.0.0/0"


def test_an_opening_to_a_private_range_is_not_the_internet() -> None:
    permission = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    (opening,) = ingress({"IpPermissions": [permission]})
    assert not opening.is_internet
    assert opening.holds_network("10.1.0.0/16")
    assert not opening.holds_network("11.0.0.0/16")
    assert not opening.covers(3)
