"""The guide, verbatim: its `aws` commands for logs and ECS run as written against the applied local prod."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "ko" / "guide.md"
VERBATIM = ("aws logs ", "aws ecs describe-services ", "aws ecs list-tasks ")


class Applied(Protocol):
    """Environments that stand on the local AWS."""

    def environment(self, name: str) -> Mapping[str, Any]: ...
    def shell_environment(self, name: str) -> dict[str, str]: ...


def bash_blocks(text: str) -> list[str]:
    """Return the content of every block of a Markdown text that is marked as bash."""
    return re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the commands of the bash blocks as they are written: comments and empty lines aside."""
    lines = (line.strip() for block in bash_blocks(text) for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def shell(command: str, *, variables: Mapping[str, str]) -> Any:
    """Run one command of the guide in bash, as a reader would, and return the JSON that it prints."""
    tools = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", command],
        env={**variables, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return json.loads(done.stdout)


def _log_groups(answer: Any) -> None:
    (group,) = answer["logGroups"]
    assert group["logGroupName"] == "/ecs/mclass-task"
    assert ":ap-northeast-2:222222222222:" in group["arn"]


def _log_streams(answer: Any) -> None:
    assert all(stream["logStreamName"].startswith("mclass-server/") for stream in answer["logStreams"])


def _services(answer: Any) -> None:
    assert answer["failures"] == []
    (service,) = answer["services"]
    assert service["serviceName"] == "mclass-service"
    assert service["status"] == "ACTIVE"
    assert service["clusterArn"] == "arn:aws:ecs:ap-northeast-2:222222222222:cluster/mclass-cluster"
    assert "task-definition/mclass-task:" in service["taskDefinition"]


def _tasks(answer: Any) -> None:
    assert all("task/mclass-cluster/" in arn for arn in answer["taskArns"])


ANSWERS: Mapping[str, Callable[[Any], None]] = {
    'aws logs describe-log-groups --log-group-name-prefix "/ecs/mclass-task"': _log_groups,
    'aws logs describe-log-streams --log-group-name "/ecs/mclass-task"': _log_streams,
    "aws ecs describe-services --cluster mclass-cluster --services mclass-service": _services,
    "aws ecs list-tasks --cluster mclass-cluster --service-name mclass-service": _tasks,
}
"""What each command must answer. A command that the guide changes or gains must be added here."""


def monitoring() -> list[str]:
    return [line for line in commands(GUIDE.read_text(encoding="utf-8")) if line.startswith(VERBATIM)]


def test_every_monitoring_command_of_the_guide_is_known_with_its_answer() -> None:
    assert monitoring() == list(ANSWERS)


def test_comments_and_blocks_that_are_not_bash_are_no_commands() -> None:
    text = "```bash\n# a comment\naws a\n\n```\n\n```json\naws b\n```\n\n```bash\naws c\n```\n"
    assert commands(text) == ["aws a", "aws c"]


def test_the_guides_region_is_the_environments() -> None:
    regions = set(re.findall(r"[a-z]{2}-[a-z]+-\d", GUIDE.read_text(encoding="utf-8")))
    settings = (GUIDE.parents[2] / "environments" / "prod" / "environment.toml").read_text(encoding="utf-8")
    assert regions == {"ap-northeast-2"}
    assert 'region = "ap-northeast-2"' in " ".join(settings.split())


@pytest.mark.slow
@pytest.mark.xdist_group("applied")
@pytest.mark.parametrize("command", monitoring())
def test_a_command_of_the_guide_answers_about_the_applied_prod(command: str, applied: Applied) -> None:
    answer = shell(command, variables=applied.shell_environment("prod"))
    ANSWERS[command](answer)
