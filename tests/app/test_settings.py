"""Settings are read from environment variables, validated at start, and match the modules that deploy the service."""

from __future__ import annotations

import re
import socket
from typing import Any, cast

import pytest

from app.requests import Requests
from app.server import _config
from app.settings import Faults, Settings, SettingsError, load, settings_of_task
from tests.app.service import ROOT, Start


def problems(**env: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(env)
    return caught.value.problems


def test_without_any_variable_the_defaults_hold_and_no_fault_is_on() -> None:
    assert load({}) == Settings()
    assert load({}).faults == Faults()
    assert load({}).port == 3000


def test_empty_variables_are_unset() -> None:
    assert load({"MCLASS_PORT": "", "MCLASS_VERSION": "", "MCLASS_FAULT_ERROR_RATE": ""}) == Settings()


def default_of(module: str, name: str) -> float:
    """Return the default of `name` in the module's variables."""
    text = (ROOT / "modules" / module / "variables.tf").read_text(encoding="utf-8")
    found = re.search(rf"\b{name}\s*=\s*optional\(number, (\d+)\)", text) or re.search(
        rf'variable "{name}" {{.*?default\s*=\s*(\d+)', text, re.DOTALL
    )
    assert found, f"{module} has no {name}"
    return float(found[1])


@pytest.mark.parametrize(
    ("setting", "module", "name"),
    [
        ("lame_duck", "ecs-service", "lame_duck"),
        ("longest_request", "ecs-service", "longest_request"),
        ("stop_timeout", "ecs-service", "stop_timeout"),
        ("port", "ecs-service", "port"),
        ("idle_timeout", "alb", "idle_timeout"),
    ],
)
def test_the_defaults_are_those_of_the_modules(setting: str, module: str, name: str) -> None:
    assert getattr(Settings(), setting) == default_of(module, name)


def test_the_times_that_the_root_configuration_tells_are_settings_of_the_service() -> None:
    text = (ROOT / "terraform" / "main.tf").read_text(encoding="utf-8")
    told = re.search(r"service_times = \{(.*?)\n  \}", text, re.DOTALL)
    assert told
    names = re.findall(r"^ +(MCLASS_\w+) +=", told[1], re.MULTILINE)

    (problem,) = problems(MCLASS_QQQQQQQQQQQQQQQQQQQQQQQQ="")
    settings = re.findall(r"MCLASS_\w+_SECONDS", problem)
    assert names == [name for name in settings if not name.startswith("MCLASS_FAULT_")]


def test_idle_connections_are_kept_as_long_as_the_settings_say() -> None:
    settings = load({"MCLASS_IDLE_TIMEOUT_SECONDS": "60", "MCLASS_KEEP_ALIVE_SECONDS": "77"})

    async def unused(*_: Any) -> None: ...

    assert _config(settings, cast("Requests", unused)).timeout_keep_alive == 77


def test_the_longest_idle_timeout_that_terraform_takes_leaves_room_for_the_keep_alive() -> None:
    env = {"MCLASS_IDLE_TIMEOUT_SECONDS": "4000", "MCLASS_KEEP_ALIVE_SECONDS": "4015"}

    assert load(env).keep_alive == 4015


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MCLASS_PORT", "80.5", "a whole number from 0 to 65535"),
        ("MCLASS_PORT", "65536", "a whole number from 0 to 65535"),
        ("MCLASS_PORT", "\u0663000", "a whole number from 0 to 65535"),
        *(
            ("MCLASS_HOST", host, "must be an IP address, such as 0.0.0.0 or ::")
            for host in ("a host", "999.1.1.1", "127.1", "1:2", "::1%lo")
        ),
        ("MCLASS_LOG_LEVEL", "loud", "must look like DEBUG, INFO, WARNING or ERROR"),
        ("MCLASS_REVISION", "a b", "must look like a commit's id"),
        ("MCLASS_LAME_DUCK_SECONDS", "nan", "a number from 0 to 120"),
        ("MCLASS_LAME_DUCK_SECONDS", "-1", "a number from 0 to 120"),
        ("MCLASS_FAULT_ERROR_RATE", "2", "a number from 0 to 1"),
        ("MCLASS_FAULT_EXIT_ON_SIGTERM", "perhaps", "must be true or false"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bounds(name: str, value: str, said: str) -> None:
    (problem,) = problems(**{name: value})

    assert problem.startswith(f"{name} is {value!r}; it must")
    assert problem.endswith(said)


def test_a_slip_in_a_name_is_refused_with_the_name_that_was_meant() -> None:
    assert problems(MCLASS_LAME_DUCK="5") == [
        "MCLASS_LAME_DUCK is no setting of this service; did you mean MCLASS_LAME_DUCK_SECONDS?"
    ]


def test_variables_of_the_deployment_tool_are_none_of_its_business() -> None:
    assert load({"MCLASS_TF_HOME": "/x"}) == Settings()


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(MCLASS_PORT="x", MCLASS_LOG_LEVEL="x", MCLASS_X="x")) == 3


def test_a_keep_alive_not_above_the_idle_timeout_of_the_load_balancer_is_refused() -> None:
    (problem,) = problems(MCLASS_KEEP_ALIVE_SECONDS="60")

    assert "must be above the load balancer's idle timeout" in problem
    assert load({"MCLASS_KEEP_ALIVE_SECONDS": "61"}).keep_alive == 61


def test_an_end_that_takes_longer_than_the_stop_timeout_is_refused() -> None:
    (problem,) = problems(MCLASS_LAME_DUCK_SECONDS="29")

    assert "SIGKILL would cut requests off" in problem
    assert load({"MCLASS_LAME_DUCK_SECONDS": "28"}).lame_duck == 28
    assert load({"MCLASS_LAME_DUCK_SECONDS": "29", "MCLASS_STOP_TIMEOUT_SECONDS": "61"}).lame_duck == 29


def test_a_fault_that_is_told_to_be_off_is_not_asked_for() -> None:
    off = {"MCLASS_FAULT_EXIT_ON_SIGTERM": "false", "MCLASS_FAULT_ERROR_RATE": "0.0"}

    assert load(off) == Settings()
    # Here 0 means at once.
    assert load({**off, "MCLASS_FAULT_CRASH_AFTER_SECONDS": "0"}).asked_faults == (
        "MCLASS_FAULT_CRASH_AFTER_SECONDS",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "::1", "::ffff:10.0.0.1"])
def test_the_host_is_an_address_of_either_kind(host: str) -> None:
    assert load({"MCLASS_HOST": host}).host == host


@pytest.mark.parametrize(
    ("arn", "rate"),
    [
        ("arn:aws:ecs:ap-northeast-2:222222222222:task/mclass-cluster/0123", 1),
        ("arn:aws:ecs:ap-northeast-2:111111111111:task/mclass-cluster/0123", 0),
        ("arn:aws:ecs:ap-northeast-2:222222222222:task/mclass-cluster-2/0123", 0),
        (None, 0),
    ],
)
def test_faults_may_be_for_the_tasks_of_one_cluster_alone(arn: str | None, rate: float) -> None:
    asked = load({"MCLASS_FAULT_ERROR_RATE": "1", "MCLASS_FAULT_ONLY_IN": "222222222222:task/mclass-cluster"})
    found = settings_of_task(asked, task_arn=arn)

    assert found.faults.error_rate == rate
    assert found.asked_faults == (("MCLASS_FAULT_ERROR_RATE",) if rate else ())


def test_wrong_settings_end_the_service_with_exit_code_3(launch: Start) -> None:
    service = launch(MCLASS_LOG_LEVEL="loud")

    assert service.exit_code() == 3
    assert [(record["level"], record["message"]) for record in service.records] == [
        ("CRITICAL", "MCLASS_LOG_LEVEL is 'loud'; it must look like DEBUG, INFO, WARNING or ERROR")
    ]


def test_a_port_that_is_taken_ends_the_service_with_exit_code_4(launch: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        service = launch(MCLASS_PORT=port)

        assert service.exit_code() == 4
    assert (
        f"port {port}: Address already in use; free it, or choose another" in service.records[-1]["message"]
    )
