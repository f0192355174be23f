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

# What moto reads when it is imported. The account of a call is that of its credentials; EC2 images are not
# modelled, and loading moto's list of them would cost memory for nothing.
MOTO_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_CONFIG_FILE": os.devnull,  # what the user has set for AWS is none of its business
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}
_ENDING = (signal.SIGTERM, signal.SIGINT)
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and does not leave to the processes that it starts."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    home: Path
    instance_id: str
    listen_fd: int
    ready_fd: int
    alive_fd: int
    speed: float
    tasks: str
    from_fd: int | None


def main(argv: list[str]) -> int:
    arguments = _parse(argv)
    _log_to_standard_error()
    logging.getLogger("botocore").setLevel(logging.WARNING)
    os.environ.update(MOTO_ENVIRONMENT)
    stopped = _stop_on_signals()
    os.set_inheritable(
        arguments.alive_fd, False
    )  # a lock that is held as long as this process lives, and no other
    ready = _Ready(arguments.ready_fd)
    try:
        listener = socket.socket(fileno=arguments.listen_fd)
        _serve(arguments=arguments, listener=listener, stopped=stopped, ready=ready)
    except Exception as error:
        ready.fail(error)
        raise
    return 0


def _serve(*, arguments: Arguments, listener: socket.socket, stopped: int, ready: _Ready) -> None:
    # Imported here: the arguments are checked and the signals handled before the second that moto costs. What is imported
    # stays: to look for cycles in it would take a sixth of that time, and each time again while the server runs.
    gc.disable()
    from mclass_tf.local.app import Application  # noqa: PLC0415
    from mclass_tf.local.http.server import Server  # noqa: PLC0415
    from mclass_tf.local.live import live  # noqa: PLC0415

    live.clock.speed = arguments.speed
    record = _record(arguments=arguments, listener=listener)
    application = Application(record=record, home=arguments.home)
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
    ready.say({"ready": True})
    while os.read(stopped, 1)[0] not in _ENDING:
        pass
    _log.info("stopping")
    server.server_close()
    application.close()
    remove_record(home=arguments.home, instance_id=record.instance_id)
    logging.shutdown()
    os._exit(0)  # Python would take a second to tidy up what moto holds, and nothing of it is kept


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
    """Return what can be read from once a signal has come.

    Python runs a handler in the main thread alone, and does not wake it for a signal that another thread was given: one that
    waits for an Event would sleep on. What is written here is written at once, by whichever thread: the signal's number.
    """
    waiting, waking = os.pipe()
    os.set_blocking(waking, False)
    for number in signal.valid_signals():
        # What a shell has had this process ignore, as nohup does, its children would ignore too; what it handles, they do not.
        is_ignored = signal.getsignal(number) is signal.SIG_IGN and number not in _RESTORED
        if is_ignored or number in _ENDING:
            signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(waking)
    return waiting


class _Ready:
    """Tells the starter, once: that the server is ready, or why it is not. The log may be on a disk that is full."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def say(self, word: Mapping[str, object]) -> None:
        """Tell the starter, who may have gone away meanwhile: the server then serves all the same."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            os.write(descriptor, json.dumps(word).encode() + b"\n")
        except BrokenPipeError:
            _log.warning("the starter has gone away")
        os.close(descriptor)

    def fail(self, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            number = errno.EAGAIN
        filename = getattr(error, "filename", None)
        self.say(
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
    parser.add_argument("--from-fd", type=int, default=None)
    options = parser.parse_args(argv)
    return Arguments(
        home=options.home,
        instance_id=options.instance_id,
        listen_fd=options.listen_fd,
        ready_fd=options.ready_fd,
        alive_fd=options.alive_fd,
        speed=options.speed,
        tasks=options.tasks,
        from_fd=options.from_fd,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
