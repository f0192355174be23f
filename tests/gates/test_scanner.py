"""The scanner process: the user's shell and files do not affect it, and whatever it does wrong, the gate refuses."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from mclass_tf.gates import launch, sarif
from mclass_tf.gates.launch import ScannerLaunch, ScannerProcess
from mclass_tf.gates.scanner import Scanner, ScannerError
from tests.gates.conftest import Judge
from tests.scanners import forking

pytestmark = pytest.mark.xdist_group("checkov")  # which takes two seconds to import

ROOT = Path(__file__).parents[2]
PLANS = ROOT / "tests/unit/data/gates/plans"
PARSER = ROOT / ".mclass/tests/parser"
"""The folder where the process that scanners are forked from caches lark's parser."""

_FOR_EVER = "threading.Event().wait()"  # a signal may reach another thread first, and this one would continue until then


def broken(project: Path, deed: str) -> None:
    """Make Checkov do `deed` when it scans a plan."""
    (project / "policy/checks/mclass_broken.py").write_text(
        "import os, signal, sys, threading, time\n"
        "from checkov.terraform.plan_runner import Runner\n"
        "def run(self, *given, **named):\n" + textwrap.indent(deed, "    ") + "\nRunner.run = run\n"
    )


@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        pytest.param("os._exit(0)", "Checkov ended with exit status 0 before its scan was complete", id="end"),
        pytest.param("sys.exit('no')", "Checkov failed: SystemExit: no", id="exit"),
        pytest.param("raise KeyboardInterrupt", "Checkov failed: KeyboardInterrupt", id="interrupt"),
        pytest.param("raise MemoryError", "Checkov failed: MemoryError", id="memory"),
        pytest.param(
            f"os.kill(os.getpid(), signal.SIGKILL); {_FOR_EVER}", "killed by SIGKILL, as the system does", id="killed"
        ),
        pytest.param(f"os.kill(os.getpid(), signal.SIGSEGV); {_FOR_EVER}", "was killed by SIGSEGV", id="crashed"),
        pytest.param(
            "print('disk on fire', flush=True); os._exit(3)", "exit status 3 before its scan was complete: disk on fire",
            id="last words",
        ),
        pytest.param(
            "import socket; socket.create_connection(('127.0.0.1', 9))", "neither runs programs nor", id="network"
        ),
        pytest.param("os.system('true')", "neither runs programs nor", id="program"),
    ],
)  # fmt: skip
def test_whatever_checkov_does_wrong_the_gate_refuses_with_the_cause(
    judge: Judge, project: Path, deed: str, cause: str
) -> None:
    broken(project, deed)
    decision = judge("sound")
    assert decision.approved is None
    (verdict,) = decision.verdicts
    assert cause in " ".join(problem.message for problem in verdict.blocking)
    assert not verdict.passed
    (run,) = sarif.render({"sound": decision.verdicts}, project)["runs"]
    assert not run["invocations"][0]["executionSuccessful"]
    assert cause in json.dumps(run, ensure_ascii=False)


def test_a_checkov_that_hangs_is_ended(judge: Judge, project: Path) -> None:
    broken(project, "threading.Event().wait()")
    judge.gate.scanner.patience = 3.0
    (verdict,) = judge("sound").verdicts
    (problem,) = verdict.blocking
    assert problem.message == "Checkov has not finished a scan within 3 s, and was ended"
    assert "plan again" in problem.fix


def test_a_checkov_that_cannot_be_started_is_a_gate_that_says_no(judge: Judge) -> None:
    def start(_launch: ScannerLaunch) -> ScannerProcess:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    judge.gate.scanner.start = start
    (verdict,) = judge("sound").verdicts
    assert "Checkov cannot be started: Resource temporarily unavailable" in verdict.blocking[0].message


def test_what_a_rule_prints_is_no_answer(judge: Judge, project: Path) -> None:
    file = project / "policy/checks/mclass_service.py"
    file.write_text(file.read_text() + "\nimport sys\nprint('{}' * 100_000); print('{}', file=sys.stderr)\n")
    assert judge("sound").approved is not None


@dataclass
class Answering:
    """A scanner that answers every request with the same bytes."""

    answer: bytes
    channel: socket.socket | None = None

    def __call__(self, launch: ScannerLaunch) -> ScannerProcess:
        self.channel = launch.channel.dup()
        self.channel.sendall(self.answer)
        self.channel.shutdown(socket.SHUT_WR)
        return self

    def end(self, *, seconds: float) -> int:
        assert self.channel is not None
        self.channel.close()
        return 0


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b'{"results": [{}], "errors": []}', b"[" * 100_000, b"\xff"], ids=range(6)
)
def test_an_invalid_answer_is_no_scan(tmp_path: Path, answer: bytes) -> None:
    whole = len(answer).to_bytes(8, "big") + answer
    with pytest.raises(ScannerError, match="makes no sense"):
        Scanner(start=Answering(whole)).load(project=tmp_path)


@pytest.mark.parametrize(
    "answer", [b"", b"\0\0", b'\0\0\0\0\0\0\0\x14{"results": [', b"\xff" * 99], ids=range(4)
)
def test_half_an_answer_is_no_scan(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(ScannerError, match="exit status 0 before its scan was complete"):
        Scanner(start=Answering(answer)).load(project=tmp_path)


def test_a_scanner_that_is_closed_leaves_nothing_behind(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forking()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one = Scanner(start=started)
    one.load(project=project)
    (folder,) = tmp_path.glob("mclass-gate-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    one.close()
    assert not list(tmp_path.glob("mclass-gate-*"))


def test_the_environment_of_a_scanner_is_stated_and_not_inherited(tmp_path: Path) -> None:
    given = launch.environment(
        tmp_path, {"HOME": "/home/x", "PATH": "/bin", "CKV_X": "1", "LOG_LEVEL": "DEBUG"}
    )
    assert given == {
        **launch.PINNED, "HOME": str(tmp_path), "PATH": str(tmp_path), "TMPDIR": str(tmp_path)
    }  # fmt: skip
    assert "LD_LIBRARY_PATH" in launch.environment(tmp_path, {"LD_LIBRARY_PATH": "/opt/python/lib"})


HOSTILE = {
    "CHECKOV_RENDER_MAX_LEN": "1",
    "CKV_CUSTOM_PREFIX_SUPPRESSION": "CKV",
    "CKV_IGNORED_DIRECTORIES": "modules,terraform",
    "CKV_SUPPORT_ALL_RESOURCE_TYPE": "true",
    "LOG_LEVEL": "DEBUG",
    "PYTHONWARNINGS": "error",
    "TF_VAR_service": "{}",
    "X_NOT_UTF_8": "\udce9",
}

ALONE = """
    import json, os, sys, threading
    from pathlib import Path
    from mclass_tf import environment, gates
    from mclass_tf.plan import Plan, SavedPlan, digest

    project, document, keep = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    file = project / "x.tfplan"
    file.write_bytes(b"plan")
    saved = SavedPlan(path=file, environment="weak", target="aws", sha256=digest(file), lineage="", serial=0,
                      has_changes=True, created="", inputs={}, requested_image=None, image_in_force="")
    target = environment.load(project, "weak")
    gates.prepare(target, project, cache=keep)
    subject = gates.Subject(plan=Plan.parse(document), environment=target, project=project)
    (verdict,) = gates.evaluate(saved, subject).verdicts
    assert "checkov" not in sys.modules
    (keep / "found").write_text(json.dumps([sorted((f.check, f.resource) for f in verdict.failed), verdict.checked]))
    sys.exit(0)
"""


@pytest.fixture
def plants(reader: Judge, tmp_path: Path) -> tuple[Path, Path]:
    """Return a temporary folder with planted parsers, and the file that they create when they are loaded."""
    shared, sign = tmp_path / "shared", tmp_path / "executed"
    shared.mkdir(mode=0o777)
    reader("weak")  # creates the parser, if it is missing
    (kept,) = PARSER.glob(f".lark_cache_*_{sys.version_info[0]}_{sys.version_info[1]}.tmp")
    payload = pickle.dumps(Payload(f"touch {sign}"))
    for user in (
        os.environ.get("LOGNAME", "root"),
        os.environ.get("USER", "root"),
        "root",
        "mclass",
        "unknown",
    ):
        planted = shared / kept.name.replace("_mclass_", f"_{user}_")
        planted.write_bytes(b"x\n" + payload)
    return shared, sign


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self._command,)


def test_a_hostile_shell_changes_no_verdict_and_runs_no_code(
    reader: Judge, project: Path, plants: tuple[Path, Path], tmp_path: Path
) -> None:
    (expected,) = reader("weak").verdicts
    shared, sign = plants
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    for name in ("checkov", "networkx"):
        (shadow / f"{name}.py").write_text(f"import os\nos.system('touch {sign}')\n")
    keep = tmp_path / "keep"
    keep.mkdir(mode=0o700)
    shutil.copytree(PARSER, keep / "parser")
    home = tmp_path / "home"
    (home / ".bridgecrew").mkdir(parents=True)
    (home / ".checkov.yaml").write_text("skip-check: [CKV_AWS_131]\n")
    (project / ".checkov.yaml").write_text("skip-check: [CKV_AWS_131]\n")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ALONE), str(project), str(PLANS / "weak.json"), str(keep)],
        cwd=shadow,
        env={**os.environ, **HOSTILE, "HOME": str(home), "TMPDIR": str(shared), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    failed, checked = json.loads((keep / "found").read_text())
    assert failed == sorted([finding.check, finding.resource] for finding in expected.failed)
    assert checked == expected.checked
    assert not sign.exists()
    assert not list(shared.glob("mclass-gate-*"))
