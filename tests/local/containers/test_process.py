"""Containers of the built-in builder's images run as processes that behave as containers do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mclass_tf.local.containers import supervisor
from mclass_tf.local.containers.addresses import Addresses, NoAddressError
from mclass_tf.local.containers.driver import (
    CHECK_TIMED_OUT,
    ContainerStartError,
    PullError,
    RunningContainer,
)
from mclass_tf.local.containers.image import stop_signal
from tests.local.images import Entry, app_image, layer
from tests.local.tasks import ESCAPING, PATIENCE, Output, Stage, answer, ended, processes, until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
MIB = 1 << 20
FOREVER = "import time; print('up', flush=True); time.sleep(1000)"
HEEDING = f"import signal; signal.signal(signal.SIGTERM, lambda *_: exit(3)); {FOREVER}"


async def killed(running: RunningContainer) -> tuple[int, bool]:
    await running.kill()
    return await ended(running)


def test_the_app_answers_on_its_own_address_logs_and_stops(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.take(app_image(MCLASS_VERSION="7"))
            await stage.driver.pull(digest)
            env = {"MCLASS_LAME_DUCK_SECONDS": "0"}
            running, output = await stage.start(digest, env=env, ports=[3000], memory_mib=512)

            assert json.loads(await answer(running.addresses[3000], "/version"))["version"] == "7"
            listening = json.loads(await output.line('{"time"') and output.lines[0])
            assert (listening["host"], listening["port"]) == running.addresses[3000]
            assert running.usage().memory_bytes > 5 * MIB
            assert running.usage().cpu_seconds > 0
            await running.terminate()
            assert await ended(running) == (0, False)
            assert json.loads(output.lines[-1])["message"] == "ended"
            assert running.usage().memory_bytes == 0
            assert running.usage().cpu_seconds > 0

    asyncio.run(run())


def test_two_at_once_have_the_same_port_and_different_versions(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            both = [
                (await stage.start(stage.blobs.take(app_image(MCLASS_VERSION=name)), ports=[3000]))[0]
                for name in ("old", "new")
            ]
            told = [json.loads(await answer(one.addresses[3000], "/version"))["version"] for one in both]

            assert told == ["old", "new"]
            assert both[0].addresses != both[1].addresses
            if sys.platform == "linux":
                assert {one.addresses[3000][1] for one in both} == {3000}
            await killed(both[0])
            assert await answer(both[1].addresses[3000], "/health")

    asyncio.run(run())


def test_the_image_is_unpacked_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(layer(Entry(name="srv/a")))
            await asyncio.gather(*(stage.driver.pull(digest) for _ in range(5)))
            (place,) = (tmp_path / "tasks" / "images").iterdir()
            assert place.name == digest.removeprefix("sha256:")
            made = place.stat().st_ino
            await stage.driver.pull(digest)
            assert place.stat().st_ino == made

    asyncio.run(run())


def test_a_pull_that_failed_is_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(layer(Entry(name="srv/a")))
            away = stage.blobs.blob(digest).rename(tmp_path / "away")
            with pytest.raises(PullError, match="No such file"):
                await stage.driver.pull(digest)
            away.rename(stage.blobs.blob(digest))
            await stage.driver.pull(digest)

    asyncio.run(run())


def test_it_has_the_variables_of_the_image_and_of_the_container_and_none_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's")
    monkeypatch.setenv("PYTHONPATH", "the user's")

    async def run() -> dict[str, str]:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(
                layer(Entry(name="srv/lib/a"), Entry(name="etc/b")),
                Env=["BOTH=image", "PYTHONPATH=/srv/lib:/etc", "IMAGE=image=1"],
                WorkingDir="/srv",
            )
            code = "import json, os; print(json.dumps({**os.environ, 'cwd': os.getcwd()}))"
            running, output = await stage.start(
                digest, command=("-c", code), env={"BOTH": "container", "OWN": "1"}, ports=[3000]
            )
            assert await ended(running) == (0, False)
            found: dict[str, str] = json.loads(output.lines[0])
            root = str(tmp_path / "tasks" / "images" / digest.removeprefix("sha256:"))
            assert found["PYTHONPATH"] == f"{root}/srv/lib:{root}/etc"
            assert found["cwd"] == f"{root}/srv"
            assert (found["MCLASS_HOST"], int(found["MCLASS_PORT"])) == running.addresses[3000]
            return found

    found = asyncio.run(run())
    assert (found["BOTH"], found["OWN"], found["IMAGE"]) == ("container", "1", "image=1")
    assert found["TZ"] == "UTC"
    assert "the user's" not in found.values()
    assert found["TMPDIR"].startswith(str(tmp_path))
    assert not Path(found["TMPDIR"]).exists()


def test_it_sees_no_package_that_is_installed_here(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script("import pytest")
            assert await ended(running) == (1, False)
            assert output.lines[-1] == "ModuleNotFoundError: No module named 'pytest'"

    asyncio.run(run())


def test_the_exit_code_is_the_processs_and_the_last_line_is_not_lost(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script("import sys; sys.stdout.write('no end'); sys.exit(42)")
            assert await ended(running) == (42, False)
            assert output.lines == ["no end"]
            assert await ended(running) == (42, False)

    asyncio.run(run())


def test_floods_on_both_outputs_arrive_whole(tmp_path: Path) -> None:
    text = "import sys\nfor n in range(20000): print('out', n); print('err', n, file=sys.stderr)"

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(text)
            assert await ended(running) == (0, False)
            for name in ("out", "err"):
                assert [f"{name} {number}" for number in range(20000)] == [
                    line for line in output.lines if line.startswith(name)
                ]

    asyncio.run(run())


def test_sigkill_is_137_and_a_handled_sigterm_what_the_handler_says(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(FOREVER)
            assert await killed(running) == (137, False)
            running, output = await stage.script(HEEDING)
            await output.line("up")
            await running.terminate()
            assert await ended(running) == (3, False)

    asyncio.run(run())


@LINUX
def test_sigterm_that_nobody_handles_is_lost_as_on_the_first_process_of_a_container(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(f"{FOREVER[:-5]}2); print('still there')")
            await output.line("up")
            await running.terminate()
            assert await ended(running) == (0, False)
            assert output.lines[-1] == "still there"

            running, output = await stage.script(FOREVER, has_init=True)
            await output.line("up")
            await running.terminate()
            assert await ended(running) == (143, False)

    asyncio.run(run())


def test_the_images_stop_signal_is_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(StopSignal="SIGUSR1")
            text = HEEDING.replace("SIGTERM", "SIGUSR1")
            running, output = await stage.start(digest, command=("-c", text))
            await output.line("up")
            await running.terminate()
            assert await ended(running) == (3, False)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "number"), [("SIGTERM", 15), ("term", 15), ("15", 15), ("SIGQUIT", signal.SIGQUIT)]
)
def test_stop_signals_are_named_in_several_ways(name: str, number: int) -> None:
    assert stop_signal(name) == number


@LINUX
def test_stop_signals_may_be_counted_from_the_first_of_real_time() -> None:
    assert stop_signal("SIGRTMIN+3") == signal.SIGRTMIN + 3


def test_more_memory_than_the_limit_ends_it(tmp_path: Path) -> None:
    text = "import time; print('up', flush=True); a = bytearray(200 << 20); time.sleep(1000)"

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(text, memory_mib=100)
            other, output = await stage.script(text, memory_mib=1000)
            assert await ended(running) == (137, True)
            await output.line("up")
            assert await killed(other) == (137, False)

    asyncio.run(run())


def test_the_memory_of_what_it_starts_counts_too(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'a = bytearray(200 << 20); input()'])"
    )

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(
                f"{text.replace('input()', 'import time; time.sleep(1000)')}", memory_mib=100
            )
            assert await ended(running) == (137, True)

    asyncio.run(run())


def test_what_it_has_started_ends_with_it(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)']);"
        "print('pid', child.pid, flush=True); child.wait()"
    )

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(text)
            pid = int(await output.line("pid"))
            assert psutil.pid_exists(pid)
            os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
            assert await ended(running) == (137, False)
            await until(lambda: not psutil.pid_exists(pid))

    asyncio.run(run())


@LINUX
@pytest.mark.parametrize("how", ["exit", "terminate", "kill"])
def test_what_has_left_its_session_ends_with_it_too(tmp_path: Path, how: str) -> None:
    heeding = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))"

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(
                f"{heeding}\n{ESCAPING}\n{'' if how == 'exit' else 'time.sleep(1000)'}"
            )
            pid = int(await output.line("escaped"))
            if how != "exit":
                assert psutil.pid_exists(pid)
                await getattr(running, how)()
            assert await ended(running) == ({"exit": 0, "terminate": 3, "kill": 137}[how], False)
            assert not psutil.pid_exists(pid)  # it ended before the container

    asyncio.run(run())


@LINUX
def test_children_are_found_with_and_without_the_kernel_s_list_of_them() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert child.pid in supervisor._children_by_parent()(os.getpid())
        assert child.pid in supervisor._descendants(os.getpid())
        child.kill()


@LINUX
def test_a_process_that_is_left_counts_for_the_container(tmp_path: Path) -> None:
    hungry = ESCAPING.replace("print(os.getpid()", "held = bytearray(150 << 20); print(os.getpid()")

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(f"{hungry}\ntime.sleep(1000)", memory_mib=100)
            assert await ended(running) == (137, True)

    asyncio.run(run())


def test_a_container_that_forks_without_end_is_ended(tmp_path: Path) -> None:
    bomb = (
        "import subprocess, time\n"
        "while True: subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(0.01)"
    )

    async def run() -> None:
        async with processes(tmp_path, max_processes=20) as stage:
            running, output = await stage.script(bomb, memory_mib=4096)
            assert await ended(running) == (137, False)
            assert output.lines[-1] == "[local AWS] killed: a container has at most 20 processes"

    asyncio.run(run())
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="root alone becomes somebody else")
def test_a_user_has_so_many_processes_more_because_of_a_container(tmp_path: Path) -> None:
    """The kernel's limit applies at once, unlike measurements."""
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo started"
    reading, writing = os.pipe()
    # Another user cannot read the modules of root's Python, so import them first.
    imports = "import __future__, collections.abc, contextlib, ctypes, os, pathlib, resource, signal, sys"
    code = f"{imports}; os.setuid(61234); exec(sys.argv.pop(1))"
    argv = (sys.executable, "-I", "-S", "-c", code, Path(supervisor.__file__).read_text())
    with subprocess.Popen(
        [*argv, str(os.getpid()), str(writing), "4", "/bin/sh", "-c", script],
        cwd="/",
        pass_fds=[writing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as kept:
        os.close(writing)
        out, err = kept.communicate(timeout=PATIENCE)
    os.close(reading)
    assert "started" not in out
    assert "fork" in err


@LINUX
def test_output_that_something_holds_open_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'],"
        "start_new_session=True); print('pid', child.pid, flush=True)"
    )

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(text)
            assert await ended(running) == (0, False)
            assert not psutil.pid_exists(int(await output.line("pid")))

    asyncio.run(run())


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"])
def test_a_health_check_reaches_the_service_where_it_really_is(tmp_path: Path, address: str) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.start(stage.blobs.take(app_image()), ports=[3000])
            await answer(running.addresses[3000], "/health")
            code = f"import urllib.request as r; print(r.urlopen('http://{address}:3000/health').status)"
            assert await running.run_check(["CMD", "python", "-c", code], seconds=60) == (0, "200\n")
            line = f'python3 -c "{code}" && exit 5'
            assert await running.run_check(["CMD-SHELL", line], seconds=60) == (5, "200\n")

    asyncio.run(run())


@pytest.mark.parametrize(
    "told", ["127.0.0.1:3000", "('127.0.0.1', 3000)", '["localhost",3000]', "-z localhost 3000"]
)
def test_an_address_of_a_health_check_is_known_however_it_is_written(tmp_path: Path, told: str) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(FOREVER, ports=[3000])
            host, port = running.addresses[3000]
            here = re.sub("127.0.0.1|localhost", host, told).replace("3000", str(port))
            words = ["CMD", "echo", told, "1.localhost 3000", "localhost 30001"]
            assert await running.run_check(words, seconds=60) == (
                0,
                f"{here} 1.localhost 3000 localhost 30001\n",
            )

    asyncio.run(run())


def test_a_health_check_has_the_containers_environment_and_a_status_of_its_own(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(FOREVER, env={"WORD": "x.localhost:3000"}, ports=[3000])
            check = running.run_check
            assert await check(["CMD-SHELL", "echo $WORD >&2; exit 9"], seconds=60) == (
                9,
                "x.localhost:3000\n",
            )
            assert await check(["CMD", "echo", "10.127.0.0.1:3000"], seconds=60) == (0, "10.127.0.0.1:3000\n")
            assert (await check(["CMD", "no-such-program"], seconds=60))[0] == 127
            status, told = await check(["CMD-SHELL", "head -c 100000 /dev/zero | tr '\\0' x"], seconds=60)
            assert (status, len(told)) == (0, 4096)

    asyncio.run(run())


def test_a_health_check_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(FOREVER)
            marker = tmp_path / "pid"
            line = f"sleep 1000 & echo $! > {marker}.new; mv {marker}.new {marker}; wait"
            check = asyncio.create_task(running.run_check(["CMD-SHELL", line], seconds=1))
            status, told = await check
            assert status == CHECK_TIMED_OUT
            assert "exceeded timeout (1s)" in told
            await until(lambda: not psutil.pid_exists(int(marker.read_text())))

    asyncio.run(run())


def test_a_health_check_ends_with_its_container(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script(FOREVER)
            marker = tmp_path / "started"
            line = f"touch {marker}; sleep 1000; true"
            check = asyncio.create_task(running.run_check(["CMD-SHELL", line], seconds=1000))
            await until(marker.exists)
            await killed(running)
            assert (await check)[0] == 137
            assert (await running.run_check(["CMD", "true"], seconds=60))[0] != 0

    asyncio.run(run())


def test_what_cannot_be_executed_is_said_in_the_runtimes_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(layer(Entry(name="run", content=b"no program", mode=0o755)))
            for words, told in (
                (("no-such-program",), 'exec: "no-such-program": executable file not found in $PATH'),
                (("/run",), "Exec format error"),
            ):
                with pytest.raises(ContainerStartError) as raised:
                    await stage.start(digest, entry_point=words)
                assert told in str(raised.value)
            with pytest.raises(ContainerStartError, match="working directory /nowhere"):
                await stage.start(digest, working_directory="/nowhere")
            with pytest.raises(ContainerStartError, match="no command specified"):
                await stage.start(stage.blobs.make(Entrypoint=None))
            assert list((tmp_path / "tasks" / "running").iterdir()) == []

    asyncio.run(run())


def test_an_image_that_is_not_for_processes_says_what_to_do(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            real = stage.blobs.make(layer(Entry(name="bin/sh")), labels={})
            await stage.driver.pull(real)
            assert list((tmp_path / "tasks" / "images").iterdir()) == []
            with pytest.raises(ContainerStartError, match=r"install podman or docker.*--builder builtin"):
                await stage.start(real)
            other = {"mclass-tf.builder": "builtin", "mclass-tf.python": "cpython-27-vax"}
            with pytest.raises(
                ContainerStartError, match=r"exec format error.*cpython-27-vax.*build it again"
            ):
                await stage.start(stage.blobs.make(labels=other))

    asyncio.run(run())


def test_the_command_is_the_images_unless_the_container_has_another(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make(Entrypoint=["echo", "entry"], Cmd=["image's"])
            for more, told in (
                ({}, "entry image's"),
                ({"command": ["own"]}, "entry own"),
                ({"entry_point": ["echo", "other"]}, "other"),
                ({"entry_point": ["echo", "other"], "command": ["own"]}, "other own"),
                ({"entry_point": [""], "command": ["echo", "alone"]}, "alone"),
            ):
                running, output = await stage.start(digest, **more)
                assert await ended(running) == (0, False)
                assert output.lines == [told]

    asyncio.run(run())


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> Stage:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(
                "import os, subprocess, sys\n"
                "child = subprocess.Popen(['sleep', '1000'])\n"
                "print('pids', os.getpid(), child.pid, flush=True)\n"
                "child.wait()"
            )
            pids = [int(pid) for pid in (await output.line("pids")).split()]
            assert all(psutil.pid_exists(pid) for pid in pids)
        assert await ended(running) == (137, False)
        await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
        return stage

    before = {child.pid for child in psutil.Process().children()}
    descriptors = psutil.Process().num_fds()
    stage = asyncio.run(run())

    assert list(stage.home.iterdir()) == [stage.home / "blobs"]
    assert {child.pid for child in psutil.Process().children()} == before
    assert psutil.Process().num_fds() <= descriptors


def test_nothing_starts_after_closing(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            digest = stage.blobs.make()
            await stage.driver.close()
            with pytest.raises(ContainerStartError, match="going down"):
                await stage.start(digest)

    asyncio.run(run())


def test_it_is_the_same_where_the_kernel_has_no_descriptors_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError

    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, output = await stage.script("print('told'); exit(5)")
            assert await ended(running) == (5, False)
            assert output.lines == ["told"]
            assert running.usage().cpu_seconds > 0
            running, _ = await stage.script(FOREVER)
            assert await killed(running) == (137, False)

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    asyncio.run(run())


def test_after_its_end_everything_may_be_asked_and_does_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with processes(tmp_path) as stage:
            running, _ = await stage.script("")
            assert await ended(running) == (0, False)
            await running.terminate()
            await running.kill()
            assert await ended(running) == (0, False)

    asyncio.run(run())


def test_what_blocks_or_ignores_signals_here_does_not_there(tmp_path: Path) -> None:
    text = (
        "import signal; print(signal.getsignal(signal.SIGHUP), signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    )

    async def run() -> Output:
        async with processes(tmp_path) as stage:
            running, output = await stage.script(text)
            await ended(running)
            return output

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        output = asyncio.run(run())
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    assert output.lines == [f"{signal.SIG_DFL!s} set()"]


@LINUX
def test_a_port_that_is_taken_on_all_addresses_is_another_one() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        found = Addresses().take([port])

        assert found[port] != port
        with pytest.raises(NoAddressError, match="podman or docker"):
            Addresses().take([port, 3000])


def test_where_there_is_one_address_ports_differ() -> None:
    addresses = Addresses(has_one_address=True)
    found = [addresses.take([3000])[3000] for _ in range(50)]

    assert {host for host, _ in found} == {"127.0.0.1"}
    assert len({port for _, port in found}) == 50
