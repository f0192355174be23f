"""What the local AWS can do that AWS cannot: its clock, its own account of failures, a task's sudden death."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mclass_tf.errors import ConfigurationError, Hint, LocalAwsUnavailableError
from mclass_tf.local import LocalAws
from mclass_tf.local.loopback import ask
from mclass_tf.rehearsal.result import BalancerFailure

_SECONDS = 10.0
_METADATA = "ECS_CONTAINER_METADATA_URI_V4"


class Instrument:
    """A local AWS that runs on this machine."""

    def __init__(self, running: LocalAws) -> None:
        self._running = running

    def speed(self) -> float:
        return float(self._ask("GET", "clock")["speed"])

    def set_speed(self, speed: float) -> None:
        self._ask("PUT", "clock", {"speed": speed})

    def failures(self, *, load_balancer_arn: str, since: float) -> tuple[BalancerFailure, ...]:
        """Return what a load balancer answered with an error of its own, or broke off, in order."""
        failures = self._ask("GET", f"failures?since={since}")["failures"]
        return tuple(
            BalancerFailure(
                at=failure["at"],
                reason=failure["reason"],
                status=failure["status"],
                target=failure["target"] or "",
                target_is_draining=failure["target_is_draining"],
                path=failure["path"],
                in_flight_seconds=failure["in_flight_seconds"],
            )
            for failure in failures
            if failure["load_balancer_arn"] == load_balancer_arn and failure["at"] >= since
        )

    def requests(self, *, listener_arn: str) -> dict[str, int]:
        """Return how many requests a listener has given to each target group so far, by its ARN; told a second late."""
        counts = self._ask("GET", "requests")["requests"]
        return {
            each["target_group_arn"]: int(each["count"])
            for each in counts
            if each["listener_arn"] == listener_arn
        }

    def kill_task(self, task_arns: tuple[str, ...]) -> str:
        """End the process of one of these tasks as `kill -9` does, nobody told; return the task's ARN."""
        import psutil  # noqa: PLC0415  # only here

        for process in psutil.Process(self._running.pid).children(recursive=True):
            try:
                uri = process.environ().get(_METADATA)
                arn = None if uri is None else self._task_of(uri)
                if arn in task_arns and not _is_keeper(process.cmdline()):
                    process.kill()
                    return str(arn)
            except (psutil.Error, OSError, ValueError):
                continue  # it has ended meanwhile, or is none of a task's
        raise ConfigurationError(
            "no task of the service runs as a process of this machine",
            hint=Hint(
                "this fault needs tasks that are processes: ",
                ("local", "up", "--tasks", "process"),
                ", and an image of the built-in builder",
            ),
        )

    def _task_of(self, uri: str) -> str | None:
        arn = ask(f"{uri}/task", seconds=_SECONDS).get("TaskARN")
        return arn if isinstance(arn, str) else None

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            url = f"{self._running.url}/_mclass/{path}"
            return ask(url, seconds=_SECONDS, key=self._running.key, method=method, body=body)
        except (OSError, ValueError) as error:
            raise LocalAwsUnavailableError(
                f"the local AWS at {self._running.url} does not answer {method} /_mclass/{path}: {error}",
                hint=Hint("look at its log; ", ("local", "status"), " says where"),
            ) from None


def _is_keeper(command: Sequence[str]) -> bool:
    """Whether it is the process that keeps a task together, which has the task's environment (mclass_tf/local/containers/supervisor.py)."""
    return any(word.endswith("/containers/supervisor.py") for word in command)
