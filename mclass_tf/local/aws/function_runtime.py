"""A script that runs the handler of one Lambda function, once, in a process of its own.

    function_runtime.py CODE HANDLER PLACE

CODE is the folder of the unpacked code, HANDLER "module.function". PLACE has `event.json` and `context.json`, and gets
`answer.json`: {"value": …} or {"error": …}. Nothing but this machine can be reached from here.

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

_REACHING_OUT = ("socket.connect", "socket.sendto", "socket.sendmsg")


def main(code: Path, handler: str, place: Path) -> None:
    sys.path.insert(0, str(code))
    sys.addaudithook(_refuse_remote_address)
    event = json.loads((place / "event.json").read_text(encoding="utf-8"))
    context = _Context(**json.loads((place / "context.json").read_text(encoding="utf-8")))
    try:
        module, _, name = handler.rpartition(".")
        answer = {"value": getattr(importlib.import_module(module.replace("/", ".")), name)(event, context)}
        text = json.dumps(answer)
    except BaseException as error:  # noqa: BLE001  (whatever the function does, it is told)
        text = json.dumps({"error": f"{type(error).__name__}: {error}"})
    (place / "answer.json").write_text(text, encoding="utf-8")


class _Context(SimpleNamespace):
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    ends_at: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.ends_at - time.time()) * 1000))


def _refuse_remote_address(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REACHING_OUT and isinstance(arguments[1], tuple) and not _is_here(str(arguments[1][0])):
        raise PermissionError(f"[local AWS] functions reach this machine alone, not {arguments[1][0]}")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
