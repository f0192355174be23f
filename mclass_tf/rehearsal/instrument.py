"""Abilities of the local AWS that AWS lacks: its clock, its report of failures, and killing a task."""

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
        """Return the requests that a load balancer itself answered with an error or broke off, in order."""
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

    def requests(self, *, rule_arn: str) -> dict[str, int]:
        """Return the number of requests that a listener rule has forwarded to each target group, by its ARN. It lags by one second."""
        counts = self._ask("GET", "requests")["requests"]
        return {
            each["target_group_arn"]: int(each["count"]) for each in counts if each["rule_arn"] == rule_arn
        }

    def kill_task(self, task_arns: tuple[str, ...]) -> str:
        """Kill the process of one of these tasks with SIGKILL, unannounced. Return the task's ARN."""
        import psutil  # noqa: PLC0415  # only here

        for process in psutil.Process(self._running.pid).children(recursive=True):
            try:
                uri = process.environ().get(_METADATA)
                arn = None if uri is None else self._task_of(uri)
                if arn in task_arns and not _is_keeper(process.cmdline()):
                    process.kill()
                    return str(arn)
            except (psutil.Error, OSError, ValueError):
                continue  # it has exited since, or belongs to no task
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
    """Whether it is the supervisor of a container, which has the task's environment variables (mclass_tf/local/containers/supervisor.py)."""
    return any(word.endswith("/containers/supervisor.py") for word in command)
