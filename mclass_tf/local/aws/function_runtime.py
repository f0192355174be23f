"""A script that runs the handler of a Lambda function once, in a separate process.

    function_runtime.py CODE HANDLER FOLDER

CODE is the folder of the unpacked code, HANDLER is "module.function". FOLDER contains `event.json` and `context.json`. The script
writes `answer.json` there: {"value": …} or {"error": …}. It can connect only to this machine.

https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_CONNECTION_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg")


def main(code: Path, handler: str, folder: Path) -> None:
    sys.path.insert(0, str(code))
    sys.addaudithook(_refuse_remote_address)
    event = json.loads((folder / "event.json").read_text(encoding="utf-8"))
    context = _Context(**json.loads((folder / "context.json").read_text(encoding="utf-8")))
    try:
        module, _, name = handler.rpartition(".")
        answer = {"value": getattr(importlib.import_module(module.replace("/", ".")), name)(event, context)}
        text = json.dumps(answer)
    except BaseException as error:  # noqa: BLE001  any failure of the function is reported
        text = json.dumps({"error": f"{type(error).__name__}: {error}"})
    (folder / "answer.json").write_text(text, encoding="utf-8")


class _Context(SimpleNamespace):
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    ends_at: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.ends_at - time.time()) * 1000))


def _refuse_remote_address(event: str, arguments: tuple[Any, ...]) -> None:
    is_connection = event in _CONNECTION_EVENTS and isinstance(arguments[1], tuple)
    if is_connection and not _is_loopback(str(arguments[1][0])):
        raise PermissionError(f"[local AWS] functions reach this machine alone, not {arguments[1][0]}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
