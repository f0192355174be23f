"""What is in the user's shell and files: odd paths, folders of others, settings that are not for this command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mclass_tf.cli import shell
from mclass_tf.errors import ConfigurationError
from mclass_tf.gates.approval import policy_digest
from mclass_tf.session import Project
from mclass_tf.system import process
from mclass_tf.system.private import is_private, make_private, temporary_files_in
from mclass_tf.terraform import Terraform
from mclass_tf.terraform.engine import Engine

ROOT = Path(__file__).parents[2]
ODD = [
    pytest.param("axis=value", id="equals"),
    pytest.param(os.fsdecode(b"caf\xe9"), id="not UTF-8"),
    pytest.param("two words ${x} \"'%s", id="quoting"),
]


def project(folder: Path) -> Path:
    for name in ("terraform", "environments/dev"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ODD)
def test_terraform_reads_the_settings_of_the_backend_wherever_the_project_lies(
    tmp_path: Path, name: str
) -> None:
    folder = project(tmp_path / name)
    (folder / "terraform/main.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    backend = folder / "environments/dev/backend.hcl"
    backend.write_text('path = "here.tfstate"\n')
    terraform = Terraform(
        engine=Engine(argv=(shutil.which("terraform") or "terraform",), version="1"),
        root=folder / "terraform",
        env={"PATH": os.environ["PATH"], "TF_DATA_DIR": str(folder / "data"), "CHECKPOINT_DISABLE": "1"},
        environment="dev",
        run=process.run,
        progress=lambda _line: None,
        run_folder=None,
    )
    with process.interruptible():
        terraform.init(backend_config=backend)
    assert "here.tfstate" in (folder / "data/terraform.tfstate").read_text()


def python(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mclass_tf", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def in_a_folder_that_is_gone(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    (tmp_path / "gone").mkdir()
    return subprocess.run(
        [
            *("/bin/sh", "-c", script, "sh", str(tmp_path / "gone")),
            *(sys.executable, "-m", "mclass_tf", *arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MCLASS_TF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_a_folder_that_is_gone_a_command_says_so_and_what_to_do(tmp_path: Path) -> None:
    done = in_a_folder_that_is_gone(tmp_path, "plan", "dev")
    assert done.returncode == 3
    assert done.stderr == (
        "error: the working directory is gone\n  next: change into the project, or name it: --project FOLDER\n"
    )


def test_a_command_that_is_told_the_project_needs_no_working_directory(tmp_path: Path) -> None:
    done = in_a_folder_that_is_gone(tmp_path, "--project", str(ROOT), "local", "status")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_module_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    for name in ("argparse", "tempfile", "boto3", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of somebody else')\n")
    done = python("--help", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


def test_a_home_folder_that_others_may_write_to_is_taken_from_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    found = Project.find({"MCLASS_TF_HOME": str(home)}, project(tmp_path / "project"))
    assert found.home == home
    assert home.stat().st_mode & 0o777 == 0o755


def test_a_home_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path / "project")
    theirs = SimpleNamespace(st_uid=os.geteuid() + 1, st_mode=0o40755)
    real = Path.stat

    def stat(path: Path, **options: bool) -> object:
        return theirs if path.name == "home" else real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(ConfigurationError, match="other users may write to the folder") as refused:
        Project.find({"MCLASS_TF_HOME": str(tmp_path / "home")}, folder)
    assert "MCLASS_TF_HOME" in refused.value.hint


def test_what_others_may_write_to_and_a_link_are_not_private(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    assert not is_private(folder)
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    assert not is_private(tmp_path / "link")
    assert not is_private(tmp_path / "none")


@pytest.mark.parametrize("kind", ["shared", "missing parent"])
def test_where_no_folder_can_be_private_temporary_files_are_in_one_of_their_own(
    tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / ("none/folder" if kind == "missing parent" else "shared")
    if kind == "shared":
        folder.mkdir()
        folder.chmod(0o777)
    before = tempfile.gettempdir()
    with temporary_files_in(folder):
        used = Path(tempfile.gettempdir())
        assert is_private(used)
        assert used not in {folder, Path(before)}
    assert tempfile.gettempdir() == before
    assert not used.exists()


def test_the_digest_of_the_policy_takes_any_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    before = policy_digest(tmp_path)
    (tmp_path / "policy" / os.fsdecode(b"caf\xe9")).write_text("x")
    assert policy_digest(tmp_path) != before


@pytest.mark.parametrize(
    "word", ["plain", "two words", "it's", "$HOME \\ `x`", os.fsdecode(b"caf\xe9's 7\n"), "안녕"]
)
def test_what_is_printed_for_a_shell_is_what_the_shell_reads(word: str) -> None:
    program = f"printf %s {shell.quote(word)}".encode()  # as it is printed: no byte is none of UTF-8
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash], input=program, capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)
