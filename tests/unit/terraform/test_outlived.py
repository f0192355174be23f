"""An apply that outlived its command: what the next command reports, and how it handles the plan and the state."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf import environment
from mclass_tf.aws import Access
from mclass_tf.cloud import Cloud
from mclass_tf.errors import StateNotStoredError, StillRunningError
from mclass_tf.session import Project, Session
from mclass_tf.system.runs import members
from mclass_tf.terraform import Engine
from mclass_tf.terraform.provider import end_left_behind
from mclass_tf.workspace import Workspace, approval_of
from tests.flows.conftest import write_project
from tests.flows.killed import until

# A fake Terraform: an apply runs until its root has a file `go`, whose content says how it ends.
TERRAFORM = """#!{python}
import json, os, pathlib, sys, time
root, command = pathlib.Path.cwd(), sys.argv[1]
if command == "apply":
    print(json.dumps({{"type": "apply_start", "@message": "aws_vpc.this: Creating..."}}), flush=True)
    while not (root / "go").exists():
        time.sleep(0.01)
    how = (root / "go").read_text()
    if how == "well":
        message = "Apply complete! Resources: 3 added, 0 changed, 0 destroyed."
        print(json.dumps({{"type": "change_summary", "@message": message, "changes": {{"operation": "apply"}}}}))
    if how == "refused":
        (root / "errored.tfstate").write_text(json.dumps({{"version": 4, "lineage": "ours", "serial": 7}}))
        diagnostic = {{"severity": "error", "summary": "Failed to save state"}}
        print(json.dumps({{"type": "diagnostic", "@message": "", "diagnostic": diagnostic}}))
        sys.exit(1)
    if how == "printed":
        state = {{"version": 4, "lineage": "", "serial": 7}}
        print(json.dumps({{"type": "state_dump", "@message": "Emergency state dump", "state": state}}))
        sys.exit(1)
    if how == "killed":
        os.kill(os.getpid(), 9)
if command == "state":
    if (root / "down").exists():
        sys.exit("no bucket")
    (root / "pushed").write_text(pathlib.Path(sys.argv[-1]).read_text())
"""
COMMAND = """
import sys
from pathlib import Path
from tests.unit.terraform.test_outlived import opened
session = opened(Path(sys.argv[1]), report=lambda line: print(line, flush=True))
with session.locked_workspace():
    session.terraform().apply(plan_file=session.workspace.plan_file)
"""


class NoSuchKeyError(Exception):
    pass


def fake_s3(document: dict[str, Any] | None) -> Any:
    """A bucket with a state, or without one."""

    def get_object(*, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if document is None or Key.endswith(".tflock"):
            raise NoSuchKeyError
        return {"Body": io.BytesIO(json.dumps(document).encode())}

    errors = SimpleNamespace(
        NoSuchKey=NoSuchKeyError, NoSuchBucket=type("NoSuchBucket", (Exception,), {}), ClientError=ClientError
    )
    return SimpleNamespace(get_object=get_object, exceptions=errors)


def opened(folder: Path, *, report: Any, applied: int = 0) -> Session:
    """Open dev of the project in `folder`, with a bucket whose state has the serial `applied`."""
    project = Project(folder=folder, home=folder / "home")
    project.home.mkdir(exist_ok=True)
    state = {"version": 4, "lineage": "ours", "serial": applied} if applied else None
    access = Access(region="ap-northeast-2", access_key_id="test", secret_access_key="test")
    s3 = fake_s3(state)
    aws: Any = SimpleNamespace(s3=s3, s3_in=lambda _region: s3, access=access)
    engine = Engine(argv=(str(folder / "terraform.py"),), version="1.11.4")
    return Session(
        project=project,
        environment=environment.load(folder, "dev"),
        cloud=Cloud(kind="aws", identity="aws", endpoint_url=None),
        aws=aws,
        workspace=Workspace.open(folder, home=project.home / "work", target="aws", environment="dev"),
        engine=lambda: engine,
        env=dict(os.environ),
        report=report,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path)
    program = tmp_path / "terraform.py"
    program.write_text(TERRAFORM.format(python=sys.executable))
    program.chmod(0o700)
    return tmp_path


def save_plan(session: Session, *, serial: int = 1) -> None:
    """Leave a plan with its approval, as `plan` does."""
    with zipfile.ZipFile(session.workspace.plan_file, "w") as archive:
        archive.writestr("tfstate", json.dumps({"lineage": "ours", "serial": serial}))
    approval_of(session.workspace.plan_file).write_text("{}")


@pytest.fixture(params=["refused", "printed"])
def unstored(request: pytest.FixtureRequest) -> str:
    """How Terraform ends if the backend refuses the state: it leaves the state in a file, or else prints it."""
    return str(request.param)


@contextmanager
def killed(project: Path, said: list[str]) -> Iterator[Session]:
    """Yield the session of the next command, while the apply of a killed one is running."""
    session = opened(project, report=said.append, applied=5)
    save_plan(session)
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(project)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "aws_vpc.this: Creating...\n"
        command.kill()
    try:
        yield session
    finally:
        ends(session, "well")


def ends(session: Session, how: str) -> None:
    """Let Terraform end, and wait for it."""
    go = session.workspace.root / "go"
    draft = go.with_suffix(".new")
    draft.write_text(how)
    draft.replace(go)
    until(lambda: not is_running(session), "Terraform ends")


def is_running(session: Session) -> bool:
    run = session.workspace.run_folder.left()
    return run is not None and run.is_running


def test_while_it_runs_the_next_command_names_its_process_and_changes_nothing(project: Path) -> None:
    said: list[str] = []
    with killed(project, said) as session:
        with pytest.raises(StillRunningError) as caught:
            session.settle(waits=True)
        with pytest.raises(StillRunningError), session.locked_workspace():
            pass
        session.settle(waits=False)  # a command that only reads is not stopped

        error = caught.value
        assert error.exit_code == 4
        assert "terraform apply of dev has outlived its command and is still running" in error.message
        assert f"process {error.pid}, since 20" in error.message
        assert f"kill -INT {error.pid}" in error.hint
        assert len(said) == 1
        assert error.message in said[0]
        assert session.workspace.plan_file.exists()
        os.kill(error.pid, 0)


def test_the_wait_command_in_the_hint_ends_with_the_process(project: Path) -> None:
    with killed(project, []) as session:
        with pytest.raises(StillRunningError) as caught:
            session.settle(waits=True)
        waiting = caught.value.hint.split("`")[1]
        with subprocess.Popen(["sh", "-c", waiting], stderr=subprocess.DEVNULL) as shell:
            ends(session, "well")
            assert shell.wait(60) == 0


def test_after_a_successful_end_it_is_reported_once_and_its_plan_is_removed(project: Path) -> None:
    said: list[str] = []
    with killed(project, said) as session:
        ends(session, "well")

        session.settle(waits=True)
        session.settle(waits=True)

    (told,) = said
    assert "the command that applied dev" in told
    assert "Apply complete! Resources: 3 added" in told
    assert "the state has serial 5 and is not locked" in told
    assert not session.workspace.plan_file.exists()
    assert not approval_of(session.workspace.plan_file).exists()
    assert session.workspace.run_folder.left() is None


def test_a_killed_terraform_is_not_reported_as_ended(project: Path) -> None:
    said: list[str] = []
    with killed(project, said) as session:
        ends(session, "killed")

        session.settle(waits=True)

    (told,) = said
    assert "and so was Terraform in the middle of its work" in told
    assert "Apply complete" not in told


def test_a_state_that_the_backend_refused_is_kept_and_written_by_the_next_command(
    project: Path, unstored: str
) -> None:
    said: list[str] = []
    with killed(project, said) as session:
        ends(session, unstored)
        (session.workspace.root / "down").touch()

        session.settle(waits=True)
        with session.locked_workspace(), pytest.raises(StateNotStoredError) as caught:
            session.restore_state()
        assert str(session.workspace.rescued_state) in said[1]
        assert "no bucket" in caught.value.message
        assert json.loads(session.workspace.rescued_state.read_text())["serial"] == 7
        assert session.workspace.rescued_state.stat().st_mode & 0o777 == 0o600

        (session.workspace.root / "down").unlink()
        with session.locked_workspace():
            session.restore_state()

    assert json.loads((session.workspace.root / "pushed").read_text())["serial"] == 7
    assert not session.workspace.rescued_state.exists()


def test_a_state_of_another_lineage_stays_for_its_own_environment(project: Path) -> None:
    session = opened(project, report=lambda _: None, applied=5)
    left = session.workspace.root / "errored.tfstate"
    left.write_text(json.dumps({"version": 4, "lineage": "theirs", "serial": 7}))

    assert session.rescue_state("ours", 5) is None
    assert left.exists()
    assert session.rescue_state("theirs", 5) == session.workspace.rescued_state


def test_a_plan_that_outlived_its_command_is_removed_without_a_report(project: Path) -> None:
    said: list[str] = []
    session = opened(project, report=said.append)
    session.workspace.plan_file.touch()  # which no gate has judged
    with session.workspace.run_folder.opened("plan"):
        pass

    session.settle(waits=True)

    assert said == []
    assert not session.workspace.plan_file.exists()


def test_the_run_of_a_live_command_is_left_alone(project: Path) -> None:
    said: list[str] = []
    session = opened(project, report=said.append)
    with session.locked_workspace():
        with session.workspace.run_folder.opened("apply"):
            opened(project, report=said.append).settle(waits=True)
        opened(project, report=said.append).settle(waits=True)
    assert said == []

    assert session.workspace.run_folder.left() is None


def test_only_the_providers_of_a_killed_terraform_are_killed(tmp_path: Path) -> None:
    provider = tmp_path / "terraform-provider-aws_v5"
    provider.write_text("#!/bin/sh\nsleep 600\n")
    provider.chmod(0o700)
    code = f"{provider} & sleep 601 & echo $! && kill -9 $$"
    with subprocess.Popen(
        ["sh", "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as terraform:
        assert terraform.stdout is not None
        other = int(terraform.stdout.readline())
        terraform.wait()
        try:
            end_left_behind(group=terraform.pid)

            until(lambda: str(provider) not in str(members(terraform.pid)), "the end of the provider")
            os.kill(other, 0)
        finally:
            os.killpg(terraform.pid, signal.SIGKILL)
