"""Runs the service in its own process, with the settings of a test."""

from __future__ import annotations

import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE = 30  # seconds that a test waits at most; nothing takes that long
# Short enough for a test, long enough to act in.
QUICK = {"MCLASS_LAME_DUCK_SECONDS": "0.2", "MCLASS_LONGEST_REQUEST_SECONDS": "10"}
# No TLS context: the service has no TLS, and each httpx client would load all certificate authorities.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Service:
    """A running service, with its log and a client."""

    def __init__(self, env: dict[str, str]) -> None:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        self.process = subprocess.Popen(
            (sys.executable, "-m", "app"),
            cwd=ROOT,
            env={**kept, "MCLASS_HOST": "127.0.0.1", "MCLASS_PORT": "0", **QUICK, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.records: list[dict[str, Any]] = []
        self._coming: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._coming.put(json.loads(line))
        self._coming.put(None)

    def logged(self, message: str, **fields: object) -> dict[str, Any]:
        """Wait for the next record with this message and these fields."""
        while True:
            record = self._coming.get(timeout=PATIENCE)
            assert record is not None, f"the service ended without {message!r}: {self.records}"
            self.records.append(record)
            if record["message"] == message and fields.items() <= record.items():
                return record

    def listening(self) -> Service:
        self.port = int(self.logged("listening")["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=PATIENCE, verify=NO_TLS)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end. Then `records` contains the whole log."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        while (record := self._coming.get(timeout=PATIENCE)) is not None:
            self.records.append(record)
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


Start = Callable[..., Service]
