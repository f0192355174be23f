"""Plan, judge, apply and destroy the small project, and the errors if something is in the way."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from mclass_tf.workspace import approval_of
from tests.commands import ROOT, CommandLine, CommandResult, run_interrupted
from tests.flows.conftest import write_project
from tests.time_limits import seconds_left

pytestmark = pytest.mark.slow

IMAGE = "sha256:" + "a" * 64


def change(commands: CommandLine, file: str, old: str, new: str) -> None:
    path = commands.project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def client(commands: CommandLine, service: Any) -> Any:
    env = commands.shell_environment("dev")
    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=env["AWS_SESSION_TOKEN"],
        verify=False,
    )


def is_locked(commands: CommandLine) -> bool:
    found = client(commands, "s3").list_objects_v2(Bucket="small-tfstate-111111111111")
    return any(each["Key"].endswith(".tflock") for each in found.get("Contents", []))


def test_an_environment_is_planned_applied_planned_again_and_destroyed(small: CommandLine) -> None:
    planned = small.ok("plan", "dev", "--local", "--json").document
    assert planned["has_changes"]
    assert planned["approved"]
    assert planned["summary"]["create"] == 1
    assert planned["gates"][0]["passed"]
    assert Path(planned["plan"]).stat().st_mode & 0o077 == 0

    applied = small.ok("apply", "dev", "--local", "--json").document
    assert applied["changed"]
    assert applied["outputs"]["role_name"] == "small-task"
    assert small.ok("output", "dev", "session_seconds", "--local").stdout == "3600\n"
    assert not Path(planned["plan"]).exists(), "an applied plan holds secrets and is of no more use"

    again = small.ok("plan", "dev", "--local", "--json").document
    assert not again["has_changes"]
    assert again["state"]["serial"] > planned["state"]["serial"]
    assert "no changes" in small.ok("apply", "dev", "--local").stdout

    change(small, "terraform/main.tf", '"aws_iam_role" "this"', '"aws_iam_role" "moved"')
    main, block = small.project / "terraform/main.tf", small.project / "terraform/moved.tf"
    main.write_text(main.read_text().replace("aws_iam_role.this", "aws_iam_role.moved"))
    block.write_text("moved {\n  from = aws_iam_role.this\n  to   = aws_iam_role.moved\n}\n")
    planned = small.ok("plan", "dev", "--local", "--json").document
    assert planned["has_changes"]
    assert [(each["address"], each["moved_from"]) for each in planned["resources"]] == [
        ("aws_iam_role.moved", "aws_iam_role.this")
    ]
    assert small.ok("apply", "dev", "--local", "--json").document["changed"]

    block.unlink()  # were the state not changed, the role would be made anew
    change(small, "terraform/main.tf", "3600", "7200")
    text = small.ok("plan", "dev", "--local").stdout
    assert "~ aws_iam_role.moved: update in place" in text
    assert "max_session_duration: 3600 → 7200" in text
    assert "1 to update in place." in text

    change(small, "terraform/main.tf", "small-task", "smaller-task")
    text = small.ok("plan", "dev", "--local").stdout
    assert 'name: "small-task" → "smaller-task"  ← forces replacement' in text

    assert small.ok("destroy", "dev", "--local", "--yes", "--json").document["destroyed"]
    gone = small.run("output", "dev", "--local")
    assert gone.status == 3
    assert "nothing is applied in dev" in gone.stderr


def test_the_image_in_force_stays_until_another_is_released(small: CommandLine) -> None:
    small.ok("plan", "dev", "--local", "--image", IMAGE)
    small.ok("apply", "dev", "--local")

    assert not small.ok("plan", "dev", "--local", "--json").document["has_changes"]
    assert small.ok("output", "dev", "image_digest", "--local").stdout == f"{IMAGE}\n"


def test_an_experiment_that_was_planned_and_taken_back_is_not_applied(
    small: CommandLine, tmp_path: Path
) -> None:
    variables = "environments/dev/terraform.tfvars"
    change(small, variables, 'environment = "dev"', 'environment = "dev"\nsession_seconds = 7200')
    small.ok("plan", "dev", "--local", "--image", IMAGE, "--out", str(tmp_path / "tried.tfplan"))
    change(small, variables, "7200", "5400")

    unasked = small.run("apply", "dev", "--local")
    given = small.run("apply", "dev", "--local", "--yes", "--plan", str(tmp_path / "tried.tfplan"))
    approved = small.ok("apply", "dev", "--local", "--yes", "--json")

    for refused in (unasked, given):
        assert refused.status == 5
        assert f"{variables} has changed" in refused.stderr
    assert f"{variables} has changed" in approved.stderr
    outputs = approved.document["outputs"]
    assert (outputs["session_seconds"], outputs["image_digest"]) == (5400, IMAGE)


def test_environments_are_planned_and_applied_side_by_side_and_apart(small: CommandLine) -> None:
    planned = small.ok("plan", "--all", "--local", "--json").document
    assert list(planned["environments"]) == ["dev", "prod"]
    assert planned["has_changes"]

    small.ok("apply", "--all", "--local")
    small.ok("destroy", "dev", "--local", "--yes")

    assert small.run("output", "dev", "--local").status == 3
    assert small.ok("output", "prod", "session_seconds", "--local").stdout == "3600\n"


def test_a_failure_in_one_environment_leaves_the_other_alone(small: CommandLine) -> None:
    change(small, "environments/prod/terraform.tfvars", '"prod"', '"prod"\nsession_seconds = 1')

    done = small.run("plan", "--all", "--local", "--json")

    assert done.status == 4
    assert done.document["environments"]["dev"]["approved"]
    assert done.document["environments"]["prod"]["error"]["exit_code"] == 4


def test_plan_alone_asks_nothing_and_apply_alone_asks_first(small: CommandLine) -> None:
    done = small.run("apply", "dev", "--local")

    assert done.status == 2
    assert "--yes" in done.stderr
    assert small.ok("apply", "dev", "--local", "--yes", "--json").document["changed"]


def test_a_plan_that_another_command_saves_while_the_question_is_open_is_not_applied(
    small: CommandLine,
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        small.argv("apply", "dev", "--local"),
        env=small.variables(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        os.close(theirs)
        try:
            said = b""
            while b"[y/N]" not in said:
                said += os.read(running.stderr.fileno(), 4096) if running.stderr else b""
            change(small, "terraform/main.tf", "3600", "7200")
            small.ok("plan", "dev", "--local")
            os.write(ours, b"y\n")
            _, stderr = running.communicate(timeout=seconds_left())
        finally:
            running.kill()
            os.close(ours)

    assert running.returncode == 5, stderr
    assert b"not the one that was shown" in stderr
    assert small.run("output", "dev", "--local").status == 3, "nothing was applied"


def test_who_said_no_is_asked_again(small: CommandLine) -> None:
    for _ in range(2):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, b"n\n")
            done = subprocess.run(
                small.argv("apply", "dev", "--local"),
                env=small.variables(),
                stdin=theirs,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)

        assert done.returncode == 5, done.stderr
        assert "[y/N]" in done.stderr


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    """A plan of dev for tests of refused plans: they apply nothing, and revert their changes."""
    folder = tmp_path_factory.mktemp("planned")
    commands = CommandLine(project=write_project(folder), home=folder / "home")
    commands.ok("local", "up", "--port", "0")
    try:
        commands.ok("plan", "dev", "--local", "--out", str(folder / "dev.tfplan"))
        yield Planned(commands, folder / "dev.tfplan")
    finally:
        commands.ok("local", "down")


@dataclass(frozen=True)
class Planned:
    commands: CommandLine
    file: Path

    def copied(self, folder: Path, *, with_approval: bool = True) -> Path:
        """Return a copy of the plan, for a test to alter."""
        copy = folder / self.file.name
        shutil.copy(self.file, copy)
        if with_approval:
            shutil.copy(approval_of(self.file), approval_of(copy))
        return copy

    def refused(self, name: str, file: Path) -> CommandResult:
        """Apply a plan, which must be refused with nothing applied."""
        done = self.commands.run("apply", name, "--local", "--plan", str(file))
        assert done.status == 5, done.stderr
        assert self.commands.run("output", name, "--local").status == 3
        return done


@pytest.mark.xdist_group("planned")
def test_a_plan_made_for_another_state_is_refused(planned: Planned) -> None:
    settings = planned.commands.project / "environments" / "dev" / "backend.hcl"
    before = settings.read_text()
    settings.write_text(before.replace("small.tfstate", "moved.tfstate"))
    try:
        done = planned.refused("dev", planned.file)
    finally:
        settings.write_text(before)

    assert "small.tfstate" in done.stderr
    assert "moved.tfstate" in done.stderr


@pytest.mark.xdist_group("planned")
def test_an_altered_plan_is_refused_and_nothing_is_applied(planned: Planned, tmp_path: Path) -> None:
    copy = planned.copied(tmp_path)
    (own,) = planned.commands.home.rglob("plan.tfplan")
    before = own.read_bytes()
    for file in (own, copy):
        with file.open("ab") as stream:
            stream.write(b"\0")
    try:
        done = planned.commands.run("apply", "dev", "--local")
    finally:
        own.write_bytes(before)

    assert done.status == 5
    assert "not the one that the gates approved" in done.stderr
    assert "not the one that the gates approved" in planned.refused("dev", copy).stderr


def test_a_stale_plan_is_refused(small: CommandLine, tmp_path: Path) -> None:
    small.ok("plan", "dev", "--local", "--out", str(tmp_path / "first.tfplan"))
    small.ok("apply", "dev", "--local")

    done = small.run("apply", "dev", "--local", "--plan", str(tmp_path / "first.tfplan"))

    assert done.status == 5
    assert "stale" in done.stderr
    assert "plan dev" in done.stderr


def test_a_plan_is_found_from_where_the_user_stands_applied_and_left_where_it_is(
    small: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)

    small.ok("plan", "dev", "--local", "--out", "here.tfplan")

    assert small.ok("apply", "dev", "--local", "--json", "--plan", "here.tfplan").document["changed"]
    assert (tmp_path / "here.tfplan").is_file()
    assert not list(small.home.rglob("given.tfplan*"))


@pytest.mark.xdist_group("planned")
def test_a_plan_of_another_environment_is_refused(planned: Planned) -> None:
    assert "dev" in planned.refused("prod", planned.file).stderr


@pytest.mark.xdist_group("planned")
def test_a_plan_that_no_gate_has_approved_is_refused(planned: Planned, tmp_path: Path) -> None:
    bare = planned.copied(tmp_path, with_approval=False)

    assert "approv" in planned.refused("dev", bare).stderr


def test_a_gate_that_says_no_tells_each_finding_with_its_fix_also_as_sarif_and_leaves_no_plan(
    small: CommandLine, tmp_path: Path
) -> None:
    small.ok("plan", "dev", "--local")
    change(small, "terraform/main.tf", 'Service = "ecs-tasks.amazonaws.com"', 'AWS = "*"')

    done = small.run("plan", "dev", "--local", "--json", "--sarif", str(tmp_path / "findings.sarif"))

    assert done.status == 5
    assert not done.document["approved"]
    assert done.document["plan"] is None
    findings = done.document["gates"][0]["failed"]
    assert [finding["check"] for finding in findings] == ["CKV_AWS_60"]
    assert all(finding["fix"] for finding in findings)
    assert small.run("apply", "dev", "--local").status == 2, (
        "no plan is left that could be applied without asking"
    )
    sarif = json.loads((tmp_path / "findings.sarif").read_text())
    assert sarif["version"] == "2.1.0"
    assert sarif["runs"][0]["results"][0]["ruleId"] == "CKV_AWS_60"


def test_a_locked_state_is_reported_with_its_holder_and_time_and_unlock_frees_it(small: CommandLine) -> None:
    small.ok("plan", "dev", "--local")
    lock = {
        "ID": "5b1c7a52-8f4b-4c1f-9d5e-3b5f4d8f5a11",
        "Operation": "OperationTypeApply",
        "Who": "kim@laptop",
        "Version": "1.11.4",
        "Created": "2026-11-23T01:02:03.4Z",
        "Path": "small-tfstate-111111111111/small.tfstate",
    }
    client(small, "s3").put_object(
        Bucket="small-tfstate-111111111111", Key="small.tfstate.tflock", Body=json.dumps(lock).encode()
    )
    assert is_locked(small)

    done = small.run("apply", "dev", "--local")

    assert done.status == 4
    assert "kim@laptop" in done.stderr
    assert "2026-11-23" in done.stderr
    assert f"unlock dev {lock['ID']}" in done.stderr
    small.ok("unlock", "dev", lock["ID"], "--local", "--yes")
    small.ok("apply", "dev", "--local")


def test_an_interrupt_in_mid_apply_stops_in_order(small: CommandLine) -> None:
    change(
        small,
        "terraform/main.tf",
        'output "role_name"',
        'resource "terraform_data" "slow" {\n'
        "  depends_on = [aws_iam_role.this]\n"
        '  provisioner "local-exec" { command = "sleep 600" }\n'
        "}\n\n"
        'output "role_name"',
    )
    small.ok("plan", "dev", "--local")
    stopped = run_interrupted(small, "apply", "dev", "--local", "--json", at="terraform_data.slow: Creating")

    assert stopped.status == 130
    assert stopped.document["error"]["exit_code"] == 130
    assert "Two interrupts" not in stopped.stderr
    names = small.ok("output", "dev", "--local", "--json").document
    assert names["role_name"] == "small-task", "what was made before the interrupt is in the state"
    assert not is_locked(small)


def test_an_apply_continues_when_nobody_reads_its_progress(small: CommandLine, tmp_path: Path) -> None:
    small.ok("plan", "dev", "--local")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        argv = small.argv("apply", "dev", "--local")
        done = subprocess.run(argv, env=small.variables(), stdout=writing, stderr=writing, check=False)
    finally:
        os.close(writing)

    assert done.returncode == 0
    assert small.ok("output", "dev", "role_name", "--local").stdout == "small-task\n"
    assert not is_locked(small)


def test_a_terraform_error_names_file_and_line(small: CommandLine) -> None:
    change(small, "terraform/main.tf", "max_session_duration", "max_session_durration")

    done = small.run("plan", "dev", "--local")

    assert done.status == 4
    assert "main.tf:15" in done.stderr
    assert "max_session_durration" in done.stderr


def test_malformed_variables_are_reported_by_terraform_too(small: CommandLine) -> None:
    change(small, "environments/dev/terraform.tfvars", '"dev"', '"dev"\nsession_seconds = "many"')

    done = small.run("plan", "dev", "--local")

    assert done.status == 4
    assert "max_session_duration" in done.stderr


def test_credentials_of_another_account_are_refused_before_anything_runs(small: CommandLine) -> None:
    up = small.ok("local", "status", "--json").document
    other = CommandLine(project=small.project, home=small.home.parent / "other")
    key = small.local_aws().key

    done = other.run(
        *("plan", "prod"),
        AWS_ENDPOINT_URL=up["url"],
        AWS_ACCESS_KEY_ID=key.access_key_id,
        AWS_SECRET_ACCESS_KEY=key.secret_access_key,
        AWS_EC2_METADATA_DISABLED="true",
    )

    assert done.status == 3
    assert "222222222222" in done.stderr
    assert "123456789012" in done.stderr
    assert "planning" not in done.stderr


def test_the_provider_refuses_another_account_too(small: CommandLine) -> None:
    env = small.shell_environment("dev") | {"TF_VAR_account_id": "222222222222"}
    root = small.project / "terraform"
    subprocess.run(["terraform", "init", "-no-color"], cwd=root, env=env, check=True, capture_output=True)

    done = subprocess.run(
        ["terraform", "plan", "-no-color"], cwd=root, env=env, check=False, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "AWS account ID not allowed" in done.stderr


def test_a_missing_state_bucket_is_reported_with_the_command_that_creates_it(small: CommandLine) -> None:
    env = small.shell_environment("dev")
    up = small.ok("local", "status", "--json").document
    client(small, "s3").delete_bucket(Bucket="small-tfstate-111111111111")
    other = CommandLine(project=small.project, home=small.home.parent / "other")
    aws = {key: value for key, value in env.items() if key.startswith("AWS_")}
    assert aws["AWS_ENDPOINT_URL"] == up["url"]

    done = other.run("plan", "dev", **aws)

    assert done.status == 3
    assert "small-tfstate-111111111111 does not exist" in done.stderr
    assert "bootstrap dev" in done.stderr
    assert "created" in other.ok("bootstrap", "dev", **aws).stdout
    assert "as it must be" in other.ok("bootstrap", "dev", **aws).stdout
    other.ok("plan", "dev", **aws)


def test_the_plan_of_a_local_aws_that_is_gone_is_made_anew_by_who_may_apply_it_unasked(
    small: CommandLine,
) -> None:
    small.ok("plan", "dev", "--local")
    os.kill(small.ok("local", "status", "--json").document["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while small.ok("local", "status", "--json").document["up"]:
        assert time.monotonic() < deadline

    output = small.run("output", "dev", "--local")  # starts a new one
    apply = small.run("apply", "dev", "--local")

    assert output.status == 3
    assert "a restarted local AWS is empty" in output.stderr
    assert apply.status == 5
    assert "plan dev" in apply.stderr
    applied = small.ok("apply", "dev", "--local", "--yes")
    assert "making a new plan" in applied.stderr
    assert "dev is applied" in applied.stdout


def test_plain_terraform_works_as_the_guide_writes_it(small: CommandLine) -> None:
    env = small.shell_environment("dev")
    root = small.project / "terraform"
    for command in (["init"], ["plan"], ["apply", "-auto-approve"], ["plan", "-detailed-exitcode"]):
        done = subprocess.run(
            ["terraform", *command], cwd=root, env=env, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    assert not small.ok("plan", "dev", "--local", "--json").document["has_changes"]
