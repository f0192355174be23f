"""Lambda lifecycle hooks with real functions, whose results decide about the deployment."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.ecs.model.stages import (
    LifecycleHook,
    Progress,
    StageContext,
    deployment_progress,
    rollback_progress,
)
from tests.local.conftest import Account, Network
from tests.local.ecs_cluster import Ecs, cluster, list_all, task_definition

_PATIENCE = 60.0
_NEVER_CALLED = "arn:aws:lambda:ap-northeast-2:111111111111:function:nobody"


@dataclass(frozen=True, kw_only=True)
class Hooked:
    """A rolling service without tasks, and a role with which ECS may invoke functions."""

    ecs: Ecs
    role_arn: str

    @property
    def functions(self) -> Any:
        return self.ecs.account.client("lambda")

    def function(self, source: str, *, timeout: int = 20, runtime: str = "python3.12") -> str:
        """Create a function with this handler body. Return its ARN."""
        body = "\n".join(f"    {line}" for line in source.splitlines())
        made: str = self.functions.create_function(
            FunctionName="hook",
            Runtime=runtime,
            Role=self.role_arn,
            Handler="package/hook.handler",
            Timeout=timeout,
            Environment={"Variables": {"SETTING": "set"}},
            Code={"ZipFile": _zipped(f"def handler(event, context):\n{body}\n")},
        )["FunctionArn"]
        return made

    def hook(self, arn: str, *stages: str, **more: Any) -> dict[str, Any]:
        stages = stages or ("PRE_SCALE_UP",)
        return {"hookTargetArn": arn, "roleArn": self.role_arn, "lifecycleStages": list(stages), **more}

    def deploy(self, *hooks: dict[str, Any]) -> None:
        self.ecs.client.register_task_definition(**task_definition())
        changes = {"taskDefinition": "t", "deploymentConfiguration": {"lifecycleHooks": list(hooks)}}
        self.ecs.call("UpdateService", {"cluster": "c", "service": "s", **changes})

    def latest(self) -> dict[str, Any]:
        asked = {"serviceDeploymentArns": [list_all(self.ecs.client)[-1]["serviceDeploymentArn"]]}
        found: dict[str, Any] = self.ecs.call("DescribeServiceDeployments", asked)["serviceDeployments"][0]
        return found

    def ended(self) -> dict[str, Any]:
        """Wait for the last service deployment to end and return it."""
        deadline = time.monotonic() + _PATIENCE
        while (found := self.latest())["status"] in {"PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"}:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def output(self) -> str:
        """Return the output of the function, in the order of its invocations."""
        logs = self.ecs.account.client("logs")
        events = logs.filter_log_events(logGroupName="/aws/lambda/hook")["events"]
        return "\n".join(each["message"] for each in events)


def _zipped(source: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("package/hook.py", source)
    return archive.getvalue()


def _policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


@pytest.fixture
def hooked(fresh: Account, network: Network) -> Iterator[Hooked]:
    with cluster(fresh, network) as ecs:
        request = ecs.service
        del request["deploymentConfiguration"]["alarms"]
        ecs.call("CreateService", request)
        iam, trusted = fresh.client("iam"), {"Service": ["ecs.amazonaws.com", "lambda.amazonaws.com"]}
        role = iam.create_role(
            RoleName="hooks", AssumeRolePolicyDocument=_policy(Principal=trusted, Action="sts:AssumeRole")
        )["Role"]["Arn"]
        _allow(iam)
        yield Hooked(ecs=ecs, role_arn=role)


def _allow(iam: Any) -> None:
    allowed = _policy(Action="lambda:InvokeFunction", Resource="*")
    iam.put_role_policy(RoleName="hooks", PolicyName="invoke", PolicyDocument=allowed)


def test_a_succeeding_function_gets_the_event_and_continues_the_deployment(hooked: Hooked) -> None:
    arn = hooked.function(
        "import json, os\n"
        "print(json.dumps({**event, 'setting': os.environ['SETTING'], 'name': context.function_name,\n"
        "    'left': context.get_remaining_time_in_millis()}))\n"
        "return {'hookStatus': 'SUCCEEDED'}"
    )

    hooked.deploy(hooked.hook(arn, "PRE_SCALE_UP", "POST_SCALE_UP", hookDetails={"bucket": "b"}))

    found = hooked.ended()
    assert found["status"] == "SUCCESSFUL"
    assert [(h["targetType"], h["targetArn"], h["status"]) for h in found["lifecycleHookDetails"]] == [
        ("AWS_LAMBDA", arn, "SUCCEEDED")
    ] * 2
    first, second = (json.loads(line) for line in hooked.output().splitlines())
    assert (first["lifecycleStage"], second["lifecycleStage"]) == ("PRE_SCALE_UP", "POST_SCALE_UP")
    assert first["executionId"] == found["lifecycleHookDetails"][0]["hookId"]
    assert first["resourceArn"] == found["serviceDeploymentArn"]
    assert first["executionDetails"] == {
        "serviceArn": found["serviceArn"],
        "targetServiceRevisionArn": found["targetServiceRevision"]["arn"],
        "testTrafficWeights": {},
        "productionTrafficWeights": {},
    }
    assert first["hookDetails"] == {"bucket": "b"}
    assert (first["setting"], first["name"]) == ("set", "hook")
    assert first["left"] > 0


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("return {'hookStatus': 'FAILED'}", "returned FAILED status"),
        ("return {'hookStatus': 'PERHAPS'}", "due to HookStatus must not be null"),
        ("return None", "due to HookStatus must not be null"),
        ("raise ValueError('no good')", "ValueError: no good"),
        ("return {'hookStatus': object()}", "TypeError"),
        ("import os\nos._exit(3)", "Runtime exited with status 3"),
        ("import nothing_such", "ModuleNotFoundError"),
        (
            "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=5)",
            "functions reach this machine alone, not 192.0.2.1",
        ),
    ],
)
def test_any_other_answer_rolls_the_deployment_back(hooked: Hooked, source: str, told: str) -> None:
    hooked.deploy(hooked.hook(hooked.function(source)))

    found = hooked.ended()

    assert found["status"] == "ROLLBACK_SUCCESSFUL"
    assert found["lifecycleHookDetails"][0]["status"] == "FAILED"
    assert told in found["rollback"]["reason"]


def test_a_function_that_exceeds_its_timeout_is_killed(hooked: Hooked) -> None:
    arn = hooked.function("import time\nprint('begun', flush=True)\ntime.sleep(600)", timeout=1)

    hooked.deploy(hooked.hook(arn))

    assert "Task timed out after 1.00 seconds" in hooked.ended()["rollback"]["reason"]
    assert "begun" in hooked.output()


def test_a_function_in_progress_is_invoked_again_with_its_hook_details(hooked: Hooked) -> None:
    arn = hooked.function(
        "times = event.get('hookDetails', {}).get('times', 0) + 1\n"
        "if times == 3:\n"
        "    return {'hookStatus': 'SUCCEEDED'}\n"
        "print('time', times, event['hookDetails']['kept'])\n"
        "return {'hookStatus': 'IN_PROGRESS', 'callBackDelay': 0.1, 'hookDetails': {'times': times}}"
    )

    hooked.deploy(hooked.hook(arn, hookDetails={"kept": True}))

    assert hooked.ended()["status"] == "SUCCESSFUL"
    assert hooked.output().splitlines() == ["time 1 True", "time 2 True"]


def test_a_pause_at_the_same_stage_must_be_answered_too(hooked: Hooked) -> None:
    arn = hooked.function("return {'hookStatus': 'SUCCEEDED'}")
    hooked.deploy(hooked.hook(arn), {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]})
    deadline = time.monotonic() + _PATIENCE
    while (found := hooked.latest())["lifecycleHookDetails"][0]["status"] != "SUCCEEDED":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert (found["status"], found["lifecycleStage"]) == ("IN_PROGRESS", "PRE_SCALE_UP")

    find_hook = next(each for each in found["lifecycleHookDetails"] if each["targetType"] == "PAUSE")
    answer = {"serviceDeploymentArn": found["serviceDeploymentArn"], "hookId": find_hook["hookId"]}
    hooked.ecs.call("ContinueServiceDeployment", answer)

    assert hooked.ended()["status"] == "SUCCESSFUL"


def test_the_role_and_the_function_are_checked_at_the_invocation(hooked: Hooked) -> None:
    iam = hooked.ecs.account.client("iam")
    arn = hooked.function("return {'hookStatus': 'SUCCEEDED'}")
    hook = hooked.hook(arn, "POST_SCALE_UP")
    hooked.deploy(hook, {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"]})
    iam.delete_role_policy(RoleName="hooks", PolicyName="invoke")
    found = hooked.latest()
    find_hook = found["lifecycleHookDetails"][0]["hookId"]

    answer = {"serviceDeploymentArn": found["serviceDeploymentArn"], "hookId": find_hook}
    hooked.ecs.call("ContinueServiceDeployment", answer)

    assert "is not authorized to perform: lambda:InvokeFunction" in hooked.ended()["rollback"]["reason"]


def test_a_hook_that_cannot_be_invoked_is_refused(hooked: Hooked) -> None:
    ruby = hooked.function("pass", runtime="ruby3.3")
    stranger = hooked.ecs.account.client("iam").create_role(
        RoleName="stranger",
        AssumeRolePolicyDocument=_policy(Principal={"Service": "ec2.amazonaws.com"}, Action="sts:AssumeRole"),
    )["Role"]["Arn"]
    bad = {
        "does not exist": hooked.hook(_NEVER_CALLED),
        "functions in Python from a zip file alone": hooked.hook(ruby),
        "unable to assume role": {**hooked.hook(ruby), "roleArn": stranger},
        "roleArn can not be blank": {**hooked.hook(ruby), "roleArn": ""},
        "AWS_LAMBDA hooks cannot be configured at SCALE_UP": hooked.hook(ruby, "SCALE_UP"),
        "from 1 to 1440": hooked.hook(ruby, timeoutConfiguration={"timeoutInMinutes": 1441}),
    }
    for told, hook in bad.items():
        with pytest.raises(ClientError, match=told):
            hooked.deploy(hook)


def _advance(progress: Progress, now: float) -> float | None:
    return progress.advance(
        StageContext(now=now, real=lambda seconds: seconds, is_met=lambda _: True, shift=lambda _step: None)
    )


def _asking(progress: Progress) -> list[tuple[str, float | None, float | None]]:
    return [(hook.stage, hook.production, hook.test) for hook in progress.pauses if hook.is_running]


_HOOKS = {"strategy": "CANARY", "lifecycleHooks": [
    {"hookTargetArn": "f", "lifecycleStages": ["TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"]}
]}  # fmt: skip


def _forward() -> Progress:
    return deployment_progress(_HOOKS, is_reconciling=False, has_blue=True, has_shifted=False)


def _agree(progress: Progress) -> None:
    for hook in progress.pauses:
        hook.record_result({"hookStatus": "SUCCEEDED"}, error="", now=0, real=float)


def test_a_function_is_invoked_at_each_shift_with_the_share() -> None:
    progress = _forward()
    seen = []
    for now in (0.0, 0.0, 0.0, 600.0):
        _advance(progress, now)
        seen += _asking(progress)
        _agree(progress)

    assert seen == [
        ("TEST_TRAFFIC_SHIFT", None, 100.0),
        ("PRODUCTION_TRAFFIC_SHIFT", 5.0, None),
        ("PRODUCTION_TRAFFIC_SHIFT", 100.0, None),
    ]


def test_a_rollback_invokes_the_functions_without_waiting_for_them() -> None:
    progress = _forward()
    _advance(progress, 0.0)
    progress.pauses[0].record_result({"hookStatus": "FAILED"}, error="", now=0, real=float)
    assert progress.has_failed
    assert "lifecycle hook(s) failed. Lifecycle hook target" in progress.failure

    rollback = rollback_progress(_HOOKS, before=progress)
    _advance(rollback, 1.0)

    assert rollback.is_last
    assert _asking(rollback) == [("PRODUCTION_TRAFFIC_SHIFT", 0.0, None), ("TEST_TRAFFIC_SHIFT", None, 0.0)]


def test_a_function_that_stays_in_progress_times_out() -> None:
    progress = _forward()
    wake = _advance(progress, 0.0)
    assert wake == 1440 * 60

    _advance(progress, wake)

    (hook,) = progress.pauses
    assert (hook.status, progress.failure) == (
        "TIMED_OUT",
        f"{progress.stage} lifecycle hook(s) failed. The hook timed out",
    )
    hook.record_result({"hookStatus": "SUCCEEDED"}, error="", now=wake, real=float)
    assert hook.status == "TIMED_OUT"


def test_a_function_is_invoked_again_after_half_a_minute_by_default() -> None:
    hook = LifecycleHook(
        id="h", expires_at=9e9, timeout_action="ROLLBACK", status="IN_PROGRESS", kind="AWS_LAMBDA"
    )

    hook.record_result({"hookStatus": "IN_PROGRESS"}, error="", now=100.0, real=lambda seconds: seconds / 10)

    assert hook.due_at == 103.0


def test_only_deployments_invoke_functions(hooked: Hooked) -> None:
    hooked.function("return 1")

    with pytest.raises(ClientError, match="functions run where deployments of services ask them"):
        hooked.functions.invoke(FunctionName="hook")
