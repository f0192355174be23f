"""The working folders: who may work in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mclass_tf.errors import BusyError
from mclass_tf.workspace import Workspace


def opened(project: Path, environment: str) -> Workspace:
    return Workspace.open(project, home=project / "home", target="aws", environment=environment)


def test_one_command_at_a_time_works_on_an_environment(tmp_path: Path) -> None:
    with opened(tmp_path, "dev").locked():
        with (
            pytest.raises(BusyError, match="another command works on dev") as caught,
            opened(tmp_path, "dev").locked(),
        ):
            pass
        assert caught.value.exit_code == 4

        with opened(tmp_path, "prod").locked():
            pass

    with opened(tmp_path, "dev").locked():
        pass


def test_a_command_that_failed_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), opened(tmp_path, "dev").locked():
        raise KeyError

    with opened(tmp_path, "dev").locked():
        pass


def test_only_the_owner_may_look_into_the_folders(tmp_path: Path) -> None:
    work = opened(tmp_path, "dev")

    for folder in (work.directory, work.directory.parent, work.plan_file.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
