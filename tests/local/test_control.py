"""Starting, finding and stopping the local AWS."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from botocore.credentials import Credentials

from mclass_tf import local
from mclass_tf.local import control
from tests.callers import ask, signed


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder whose server is stopped at the end."""
    folder = tmp_path / "home"
    yield folder
    local.down(home=folder)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A live process that is not a local AWS."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(timeout=30)


def _record(home: Path, **changes: object) -> None:
    home.mkdir(parents=True, exist_ok=True)
    record = {
        "url": "http://127.0.0.1:9",
        "port": 9,
        "pid": 1,
        "instance_id": "none",
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    (home / "server.json").write_text(json.dumps({**record, **changes}))


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_up_starts_a_server_that_says_who_it_is(home: Path) -> None:
    up = local.up(home=home, port=0)
    health = ask(up, "health")
    assert (up.instance_id, up.started_at, "ok") == (
        health["instance_id"],
        health["started_at"],
        health["status"],
    )
    assert health["unsupported"] == []
    assert up == local.status(home=home)


def test_the_record_is_readable_by_its_owner_alone(server_home: Path) -> None:
    assert stat.S_IMODE((server_home / "server.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((server_home / "server.log").stat().st_mode) == 0o600


def test_up_returns_the_one_that_is_up(server: local.LocalAws, server_home: Path) -> None:
    assert server == local.up(home=server_home, port=0)


def test_two_homes_have_two_servers(home: Path, server: local.LocalAws) -> None:
    assert server.instance_id != local.up(home=home, port=0).instance_id


def test_callers_at_the_same_time_get_the_same_server(home: Path) -> None:
    together = threading.Barrier(4)

    def start() -> local.LocalAws:
        together.wait()
        return local.up(home=home, port=0)

    with ThreadPoolExecutor(4) as pool:
        found = {pool.submit(start) for _ in range(4)}
    assert len({future.result() for future in found}) == 1


def test_processes_at_the_same_time_get_the_same_server(home: Path) -> None:
    code = "import sys, pathlib; from mclass_tf import local; print(local.up(home=pathlib.Path(sys.argv[1]), port=0))"
    callers = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, cwd=_project())
        for _ in range(2)
    ]
    said = [caller.communicate(timeout=60)[0] for caller in callers]
    assert said[0] == said[1]
    assert said[0]


def test_the_server_outlives_its_starter_and_its_terminal(server: local.LocalAws) -> None:
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_down_frees_the_port_and_forgets(home: Path) -> None:
    up = local.up(home=home, port=0)
    assert up == local.down(home=home)
    assert not _accepts(up.port)
    assert not (home / "server.json").exists()
    assert local.status(home=home) is None
    assert local.down(home=home) is None


def test_down_and_status_of_a_home_that_never_was(home: Path) -> None:
    assert local.status(home=home) is None
    assert local.down(home=home) is None
    assert not home.exists()


def test_a_server_that_is_told_to_stop_forgets_itself(home: Path) -> None:
    up = local.up(home=home, port=0)
    os.kill(up.pid, signal.SIGTERM)
    _until_gone(up.pid)
    assert not (home / "server.json").exists()


def test_a_record_that_outlived_its_process_is_removed(home: Path) -> None:
    up = local.up(home=home, port=0)
    os.kill(up.pid, signal.SIGKILL)
    _until_gone(up.pid)
    assert (home / "server.json").exists()
    assert local.status(home=home) is None
    assert not (home / "server.json").exists()


def test_up_after_a_crash_starts_anew(home: Path) -> None:
    crashed = local.up(home=home, port=0)
    os.kill(crashed.pid, signal.SIGKILL)
    _until_gone(crashed.pid)
    assert crashed.instance_id != local.up(home=home, port=0).instance_id


def test_a_process_that_got_the_same_id_is_not_taken_for_the_server(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    _record(home, pid=bystander.pid, instance_id="11111111-2222-4333-8444-555555555555")
    assert local.status(home=home) is None


def test_a_process_that_got_the_same_id_is_not_stopped(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    _record(home, pid=bystander.pid, instance_id="11111111-2222-4333-8444-555555555555")
    assert local.down(home=home) is None
    assert bystander.poll() is None


def test_a_port_that_another_server_got_is_not_taken_for_the_server(
    home: Path, server: local.LocalAws
) -> None:
    up = local.up(home=home, port=0)
    record = json.loads((home / "server.json").read_text())
    (home / "server.json").write_text(json.dumps({**record, "url": server.url, "port": server.port}))
    assert local.status(home=home) is None
    assert up.pid == getattr(local.down(home=home), "pid", None)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x"}'], ids=repr)
def test_a_record_that_cannot_be_read_is_no_server(home: Path, text: str) -> None:
    home.mkdir()
    (home / "server.json").write_text(text)
    assert local.status(home=home) is None
    assert local.down(home=home) is None


def test_a_port_in_use_is_named_with_its_process(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(local.PortInUseError) as error:
            local.up(home=home, port=port)
    assert port == error.value.port
    assert str(port) in error.value.message
    assert f"pid {os.getpid()}" in (error.value.process or "")
    assert not (home / "server.json").exists()


def test_without_a_port_4566_is_taken_when_free_and_another_when_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(control, "DEFAULT_PORT", taken.getsockname()[1])
        assert taken.getsockname()[1] != local.up(home=home).port
    local.down(home=home)
    free = _free_port()
    monkeypatch.setattr(control, "DEFAULT_PORT", free)
    assert free == local.up(home=home).port


def test_a_server_that_cannot_start_shows_the_end_of_its_log(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flask.py").write_text("raise RuntimeError('flask is broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(local.StartError, match="flask is broken on purpose"):
        local.up(home=home, port=0)
    assert not (home / "server.json").exists()
    assert local.status(home=home) is None


def test_a_missing_package_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "find_spec", lambda name: None)
    with pytest.raises(local.MissingDependencyError) as error:
        local.up(home=home, port=0)
    assert "pip install 'mclass-tf[local]'" in error.value.hint


def test_variables_of_the_caller_do_not_steer_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "999999999999")
    up = local.up(home=home, port=0)
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    credentials = Credentials(up.key.access_key_id, up.key.secret_access_key)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    headers = signed(credentials, "sts", up.url, region="us-east-1", body=body, headers=form)
    with urllib.request.urlopen(
        urllib.request.Request(up.url, data=body, headers=headers), timeout=30
    ) as answer:
        assert b"999999999999" not in answer.read()


def test_the_server_has_nothing_of_the_shell_but_what_it_needs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server outlives the shell, and its environment can be read while it runs."""
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "TF_VAR_password", "DATABASE_URL", "MY_SSH_KEY"):
        monkeypatch.setenv(name, "a secret of the shell")
    monkeypatch.setenv("CONTAINERS_CONF", "/where/podman/keeps/things")

    up = local.up(home=home, port=0)

    server = psutil.Process(up.pid)
    for process in (server, *server.children(recursive=True)):
        assert "a secret of the shell" not in process.environ().values(), process.cmdline()
    assert server.environ()["CONTAINERS_CONF"] == "/where/podman/keeps/things"


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, mclass_tf.local; print(sorted({'moto', 'boto3', 'botocore', 'flask'} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_project()
    )
    assert said.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_server_that_hangs_is_stopped_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_HEALTH_SECONDS", 2.0)
    up = local.up(home=home, port=0)
    os.kill(up.pid, signal.SIGSTOP)
    assert local.status(home=home) is None
    assert (home / "server.json").exists()
    assert up == local.down(home=home)
    assert not _accepts(up.port)


@pytest.mark.slow
def test_a_server_that_hangs_is_not_replaced_by_a_second_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = local.up(home=home, port=0)
    os.kill(up.pid, signal.SIGSTOP)
    monkeypatch.setattr(control, "_HEALTH_SECONDS", 2.0)
    try:
        with pytest.raises(local.StartError, match=f"pid {up.pid}.*no second one was started") as told:
            local.up(home=home, port=0)
    finally:
        os.kill(up.pid, signal.SIGCONT)
        monkeypatch.undo()
    assert ("local", "down") in told.value.hint
    assert up == local.up(home=home, port=0)


def test_a_server_whose_record_is_gone_is_not_joined_by_a_second_one(home: Path) -> None:
    up = local.up(home=home, port=0)
    record = home / "server.json"
    text = record.read_text()
    record.unlink()

    with pytest.raises(local.StartError, match="its record is gone"):
        local.up(home=home, port=0)
    with pytest.raises(local.StopError, match="its record is gone"):
        local.down(home=home)

    record.write_text(text)
    assert up == local.down(home=home)


def _project() -> Path:
    return Path(local.__file__).parents[2]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _until_gone(pid: int) -> None:
    """Waits for the exit of a server that this process has started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")


def _speed(up: local.LocalAws) -> float:
    return float(ask(up, "clock")["speed"])


def test_the_clock_runs_as_fast_as_asked_for(home: Path) -> None:
    assert _speed(local.up(home=home, port=0, speed=10)) == 10
    assert _speed(local.up(home=home, port=0)) == 10
    assert _speed(local.up(home=home, port=0, speed=20)) == 20


def test_clients_have_a_public_address_until_another_one_is_given(home: Path) -> None:
    first = local.up(home=home, port=0)
    assert local.client_address(first) == "203.0.113.25"
    local.up(home=home, port=0, client_address="10.99.0.7")
    assert local.client_address(local.up(home=home, port=0)) == "10.99.0.7"

    with pytest.raises(local.StartError, match="did not take the client address"):
        local.up(home=home, port=0, client_address="everywhere")
    assert local.client_address(first) == "10.99.0.7"

    local.down(home=home)
    restarted = local.up(home=home, port=0, client_address="198.51.100.9")
    assert local.client_address(restarted) == "198.51.100.9"


def test_a_speed_that_cannot_be_is_refused(home: Path) -> None:
    with pytest.raises(local.StartError, match="a speed of 0 is not possible"):
        local.up(home=home, port=0, speed=0)
    assert local.status(home=home) is None


def test_what_runs_the_tasks_is_chosen_at_the_start(home: Path) -> None:
    assert local.up(home=home, port=0, tasks="process").tasks == "process"
    assert local.up(home=home, port=0).tasks == "process"
    with pytest.raises(local.StartError, match="runs tasks by process, not by podman"):
        local.up(home=home, port=0, tasks="podman")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_the_shell_ignores_or_blocks_is_not_handed_to_what_it_starts(home: Path) -> None:
    """As under nohup; health checks would inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        server = local.up(home=home, port=0)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    masks = {
        line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn", "SigBlk"))
    }
    assert not masks["SigIgn:"] >> (signal.SIGHUP - 1) & 1
    assert not masks["SigBlk:"] >> (signal.SIGUSR2 - 1) & 1
    os.kill(server.pid, signal.SIGHUP)
    assert local.status(home=home) == server, "it goes on"
