"""A lack of resources is reported even if a library wraps its error, and prevents an apply from starting."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from mclass_tf.aws import Access
from mclass_tf.aws.connect import readable_errors
from mclass_tf.cli.outcome import unexpected
from mclass_tf.errors import DiskFullError, MachineError
from mclass_tf.rollout.client import no_answer_error
from mclass_tf.system import machine
from mclass_tf.terraform import messages
from tests.conditions import fill, small_disk, with_processes

TOLD = [
    (OSError(errno.ENOSPC, "No space left on device", "/a/plan"), "no space left for /a/plan"),
    (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/plan"), "no space left for /a/plan"),
    (OSError(errno.EROFS, "Read-only file system", "/a"), "/a cannot be written or read: Read-only"),
    (OSError(errno.EACCES, "Permission denied", "/a"), "/a cannot be written or read: Permission denied"),
    (OSError(errno.EMFILE, "Too many open files"), "no more files can be opened"),
    (OSError(errno.ENFILE, "Too many open files in system"), "no more files can be opened"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no further process can be started"),
    (RuntimeError("can't start new thread"), "no further thread can be started"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory left"),
    (MemoryError(), "no memory left"),
]


def endpoint(cause: OSError) -> EndpointConnectionError:
    """The error of botocore for an unreachable endpoint, whose cause is two exceptions deep."""
    try:
        try:
            raise cause
        except OSError as error:
            raise ConnectionError("no connection") from error
    except ConnectionError as error:
        found = EndpointConnectionError(endpoint_url="http://127.0.0.1:1", error=error)
        found.__context__ = error
        return found


@pytest.mark.parametrize(("error", "words"), TOLD, ids=[words for _, words in TOLD])
def test_a_shortage_ends_a_command_with_its_cause_and_no_bug(error: Exception, words: str) -> None:
    told = unexpected(error)

    assert isinstance(told, MachineError)
    assert told.exit_code == 3
    assert words in told.message
    assert "may be run again" in told.hint


def test_a_shortage_is_not_taken_for_an_endpoint_that_does_not_answer() -> None:
    error = endpoint(OSError(errno.EMFILE, "Too many open files"))

    assert isinstance(unexpected(error), MachineError)
    assert "could not be asked, no more files can be opened" in no_answer_error(error).message
    with (
        pytest.raises(MachineError, match="no more files"),
        readable_errors(Access(region="eu-west-1")),
    ):
        raise error


def test_an_endpoint_that_does_not_answer_is_told_as_such() -> None:
    error = endpoint(OSError(errno.ECONNREFUSED, "Connection refused"))

    assert machine.shortage(error) is None
    assert "AWS stopped answering" in unexpected(error).message


def test_what_is_no_matter_of_the_machine_stays_a_bug() -> None:
    assert "this is a bug" in unexpected(KeyError("x")).hint
    assert "this is a bug" in unexpected(FileNotFoundError(errno.ENOENT, "No such file", "/a")).hint


def test_a_full_disk_is_named_where_the_error_does_not_say_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        monkeypatch.setenv("MCLASS_TF_HOME", str(disk / "home"))

        told = machine.shortage(OSError(errno.ENOSPC, "No space left on device"))

    assert isinstance(told, DiskFullError)
    assert f"on the disk of {disk}" in told.message


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("write plan.tfplan: no space left on device", "free some space"),
        ("open plan.tfplan: too many open files", "ulimit -n"),
        ("fork/exec provider: resource temporarily unavailable", "ulimit -u"),
        ("runtime: failed to create new OS thread (have 2 already; errno=11)", "ulimit -u"),
        ("mkdir .terraform: read-only file system", "MCLASS_TF_HOME"),
        ("StatusCode: 403, api error RequestTimeTooSkewed: The difference", "set this machine's clock"),
    ],
)
def test_what_terraform_runs_short_of_gets_a_next_step(said: str, step: str) -> None:
    error = messages.failure(command="plan", status=1, reported=(), stderr=said, environment="dev")

    assert step in error.hint


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
        ("SignatureDoesNotMatch", "Signature expired: 20261123T010203Z is now earlier than 20261123T011203Z"),
        ("InvalidSignatureException", "Signature not yet current: 20261123T010203Z is still later than"),
    ],
)
def test_a_clock_that_is_off_is_named_as_the_cause(code: str, message: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")

    told = unexpected(error)

    assert told.exit_code == 3
    assert "this machine's clock says 2" in told.hint


def test_a_machine_that_has_room_is_let_through(tmp_path: Path) -> None:
    machine.require_room(tmp_path)


def test_an_apply_on_a_full_disk_is_not_begun(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        with pytest.raises(DiskFullError, match="nothing was applied"):
            machine.require_room(disk)


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


@pytest.mark.parametrize("limit", ["descriptors", "threads"])
def test_an_apply_with_too_few_descriptors_or_threads_is_not_begun(limit: str, tmp_path: Path) -> None:
    code = "import sys, pathlib; from mclass_tf.system import machine; machine.require_room(pathlib.Path(sys.argv[1]))"
    argv = [sys.executable, "-c", code, str(tmp_path)]
    before: Callable[[], None] | None = few_descriptors
    if limit == "threads":
        argv, before = with_processes(20, argv), None
    done = subprocess.run(
        argv, env=dict(os.environ), preexec_fn=before, capture_output=True, text=True, check=False
    )

    assert "MachineError" in done.stderr
    assert "nothing was applied" in done.stderr
