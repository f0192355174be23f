"""The image of a promotion is copied while Terraform plans. Nothing is applied without it, and any failure stops the copy."""

from __future__ import annotations

import datetime as dt
import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import image
from mclass_tf.errors import CorruptedImageError, GateRefusedError, InterruptedByUserError
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.proof import ProvenImage
from mclass_tf.flows.release import ReleaseRequest
from mclass_tf.ledger import Origin
from mclass_tf.session import Session
from mclass_tf.workspace import Workspace, approval_of
from tests.unit.fake_service import DIGEST

# The package has functions of the same names.
promoting: Any = importlib.import_module("mclass_tf.flows.promote")
releasing: Any = importlib.import_module("mclass_tf.flows.release")
PATIENCE = 60.0
FOUND = ProvenImage(
    digest=DIGEST, revision="abc", tags=("v1",), origin=Origin(environment="dev", record="s3://…")
)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    workspace = Workspace.open(tmp_path, home=tmp_path / "work", target="local", environment="prod")
    made = SimpleNamespace(
        environment=SimpleNamespace(name="prod"),
        project=SimpleNamespace(home=tmp_path),
        report=lambda _: None,
        workspace=workspace,
    )
    return cast("Session", made)


@pytest.fixture
def deployer(session: Session, monkeypatch: pytest.MonkeyPatch) -> Deployer:
    monkeypatch.setattr(promoting, "_registry", lambda _: None)
    return cast("Deployer", SimpleNamespace(session=session))


def test_the_plan_does_not_wait_for_the_copy(deployer: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = threading.Event()

    def copy(*_: object, **__: object) -> image.CopyResult:
        assert planned.wait(PATIENCE)
        return image.CopyResult(digest=DIGEST, tags=("v1",), sent=7, changed=True)

    monkeypatch.setattr(promoting.image, "copy", copy)
    with promoting._copying(deployer, deployer, FOUND) as copied:
        planned.set()
        assert copied.result().sent == 7


def test_a_plan_that_fails_ends_the_copy_before_its_next_blob(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, ends = threading.Event(), []

    def copy(*_: object, before_blob: Callable[[], None], **__: object) -> image.CopyResult:
        before_blob()
        assert failed.wait(PATIENCE)
        while True:
            try:
                before_blob()
            except InterruptedByUserError as error:
                ends.append(error)
                raise

    monkeypatch.setattr(promoting.image, "copy", copy)

    def plan() -> None:
        with promoting._copying(deployer, deployer, FOUND):
            failed.set()
            raise GateRefusedError("no", hint="mend it")

    with pytest.raises(GateRefusedError, match="no"):
        plan()
    assert len(ends) == 1


@pytest.mark.parametrize("failure", [CorruptedImageError("damaged", hint="again"), KeyboardInterrupt()])
def test_a_plan_whose_image_did_not_arrive_is_forgotten(
    session: Session, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    file = session.workspace.plan_file
    for path in (file, approval_of(file)):
        path.write_text("approved")
    saved = SimpleNamespace(sha256="0" * 64, serial=7)
    decision = SimpleNamespace(verdicts=(), require=lambda: None)
    monkeypatch.setattr(
        releasing, "plan_locked", lambda _, *, image: SimpleNamespace(saved=saved, decision=decision)
    )
    attempt = Attempt(record="", digest=DIGEST, revision="", started_at=dt.datetime.now(dt.UTC))

    def arrive() -> None:
        raise failure

    with pytest.raises(type(failure)):
        releasing._plan(session, attempt, ReleaseRequest(digest=DIGEST), arrive)

    assert not file.exists()
    assert not approval_of(file).exists()
