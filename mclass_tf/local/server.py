"""The server process of the local AWS: `python -m mclass_tf.local.server`, started by `control.up`."""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.local.access import key
from mclass_tf.local.log_format import Formatter
from mclass_tf.local.record import LocalAws, remove_record, write_record

_log = logging.getLogger("mclass_tf.local")

# moto reads these when it is imported. A call's credentials determine its account. EC2 images are not
# modelled, and moto's list of them would only cost memory.
MOTO_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_CONFIG_FILE": os.devnull,  # ignore the user's AWS configuration
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}
_ENDING = (signal.SIGTERM, signal.SIGINT)
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, but restores in child processes."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    home: Path
    instance_id: str
    listen_fd: int
    ready_fd: int
    alive_fd: int
    speed: float
    tasks: str
    client_address: str | None
    from_fd: int | None
    resettable: bool


def main(argv: list[str]) -> int:
    arguments = _parse(argv)
    _log_to_standard_error()
    logging.getLogger("botocore").setLevel(logging.WARNING)
    os.environ.update(MOTO_ENVIRONMENT)
    stopped = _stop_on_signals()
    os.set_inheritable(arguments.alive_fd, False)  # the lock must end with this process
    ready = _StartReport(arguments.ready_fd)
    try:
        listener = socket.socket(fileno=arguments.listen_fd)
        _serve(arguments=arguments, listener=listener, stopped=stopped, ready=ready)
    except Exception as error:
        ready.fail(error)
        raise
    return 0


def _serve(*, arguments: Arguments, listener: socket.socket, stopped: int, ready: _StartReport) -> None:
    # Imported here, because importing moto takes a second: arguments and signals come first. The garbage collector is off
    # meanwhile and ignores the imported modules later, which saves a sixth of that time, and the same at each collection.
    gc.disable()
    from mclass_tf.local.app import Application  # noqa: PLC0415
    from mclass_tf.local.http.server import Server  # noqa: PLC0415
    from mclass_tf.local.live import live  # noqa: PLC0415

    live.clock.speed = arguments.speed
    if arguments.client_address is not None:
        live.client_address = arguments.client_address
    record = _record(arguments=arguments, listener=listener)
    application = Application(record=record, home=arguments.home, resettable=arguments.resettable)
    if arguments.from_fd is not None:
        with os.fdopen(arguments.from_fd, "rb") as archive:
            application.restore(archive)
    application.start()
    gc.freeze()
    gc.enable()
    server = Server(
        listener=listener,
        app=application.answer,
        sink=application.sink,
        precheck=application.precheck,
        largest=application.largest_body,
        report=live.problems.append,
    )
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    if arguments.from_fd is not None:
        application.await_restored()
    write_record(home=arguments.home, record=record)
    _log.info("ready at %s, instance %s", record.url, record.instance_id)
    ready.send({"ready": True})
    while os.read(stopped, 1)[0] not in _ENDING:
        pass
    _log.info("stopping")
    server.server_close()
    application.close()
    remove_record(home=arguments.home, instance_id=record.instance_id)
    logging.shutdown()
    os._exit(0)  # skip a second of Python's clean-up of moto


def _record(*, arguments: Arguments, listener: socket.socket) -> LocalAws:
    host, port = listener.getsockname()[:2]
    return LocalAws(
        url=f"http://{host}:{port}",
        port=port,
        pid=os.getpid(),
        instance_id=arguments.instance_id,
        started_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        tasks=arguments.tasks,
        key=key.make(),
    )


def _log_to_standard_error() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _stop_on_signals() -> int:
    """Return a descriptor on which signals arrive as bytes with their numbers.

    Python runs handlers in the main thread, and does not wake it if another thread receives the signal: a main thread that waits
    for an Event would sleep on. The wake-up descriptor is written at once, by whichever thread.
    """
    waiting, waking = os.pipe()
    os.set_blocking(waking, False)
    for number in signal.valid_signals():
        # Children inherit ignored signals, such as nohup's, but not handled ones.
        is_ignored = signal.getsignal(number) is signal.SIG_IGN and number not in _RESTORED
        if is_ignored or number in _ENDING:
            signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(waking)
    return waiting


class _StartReport:
    """Reports to the starter, once, that the server is ready or why it failed. (The log may be on a full disk.)"""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def send(self, report: Mapping[str, object]) -> None:
        """Send the report. If the starter has died meanwhile, the server continues."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            os.write(descriptor, json.dumps(report).encode() + b"\n")
        except BrokenPipeError:
            _log.warning("the starter has gone away")
        os.close(descriptor)

    def fail(self, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            number = errno.EAGAIN
        filename = getattr(error, "filename", None)
        self.send(
            {
                "problem": f"{type(error).__name__}: {error}",
                "errno": number,
                "filename": None if filename is None else str(filename),
            }
        )


def _parse(argv: list[str]) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m mclass_tf.local.server", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--instance-id", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--alive-fd", type=int, required=True)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--client-address", default=None)
    parser.add_argument("--from-fd", type=int, default=None)
    parser.add_argument("--resettable", action="store_true")
    options = parser.parse_args(argv)
    return Arguments(
        home=options.home,
        instance_id=options.instance_id,
        listen_fd=options.listen_fd,
        ready_fd=options.ready_fd,
        alive_fd=options.alive_fd,
        speed=options.speed,
        tasks=options.tasks,
        client_address=options.client_address,
        from_fd=options.from_fd,
        resettable=options.resettable,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
