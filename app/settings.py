"""Reads and validates the service's settings from environment variables."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app import __version__

PREFIX = "MCLASS_"
FAULT_PREFIX = "MCLASS_FAULT_"
_ONLY_IN = "MCLASS_FAULT_ONLY_IN"
_TOOL_PREFIX = "MCLASS_TF_"  # the deployment tool's variables, which a developer's shell may contain
_CLOSING = 2  # seconds to close the last connection after the longest request
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Deliberate faults for rehearsals. None, False and 0 mean off. Times are in seconds."""

    crash_after: float | None = None
    error_rate: float = 0
    exit_on_sigterm: bool = False
    keep_alive: int | None = None
    leak_mib_per_second: float = 0
    slow_start: float = 0
    unhealthy_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the service. Times are in seconds. The defaults match modules/ecs-service and modules/alb.

    `faults_only_in` limits the faults to tasks of one account and cluster; "" does not limit them.
    """

    host: str = "0.0.0.0"  # noqa: S104 - the container's own network, protected by its security group
    port: int = 3000
    version: str = __version__
    revision: str = "unknown"
    log_level: str = "INFO"
    idle_timeout: int = 60
    keep_alive: int = 75
    lame_duck: float = 10
    longest_request: float = 30
    stop_timeout: float = 60
    metadata_uri: str | None = None
    faults: Faults = Faults()
    faults_only_in: str = ""
    asked_faults: tuple[str, ...] = ()

    @property
    def effective_keep_alive(self) -> int:
        return self.keep_alive if self.faults.keep_alive is None else self.faults.keep_alive


class SettingsError(Exception):
    """Invalid settings. `problems` lists all of them, each with its remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _VariableReader:
    """Reads variables, and collects problems to report them together. Empty means unset."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.known: set[str] = set()
        self.problems: list[str] = []

    def given(self, name: str) -> str | None:
        self.known.add(name)
        return self.env.get(name, "").strip() or None

    def text(self, name: str, *, default: str, pattern: str, example: str) -> str:
        value = self.given(name)
        if value is None or re.fullmatch(pattern, value):
            return value or default
        self.problems.append(f"{name} is {value!r}; it must look like {example}")
        return default

    def address(self, name: str, *, default: str) -> str:
        value = self.given(name)
        if value is None or _is_address(value):
            return value or default
        self.problems.append(f"{name} is {value!r}; it must be an IP address, such as 0.0.0.0 or ::")
        return default

    def number(self, name: str, *, default: float, least: float, most: float) -> float:
        value = self.optional(name, least=least, most=most)
        return default if value is None else value

    def whole(self, name: str, *, default: int, least: int, most: int) -> int:
        value = self.optional_whole(name, least=least, most=most)
        return default if value is None else value

    def optional(self, name: str, *, least: float, most: float) -> float | None:
        return self._bounded(name, kind="a number", pattern=r"\d+(\.\d+)?", least=least, most=most)

    def optional_whole(self, name: str, *, least: int, most: int) -> int | None:
        value = self._bounded(name, kind="a whole number", pattern=r"\d+", least=least, most=most)
        return None if value is None else int(value)

    def flag(self, name: str) -> bool:
        value = self.given(name)
        if value is not None and value.lower() not in _FLAGS:
            self.problems.append(f"{name} is {value!r}; it must be true or false")
            return False
        return value is not None and _FLAGS[value.lower()]

    def refuse_unknown(self) -> None:
        """Report unknown variables, so that a misspelt setting is not silently ignored."""
        for name in sorted(self.env):
            if name.startswith(PREFIX) and not name.startswith(_TOOL_PREFIX) and name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self.known))}"
                self.problems.append(f"{name} is no setting of this service; {hint}")

    def _bounded(self, name: str, *, kind: str, pattern: str, least: float, most: float) -> float | None:
        value = self.given(name)
        if value is None:
            return None
        if re.fullmatch(pattern, value, re.ASCII) and least <= float(value) <= most:
            return float(value)
        self.problems.append(f"{name} is {value!r}; it must be {kind} from {least:g} to {most:g}")
        return None


def load(env: Mapping[str, str]) -> Settings:
    """Return the settings; raise SettingsError with all problems."""
    reader = _VariableReader(env)
    settings = Settings(
        host=reader.address("MCLASS_HOST", default=Settings.host),
        port=reader.whole("MCLASS_PORT", default=Settings.port, least=0, most=65535),
        version=reader.text(
            "MCLASS_VERSION", default=Settings.version, pattern=r"[\w.+-]{1,128}", example="1.2.3"
        ),
        revision=reader.text(
            "MCLASS_REVISION", default=Settings.revision, pattern=r"[\w.+-]{1,128}", example="a commit's id"
        ),
        log_level=reader.text(
            "MCLASS_LOG_LEVEL",
            default=Settings.log_level,
            pattern=r"(?i)debug|info|warning|error",
            example="DEBUG, INFO, WARNING or ERROR",
        ).upper(),
        idle_timeout=reader.whole(
            "MCLASS_IDLE_TIMEOUT_SECONDS", default=Settings.idle_timeout, least=1, most=4000
        ),
        keep_alive=reader.whole("MCLASS_KEEP_ALIVE_SECONDS", default=Settings.keep_alive, least=1, most=4100),
        lame_duck=reader.number("MCLASS_LAME_DUCK_SECONDS", default=Settings.lame_duck, least=0, most=120),
        longest_request=reader.number(
            "MCLASS_LONGEST_REQUEST_SECONDS", default=Settings.longest_request, least=0, most=120
        ),
        stop_timeout=reader.number(
            "MCLASS_STOP_TIMEOUT_SECONDS", default=Settings.stop_timeout, least=2, most=120
        ),
        metadata_uri=env.get("ECS_CONTAINER_METADATA_URI_V4") or None,
        faults=_faults(reader),
        faults_only_in=reader.text(
            _ONLY_IN,
            default="",
            pattern=r"\d{12}:task/[\w-]{1,255}",
            example="ACCOUNT:task/CLUSTER, as in the ARN of a task",
        ),
        asked_faults=tuple(sorted(name for name in env if _is_fault(name, env))),
    )
    reader.refuse_unknown()
    # Invalid settings have their defaults here, so check for contradictions only without them.
    problems = reader.problems or _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def settings_of_task(settings: Settings, *, task_arn: str | None) -> Settings:
    """Return the settings for a task: without faults if they are limited to another cluster."""
    if not settings.faults_only_in or f":{settings.faults_only_in}/" in (task_arn or ""):
        return settings
    return replace(settings, faults=Faults(), asked_faults=())


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value  # the zone is an interface name, which may not exist


def _is_fault(name: str, env: Mapping[str, str]) -> bool:
    """Whether the variable enables a fault; false and 0 do not."""
    return name.startswith(FAULT_PREFIX) and _faults(_VariableReader({name: env[name]})) != Faults()


def _faults(reader: _VariableReader) -> Faults:
    return Faults(
        crash_after=reader.optional("MCLASS_FAULT_CRASH_AFTER_SECONDS", least=0, most=86400),
        error_rate=reader.number("MCLASS_FAULT_ERROR_RATE", default=0, least=0, most=1),
        exit_on_sigterm=reader.flag("MCLASS_FAULT_EXIT_ON_SIGTERM"),
        keep_alive=reader.optional_whole("MCLASS_FAULT_KEEP_ALIVE_SECONDS", least=1, most=60),
        leak_mib_per_second=reader.number("MCLASS_FAULT_LEAK_MIB_PER_SECOND", default=0, least=0, most=4096),
        slow_start=reader.number("MCLASS_FAULT_SLOW_START_SECONDS", default=0, least=0, most=3600),
        unhealthy_after=reader.optional("MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS", least=0, most=86400),
    )


def _contradictions(settings: Settings) -> list[str]:
    """Return problems of settings that are valid only individually."""
    problems = []
    if settings.keep_alive <= settings.idle_timeout:
        problems.append(
            f"MCLASS_KEEP_ALIVE_SECONDS is {settings.keep_alive}; it must be above the load balancer's idle "
            f"timeout, MCLASS_IDLE_TIMEOUT_SECONDS ({settings.idle_timeout}), or connections close under requests (502)"
        )
    needed = settings.lame_duck + settings.longest_request + _CLOSING
    if needed > settings.stop_timeout:
        problems.append(
            f"MCLASS_LAME_DUCK_SECONDS ({settings.lame_duck:g}), MCLASS_LONGEST_REQUEST_SECONDS "
            f"({settings.longest_request:g}) and {_CLOSING} s for closing are more than MCLASS_STOP_TIMEOUT_SECONDS "
            f"({settings.stop_timeout:g}): SIGKILL would cut requests off. Raise the task definition's stopTimeout "
            "(shutdown.stop_timeout, at most 120) and MCLASS_STOP_TIMEOUT_SECONDS with it, or lower the others"
        )
    return problems
