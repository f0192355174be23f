"""An ECS service: requests and parsed responses. The fakes fit AWS's own model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from mclass_tf.aws import Access, Aws
from mclass_tf.errors import ConfigurationError, IncompleteAnswerError, RevisionGoneError, ServiceGoneError
from mclass_tf.service import Ecs

CLUSTER, SERVICE = "mclass-cluster", "mclass-service"
PREFIX = "arn:aws:ecs:ap-northeast-2:111111111111"
GROUP = "arn:aws:elasticloadbalancing:ap-northeast-2:111111111111:targetgroup/mclass-blue/1"
AT = 1795430000.5
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "DescribeServices": {
        "services": [
            {
                "serviceArn": f"{PREFIX}:service/{CLUSTER}/{SERVICE}",
                "serviceName": SERVICE,
                "status": "ACTIVE",
                "desiredCount": 2,
                "runningCount": 3,
                "pendingCount": 1,
                "taskDefinition": f"{PREFIX}:task-definition/mclass-task:2",
                "healthCheckGracePeriodSeconds": 30,
                "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
                "loadBalancers": [
                    {"targetGroupArn": GROUP, "containerName": "mclass-server", "containerPort": 3000}
                ],
                "deployments": [
                    {
                        "id": "ecs-svc/2",
                        "status": "PRIMARY",
                        "taskDefinition": f"{PREFIX}:task-definition/mclass-task:2",
                        "desiredCount": 2,
                        "pendingCount": 1,
                        "runningCount": 1,
                        "failedTasks": 1,
                        "rolloutState": "IN_PROGRESS",
                        "rolloutStateReason": "ECS deployment ecs-svc/2 in progress.",
                    }
                ],
                "events": [
                    {"id": "b", "createdAt": AT + 1, "message": "later"},
                    {"id": "a", "createdAt": AT, "message": "earlier"},
                ],
            }
        ]
    },
    "ListServiceDeployments": {
        "serviceDeployments": [
            {
                "serviceDeploymentArn": f"{PREFIX}:service-deployment/{CLUSTER}/{SERVICE}/{name}",
                "createdAt": created,
                "status": "SUCCESSFUL",
                "targetServiceRevisionArn": f"{PREFIX}:service-revision/{CLUSTER}/{SERVICE}/{name}",
            }
            for name, created in (("older", AT), ("newer", AT + 5))
        ]
    },
    "DescribeServiceDeployments": {
        "serviceDeployments": [
            {
                "serviceDeploymentArn": f"{PREFIX}:service-deployment/{CLUSTER}/{SERVICE}/x",
                "createdAt": AT,
                "status": "ROLLBACK_IN_PROGRESS",
                "statusReason": "why",
                "sourceServiceRevisions": [{"arn": "source"}],
                "targetServiceRevision": {"arn": "target", "runningTaskCount": 1},
                "rollback": {"reason": "the circuit breaker", "serviceRevisionArn": "source"},
                "deploymentCircuitBreaker": {"status": "TRIGGERED", "failureCount": 3, "threshold": 3},
                "alarms": {"status": "TRIGGERED", "triggeredAlarmNames": ["errors"]},
            }
        ]
    },
    "DescribeServiceRevisions": {
        "serviceRevisions": [{"taskDefinition": f"{PREFIX}:task-definition/mclass-task:2"}]
    },
    "ListTasks": {"taskArns": [f"{PREFIX}:task/{CLUSTER}/t1"]},
    "DescribeTasks": {
        "tasks": [
            {
                "taskArn": f"{PREFIX}:task/{CLUSTER}/t1",
                "taskDefinitionArn": f"{PREFIX}:task-definition/mclass-task:2",
                "lastStatus": "STOPPED",
                "startedBy": "ecs-svc/2",
                "stopCode": "EssentialContainerExited",
                "stoppedReason": "Essential container in task exited",
                "stoppedAt": AT,
                "attachments": [
                    {
                        "type": "ElasticNetworkInterface",
                        "details": [
                            {"name": "subnetId", "value": "subnet-1"},
                            {"name": "privateIPv4Address", "value": "10.0.0.7"},
                        ],
                    }
                ],
                "containers": [
                    {
                        "name": "mclass-server",
                        "image": "repository@sha256:a",
                        "imageDigest": "sha256:a",
                        "exitCode": 1,
                        "reason": "boom",
                    }
                ],
            }
        ]
    },
    "DescribeTaskDefinition": {
        "taskDefinition": {
            "taskDefinitionArn": f"{PREFIX}:task-definition/mclass-task:2",
            "family": "mclass-task",
            "revision": 2,
            "containerDefinitions": [{"name": "mclass-server", "image": "repository@sha256:a"}],
        },
        "tags": [{"key": "k", "value": "v"}],
    },
    "UpdateService": {"service": {}},
}


class FakeAws(Aws):
    """Answers calls of ECS and records the requests. Each must fit AWS's model, if botocore has it."""

    def __init__(self) -> None:
        super().__init__(Access(region="ap-northeast-2", access_key_id="a", secret_access_key="b"))
        self.answers = dict(ANSWERS)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((action, dict(request)))
        return dict(self.answers.get(action, {}))


def model() -> Any:
    make: Any = boto3.client
    return make(
        "ecs", region_name="ap-northeast-2", aws_access_key_id="a", aws_secret_access_key="b"
    ).meta.service_model


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def ecs(aws: FakeAws) -> Ecs:
    return Ecs(aws, cluster=CLUSTER, name=SERVICE)


@pytest.mark.parametrize("action", sorted(ANSWERS))
def test_the_fake_responses_fit_the_model_of_aws(action: str) -> None:
    shape = model().operation_model(action).output_shape
    report = ParamValidator().validate(ANSWERS[action], shape).generate_report().splitlines()
    # A time is a number on the wire, which the validator of parameters takes for one too.
    assert [line for line in report if "Missing required" not in line] == []


def test_the_requests_fit_the_model_of_aws(aws: FakeAws, ecs: Ecs) -> None:
    ecs.service()
    ecs.service_deployments()
    ecs.service_deployments(statuses=("PENDING",), since=dt.datetime.fromtimestamp(AT, tz=dt.UTC))
    ecs.service_deployment("arn")
    ecs.revision_task_definition("arn")
    ecs.tasks()
    ecs.tasks(stopped=True)
    ecs.task_definition("mclass-task:2")
    ecs.update(task_definition="mclass-task:2", desired=2, force=True)

    for action, request in aws.asked:
        shape = model().operation_model(action).input_shape
        assert not ParamValidator().validate(request, shape).generate_report(), action


def test_a_service_is_read_with_its_events_in_their_order(ecs: Ecs) -> None:
    found = ecs.service()

    assert (found.desired, found.running, found.pending, found.grace_period) == (2, 3, 1, 30)
    assert [event.message for event in found.events] == ["earlier", "later"]
    assert found.events[0].at == dt.datetime.fromtimestamp(AT, tz=dt.UTC)
    assert found.target_group_arns == (GROUP,)
    assert found.primary is not None
    assert (found.primary.id, found.primary.failed, found.primary.rollout_state) == (
        "ecs-svc/2",
        1,
        "IN_PROGRESS",
    )


def test_both_groups_of_a_service_with_a_native_strategy_hold_targets(aws: FakeAws, ecs: Ecs) -> None:
    service = dict(ANSWERS["DescribeServices"]["services"][0])
    advanced = {"alternateTargetGroupArn": "green"}
    service["loadBalancers"] = [{"targetGroupArn": GROUP, "advancedConfiguration": advanced}]
    aws.answers["DescribeServices"] = {"services": [service]}

    assert ecs.service().target_group_arns == (GROUP, "green")


@pytest.mark.parametrize("services", [[], [{"status": "INACTIVE"}]])
def test_a_deleted_service_is_reported(aws: FakeAws, ecs: Ecs, services: list[Any]) -> None:
    aws.answers["DescribeServices"] = {"services": services}

    with pytest.raises(ConfigurationError, match="there is no service mclass-service"):
        ecs.service()


_GONE = ("ServiceNotActiveException", "ServiceNotFoundException", "ClusterNotFoundException")


@pytest.mark.parametrize("code", _GONE)
@pytest.mark.parametrize(
    "ask",
    [
        Ecs.service,
        Ecs.service_deployments,
        Ecs.tasks,
        Ecs.placement,
        lambda ecs: ecs.update(task_definition=None, desired=1),
        lambda ecs: ecs.run_task({}),
    ],
    ids=["service", "service_deployments", "tasks", "placement", "update", "run_task"],
)
def test_every_call_to_a_deleted_service_reports_it_and_how_to_create_it_again(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Ecs], object], code: str
) -> None:
    def refuse(action: str, _: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "Service was not ACTIVE."}}, action)

    monkeypatch.setattr(aws, "call_ecs", refuse)

    with pytest.raises(ServiceGoneError) as caught:
        ask(Ecs(aws, cluster=CLUSTER, name=SERVICE, environment="dev"))

    assert caught.value.exit_code == 3
    assert "somebody has deleted it" in caught.value.message
    assert caught.value.hint == "`plan dev`, then `apply dev`, make it anew"


def test_the_latest_service_deployment_comes_first(ecs: Ecs) -> None:
    assert [each.arn.rsplit("/", 1)[-1] for each in ecs.service_deployments()] == ["newer", "older"]


class Local(Aws):
    """ECS with pages of any size, each of which may be empty, as AWS's model permits."""

    def __init__(self, pages: list[list[dict[str, Any]]]) -> None:
        super().__init__(Access(region="ap-northeast-2", access_key_id="a", secret_access_key="b"))
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(request))
        number = int(request.get("nextToken", "0"))
        more = {"nextToken": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"serviceDeployments": self.pages[number], **more}


def _brief(name: str, *, at: float) -> dict[str, Any]:
    return {"serviceDeploymentArn": f"arn/{name}", "createdAt": at, "status": "SUCCESSFUL"}


def test_service_deployments_are_read_from_every_page_in_any_order() -> None:
    aws = Local([[_brief("first", at=AT)], [], [_brief("last", at=AT + 9), _brief("second", at=AT + 1)]])
    ecs = Ecs(aws, cluster=CLUSTER, name=SERVICE)

    assert [each.arn for each in ecs.service_deployments()] == ["arn/last", "arn/second", "arn/first"]


def test_service_deployments_are_selected_by_status_and_time() -> None:
    aws = Local([[_brief("first", at=AT), _brief("last", at=AT + 9)]])
    ecs = Ecs(aws, cluster=CLUSTER, name=SERVICE)
    since = dt.datetime.fromtimestamp(AT + 5, tz=dt.UTC)

    assert [each.arn for each in ecs.service_deployments(statuses=("PENDING",), since=since)] == ["arn/last"]
    (request,) = aws.asked
    assert request["status"] == ["PENDING"]
    assert AT < request["createdAt"]["after"] <= AT + 5


_MISSING = {"failures": [{"arn": "arn", "reason": "MISSING"}]}
_EMPTY: dict[str, Any] = {"serviceDeployments": [], "serviceRevisions": []}


@pytest.mark.parametrize("ask", [Ecs.service_deployment, Ecs.revision, Ecs.revision_task_definition])
@pytest.mark.parametrize("answer", [_EMPTY, _MISSING, {**_MISSING, **_EMPTY}])
def test_what_ecs_no_longer_has_is_reported_with_the_next_step(
    aws: FakeAws, ask: Callable[[Ecs, str], object], answer: Mapping[str, Any]
) -> None:
    aws.answers["DescribeServiceDeployments"] = aws.answers["DescribeServiceRevisions"] = answer

    with pytest.raises(RevisionGoneError, match="ECS no longer has the service ") as caught:
        ask(Ecs(aws, cluster=CLUSTER, name=SERVICE, environment="dev"), "arn")

    assert caught.value.exit_code == 3
    assert ("MISSING" in caught.value.message) is ("failures" in answer)
    assert "`status dev`" in caught.value.hint


@pytest.mark.parametrize("ask", [Ecs.service_deployment, Ecs.revision, Ecs.revision_task_definition])
def test_an_answer_without_items_does_not_mean_that_ecs_no_longer_has_the_resource(
    aws: FakeAws, ask: Callable[[Ecs, str], object]
) -> None:
    aws.answers["DescribeServiceDeployments"] = aws.answers["DescribeServiceRevisions"] = {}

    with pytest.raises(IncompleteAnswerError):
        ask(Ecs(aws, cluster=CLUSTER, name=SERVICE), "arn")


def test_a_service_deployment_is_read_with_the_cause_of_its_failure(ecs: Ecs) -> None:
    found = ecs.service_deployment("arn")

    assert (found.status, found.status_reason) == ("ROLLBACK_IN_PROGRESS", "why")
    assert (found.rollback_reason, found.failures, found.alarms) == ("the circuit breaker", 3, ("errors",))
    assert (found.source_revision_arns, found.target_revision_arn) == (("source",), "target")


@pytest.mark.parametrize("summaries", [None, [], [{}], [{"arn": "source"}, {"runningTaskCount": 1}]])
def test_source_revisions_are_unknown_unless_ecs_names_all_of_them(
    aws: FakeAws, ecs: Ecs, summaries: list[Any] | None
) -> None:
    (described,) = ANSWERS["DescribeServiceDeployments"]["serviceDeployments"]
    answer = {**described, "sourceServiceRevisions": summaries}
    aws.answers["DescribeServiceDeployments"] = {"serviceDeployments": [answer]}

    assert ecs.service_deployment("arn").source_revision_arns == ()


def test_a_task_is_read_with_its_address_and_how_it_ended(ecs: Ecs) -> None:
    (found,) = ecs.tasks(stopped=True)

    assert (found.id, found.address, found.started_by) == ("t1", "10.0.0.7", "ecs-svc/2")
    assert found.stopped_reason == "Essential container in task exited"
    assert (found.containers[0].exit_code, found.containers[0].reason) == (1, "boom")


def test_no_tasks_are_described_if_none_are_listed(aws: FakeAws, ecs: Ecs) -> None:
    aws.answers["ListTasks"] = {"taskArns": []}

    assert ecs.tasks() == ()
    assert [action for action, _ in aws.asked] == ["ListTasks"]


def test_many_tasks_are_described_by_the_hundred(aws: FakeAws, ecs: Ecs) -> None:
    aws.answers["ListTasks"] = {"taskArns": [f"t{n}" for n in range(250)]}

    ecs.tasks()

    assert [len(request["tasks"]) for action, request in aws.asked if action == "DescribeTasks"] == [
        100,
        100,
        50,
    ]


def test_an_update_sends_only_the_changes(aws: FakeAws, ecs: Ecs) -> None:
    ecs.update(task_definition=None, desired=0)

    assert aws.asked == [("UpdateService", {"cluster": CLUSTER, "service": SERVICE, "desiredCount": 0})]


def test_a_deployment_is_rolled_back_by_stopping_it(aws: FakeAws, ecs: Ecs) -> None:
    ecs.roll_back("arn")

    assert aws.asked == [("StopServiceDeployment", {"serviceDeploymentArn": "arn", "stopType": "ROLLBACK"})]


def test_a_missing_task_definition_is_reported(aws: FakeAws, ecs: Ecs) -> None:
    def call_ecs(action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        error: Any = {"Error": {"Code": "ClientException", "Message": "Unable to describe task definition."}}
        raise ClientError(error, action)

    aws.call_ecs = call_ecs  # type: ignore[method-assign]

    with pytest.raises(ConfigurationError, match="no task definition mclass-task:99"):
        ecs.task_definition("mclass-task:99")
