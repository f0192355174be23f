"""Errors of starting, stopping and saving the local AWS."""

from __future__ import annotations

from collections.abc import Sequence


class LocalAwsError(Exception):
    """`message` says what failed, `hint` what to do next: strings, and mclass-tf commands as tuples of words."""

    def __init__(self, message: str, *, hint: str | Sequence[str | tuple[str, ...]] = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint: tuple[str | tuple[str, ...], ...] = (hint,) if isinstance(hint, str) else tuple(hint)


class PortInUseError(LocalAwsError):
    """Another process listens on the port. `process` names it, if known."""

    def __init__(self, *, port: int, process: str | None) -> None:
        by = f" by {process}" if process else ""
        super().__init__(
            f"port {port} on 127.0.0.1 is in use{by}",
            hint="stop that process, or choose another port (0 takes a free one)",
        )
        self.port = port
        self.process = process


class StartError(LocalAwsError):
    """The server process did not start. The message contains the end of its log."""


class StopError(LocalAwsError):
    """The server process did not stop."""


class SnapshotError(LocalAwsError):
    """A snapshot cannot be saved now, or a file cannot be used as one."""


class MissingDependencyError(LocalAwsError):
    """A package of the `local` extra is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the local AWS needs the package {package}, which is not installed",
            hint="pip install 'mclass-tf[local]'",
        )
