"""The load process may exit at any byte, and the rehearsal notices at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from mclass_tf.rehearsal.load_sender import LoadError, LoadSender
from mclass_tf.rehearsal.plan import LoadEndpoint, LoadPlan


def test_a_load_process_that_ends_within_a_line_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = tmp_path / "sender"
    sender.write_text("#!/bin/sh\nread plan\necho '{\"ready\": true}'\nread phase\nprintf '{\"sam'\n")
    sender.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sender))
    plan = LoadPlan(where=LoadEndpoint(scheme="http", host="127.0.0.1", port=9, host_header="mclass.test"))

    started = time.monotonic()
    with LoadSender(plan) as load:
        load.enter("before")
        with pytest.raises(LoadError, match="its last line is not whole"):
            load.wait(seconds=30)
    assert time.monotonic() - started < 20
