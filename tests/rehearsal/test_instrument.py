"""Killing a task kills its process, not its supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from mclass_tf.local import LocalAws
from mclass_tf.local.access.key import make
from mclass_tf.rehearsal.instrument import Instrument
from tests.local.tasks import ESCAPING, ended, processes

TASK = "arn:aws:ecs:r:1:task/c/1"


class _Metadata(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"TaskARN": TASK}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="elsewhere nobody takes orphans but init")
def test_the_process_of_a_task_is_killed_and_what_it_has_started_ends_as_ever(
    tmp_path: Path, metadata: str
) -> None:
    this = LocalAws(url=metadata, port=0, pid=os.getpid(), instance_id="i", started_at="", key=make())

    async def run() -> None:
        async with processes(tmp_path) as stage:
            env = {"ECS_CONTAINER_METADATA_URI_V4": f"{metadata}/v4/token"}
            running, output = await stage.script(f"{ESCAPING}\ntime.sleep(1000)", env=env)
            daemon = int(await output.line("escaped"))
            assert await asyncio.to_thread(Instrument(this).kill_task, (TASK,)) == TASK
            assert await ended(running) == (137, False)
            assert not psutil.pid_exists(daemon)

    asyncio.run(run())
