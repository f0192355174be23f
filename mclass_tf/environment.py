"""An environment: what `environments/<name>/` says about it, parsed once and checked at the edge."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf import analysis
from mclass_tf import strategy as strategies
from mclass_tf.errors import ConfigurationError, UnknownEnvironmentError
from mclass_tf.lines import key_on, line_of, parse_toml
from mclass_tf.private import temporary_files_in
from mclass_tf.strategy import Hook, Strategy

SETTINGS = "environment.toml"
VARIABLES = "terraform.tfvars"
BACKEND = "backend.hcl"

# What the wrapper hands to Terraform itself; in terraform.tfvars they would have two owners.
OWNED_BY_SETTINGS = ("account_id", "region", "image_digest")

_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PATH = re.compile(r"/[!-~]*")
_ALARM = re.compile(r"[ -~]{1,255}")
_STRATEGY = re.compile("|".join(strategies.NAMES))
_COMMAND = re.compile(r"[^\x00-\x1f]*\S[^\x00-\x1f]*")
_FUNCTION = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[\w-]+(:[\w$-]+)?")
_STAGE = re.compile("|".join(strategies.STAGES))
_STALL = (30.0, 86400.0)
_SOAK = (0.0, 43200.0)
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageScanFinding.html
SEVERITIES = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
_SEVERITIES = ", ".join(reversed(SEVERITIES[1:]))
_SEVERITY = re.compile("|".join((*SEVERITIES[1:], "NONE")))
_BUCKET_RULE = "the name of a bucket: 3 to 63 lowercase letters, digits, dots and hyphens"

# The inputs of Terraform that are read here too, before Terraform can judge them.
_READ_HERE = {
    "access_logs_bucket": (_BUCKET, _BUCKET_RULE),
    "certificate_arn": (
        re.compile(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/.+"),
        'the ARN of a certificate, "arn:aws:acm:<region>:<account>:certificate/<id>"',
    ),
}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Where the state lives: the arguments of Terraform's S3 backend that this package needs."""

    file: Path
    bucket: str
    key: str
    region: str
    allowed_account_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """How releases are watched: `stall_after` seconds without progress are the end (None: by the service's own times).

    `version_path` is what the load balancer is asked for when ECS is done. `smoke` are the paths that the new version must
    answer through the test listener before it gets traffic: None for the version path alone, empty for no test. `before`
    are commands that must succeed in the new version before a rollout begins; `analysis` is how it is judged under traffic.
    """

    stall_after: float | None = None
    version_path: str = "/version"
    strategy: Strategy = field(default_factory=Strategy)
    smoke: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()
    analysis: analysis.Limits = field(default_factory=analysis.Limits)


@dataclass(frozen=True, kw_only=True)
class PromotionSettings:
    """What a promotion to the environment demands: so many minutes proven, and scan findings below a severity.

    `refuse_findings` is the least severity that is refused, "NONE" where no scan is asked for. Without `allow_yes` a person
    at a terminal must answer.
    """

    soak_minutes: float = 0.0
    refuse_findings: str = "CRITICAL"
    allow_yes: bool = True


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment. `variables` are the literal values of terraform.tfvars, as HCL gives them."""

    name: str
    directory: Path
    account_id: str
    region: str
    role_arn: str | None
    promotes_from: str | None
    backend: Backend
    variables: Mapping[str, Any]
    release: ReleaseSettings = ReleaseSettings()
    promotion: PromotionSettings = PromotionSettings()

    @property
    def variables_file(self) -> Path:
        return self.directory / VARIABLES


def names(project: Path) -> tuple[str, ...]:
    """Return the names of the environments of the project at `project`, sorted."""
    found = (path.parent.name for path in (project / "environments").glob(f"*/{SETTINGS}"))
    return tuple(sorted(found))


def load(project: Path, name: str) -> Environment:
    """Read and check the environment `name`; raise ConfigurationError with file, line and key where it is wrong."""
    known = names(project)
    directory = project / "environments" / name
    if name in known and not _NAME.fullmatch(name):
        raise UnknownEnvironmentError(
            f"{name!r} cannot be the name of an environment",
            hint="rename the folder: at most 31 lowercase letters, digits and hyphens, a letter first",
        )
    if not _NAME.fullmatch(name) or (name not in known and not directory.is_dir()):
        raise UnknownEnvironmentError(
            f"unknown environment {name!r}",
            hint=f"known environments: {', '.join(known) or 'none'} (folders of {project / 'environments'})",
        )
    settings = _Settings.read(directory / SETTINGS)
    variables = _hcl(directory / VARIABLES)
    _declared(project / "terraform", directory / VARIABLES, variables)
    _one_owner(settings, directory / VARIABLES, variables)
    _texts(directory / VARIABLES, variables)
    environment = Environment(
        name=name,
        directory=directory,
        account_id=settings.required(
            "account_id", _ACCOUNT, 'twelve digits in quotes, such as "111111111111"'
        ),
        region=settings.required("region", _REGION, 'an AWS region, such as "ap-northeast-2"'),
        role_arn=settings.optional(
            "role_arn", _ROLE, 'the ARN of a role, "arn:aws:iam::111111111111:role/deploy"'
        ),
        promotes_from=settings.optional("promotes_from", _NAME, 'the name of an environment, such as "dev"'),
        backend=_backend(directory / BACKEND),
        variables=variables,
        release=_release(settings.table("release")),
        promotion=_promotion(settings.table("promotion")),
    )
    settings.nothing_else()
    _consistent(environment, settings, known)
    _own_state(environment, others=[other for other in known if other != name])
    return environment


def _release(settings: _Settings) -> ReleaseSettings:
    default = ReleaseSettings()
    found = ReleaseSettings(
        stall_after=settings.number("stall_after", _STALL, "seconds without progress, from 30 to 86400"),
        version_path=settings.optional("version_path", _PATH, 'a path of the service, such as "/version"')
        or default.version_path,
        strategy=_strategy(settings),
        smoke=settings.texts("smoke", _PATH, 'paths of the service, such as ["/version"]'),
        before=_commands(settings),
        analysis=_analysis(settings.table("analysis")),
    )
    settings.nothing_else()
    return found


def _commands(settings: _Settings) -> tuple[str, ...]:
    rule = 'commands, such as ["python -m app.migrate"]'
    commands = settings.texts("before", _COMMAND, rule) or ()
    for command in commands:
        try:
            program = shlex.split(command)[:1]
        except ValueError as error:
            raise settings.error(
                "before", f"has {command!r}: {error}", "quote words as a shell does"
            ) from None
        if not any(program):
            raise settings.error(
                "before", f"has {command!r}, which names no program", f"before is a list of {rule}"
            )
    return commands


def _strategy(settings: _Settings) -> Strategy:
    """Return the strategy, within ECS's limits; what another strategy has is refused."""
    usual = Strategy()
    minutes = "whole minutes, from 0 to 1440"
    name = settings.optional("strategy", _STRATEGY, f"one of {', '.join(strategies.NAMES)}") or usual.name
    found = Strategy(
        name=name,
        bake_minutes=settings.whole("bake_minutes", strategies.MINUTES, minutes, usual.bake_minutes),
        canary_percent=settings.number(
            "canary_percent",
            strategies.CANARY_PERCENT,
            "per cent, from 0.1 to 100, with one decimal at most",
            decimals=1,
        )
        or usual.canary_percent,
        canary_bake_minutes=settings.whole(
            "canary_bake_minutes", strategies.MINUTES, minutes, usual.canary_bake_minutes
        ),
        step_percent=settings.number(
            "step_percent",
            strategies.STEP_PERCENT,
            "per cent, from 3 to 100, with one decimal at most",
            decimals=1,
        )
        or usual.step_percent,
        step_bake_minutes=settings.whole(
            "step_bake_minutes", strategies.MINUTES, minutes, usual.step_bake_minutes
        ),
        alarms=settings.texts("alarms", _ALARM, 'names of CloudWatch alarms: ["errors"]') or (),
        hooks=_hooks(settings),
    )
    others = {key for keys in strategies.SETTINGS.values() for key in keys} - set(strategies.SETTINGS[name])
    for key in sorted(others & set(settings.values)):
        having = ", ".join(each for each, keys in strategies.SETTINGS.items() if key in keys)
        raise settings.error(key, f"is nothing that the strategy {name} has", f"strategies with it: {having}")
    return found


def _analysis(settings: _Settings) -> analysis.Limits:
    usual = analysis.Limits()
    found = analysis.Limits(
        is_on=settings.flag("enabled", usual.is_on),
        max_error_percent=settings.real(
            "max_error_percent",
            analysis.MAX_ERROR_PERCENT,
            "percentage points, from 0 to 100",
            usual.max_error_percent,
        ),
        max_latency_ratio=settings.real(
            "max_latency_ratio", analysis.MAX_LATENCY_RATIO, "from 1 to 1000", usual.max_latency_ratio
        ),
        latency_floor_seconds=settings.real(
            "latency_floor_seconds",
            analysis.LATENCY_FLOOR_SECONDS,
            "seconds, from 0 to 3600",
            usual.latency_floor_seconds,
        ),
        min_requests=settings.whole(
            "min_requests", analysis.MIN_REQUESTS, "a number of requests from 1", usual.min_requests
        ),
    )
    settings.nothing_else()
    return found


def _hooks(settings: _Settings) -> tuple[Hook, ...]:
    stages = f"stages of a deployment: {', '.join(strategies.STAGES)}"
    found = []
    for hook in settings.tables("hooks"):
        found.append(
            Hook(
                function_arn=hook.required("function_arn", _FUNCTION, "the ARN of a Lambda function"),
                role_arn=hook.required("role_arn", _ROLE, "the ARN of the role with which ECS invokes it"),
                stages=hook.texts("stages", _STAGE, stages) or (),
            )
        )
        if not found[-1].stages:
            raise hook.error("stages", "is missing or empty", stages)
        hook.nothing_else()
    return tuple(found)


def _promotion(settings: _Settings) -> PromotionSettings:
    default = PromotionSettings()
    found = PromotionSettings(
        soak_minutes=settings.number("soak_minutes", _SOAK, "minutes, from 0 to 43200")
        or default.soak_minutes,
        refuse_findings=settings.optional(
            "refuse_findings", _SEVERITY, f"the least severity that is refused: {_SEVERITIES}, or NONE"
        )
        or default.refuse_findings,
        allow_yes=settings.flag("allow_yes", default.allow_yes),
    )
    settings.nothing_else()
    return found


def _consistent(environment: Environment, settings: _Settings, known: tuple[str, ...]) -> None:
    source = environment.promotes_from
    if source is not None and (source not in known or source == environment.name):
        others = ", ".join(name for name in known if name != environment.name) or "none"
        raise settings.error(
            "promotes_from", f"names {source!r}, which is no other environment", f"others: {others}"
        )
    declared = environment.variables.get("environment")
    backend = environment.backend
    if backend.allowed_account_ids and environment.account_id not in backend.allowed_account_ids:
        raise ConfigurationError(
            f"allowed_account_ids is {list(backend.allowed_account_ids)}, {SETTINGS} says {environment.account_id}",
            hint="both name the account of this environment: correct the wrong one",
            file=backend.file,
            line=_line_of(backend.file, "allowed_account_ids"),
            key="allowed_account_ids",
        )
    if declared != environment.name:
        file = environment.variables_file
        raise ConfigurationError(
            f"environment is {declared!r}, but the folder is {environment.name!r}",
            hint=f'write environment = "{environment.name}"',
            file=file,
            line=_line_of(file, "environment"),
            key="environment",
        )


def _own_state(environment: Environment, *, others: Sequence[str]) -> None:
    """Refuse a state that is another environment's too: each would destroy what the other made."""
    own = environment.backend
    for other in others:
        try:
            theirs = _backend(environment.directory.with_name(other) / BACKEND)
        except ConfigurationError:
            continue  # it is told when that environment is opened
        if (theirs.bucket, theirs.key) == (own.bucket, own.key):
            raise ConfigurationError(
                f"the state s3://{own.bucket}/{own.key} is that of {other}",
                hint=f'give each environment its own: key = "{environment.name}/terraform.tfstate"',
                file=own.file,
                line=_line_of(own.file, "key"),
                key="key",
            )


def _declared(root: Path, file: Path, variables: Mapping[str, Any]) -> None:
    """Refuse a variable that the root does not declare: Terraform only warns, and the value would be lost."""
    for stray in sorted([*root.glob("*.auto.tfvars*"), *root.glob("terraform.tfvars*")]):
        raise ConfigurationError(
            "Terraform would read this file for every environment",
            hint=f"move what it sets to {VARIABLES} of the environments that it is meant for, and delete it",
            file=stray,
        )
    texts = (path.read_text(encoding="utf-8") for path in sorted(root.glob("*.tf")))
    declared = {name for text in texts for name in re.findall(r'^variable\s+"([^"]+)"', text, re.MULTILINE)}
    for key in set(variables) - declared - set(OWNED_BY_SETTINGS):
        near = difflib.get_close_matches(key, declared, n=1)
        raise ConfigurationError(
            f"{key} is no variable of {root.name}/",
            hint=f"did you mean {near[0]}?" if near else f"variables: {', '.join(sorted(declared))}",
            file=file,
            line=_line_of(file, key),
            key=key,
        )


def _one_owner(settings: _Settings, file: Path, variables: Mapping[str, Any]) -> None:
    for key in variables:
        if key in settings.values or key in OWNED_BY_SETTINGS:
            raise ConfigurationError(
                f"{key} does not belong here",
                hint=f"{key} is passed to Terraform from {SETTINGS} or the command line; delete this line",
                file=file,
                line=_line_of(file, key),
                key=key,
            )


def _texts(file: Path, variables: Mapping[str, Any]) -> None:
    """Refuse what is no literal text of its kind where this package must know the value."""
    for key, (pattern, rule) in _READ_HERE.items():
        value = variables.get(key)
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            raise ConfigurationError(
                f"{key} is {value!r}",
                hint=f"{key} is {rule}, or null",
                file=file,
                line=_line_of(file, key),
                key=key,
            )


class _Settings:
    """environment.toml while it is being read: remembers which keys were asked for."""

    def __init__(self, file: Path, values: Mapping[str, Any]) -> None:
        self.file = file
        self.values = values
        self._asked: set[str] = set()

    @classmethod
    def read(cls, file: Path) -> _Settings:
        return cls(file, parse_toml(_text(file), file=file))

    def required(self, key: str, pattern: re.Pattern[str], rule: str) -> str:
        value = self.optional(key, pattern, rule)
        if value is None:
            raise ConfigurationError(f"{key} is missing", hint=f"{key} is {rule}", file=self.file, key=key)
        return value

    def optional(self, key: str, pattern: re.Pattern[str], rule: str) -> str | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self.error(key, f"is {value!r}", f"{key} is {rule}")
        return value

    def number(
        self, key: str, bounds: tuple[float, float], rule: str, *, decimals: int | None = None
    ) -> float | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        # In Python true is a number.
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Not by a division: 0.3 / 0.1 is no 3 to a computer.
        if (
            not is_number
            or not bounds[0] <= value <= bounds[1]
            or (decimals is not None and round(value, decimals) != value)
        ):
            raise self.error(key, f"is {value!r}", f"{key} is {rule}")
        return float(value)

    def real(self, key: str, bounds: tuple[float, float], rule: str, default: float) -> float:
        value = self.number(key, bounds, rule)
        return default if value is None else value

    def flag(self, key: str, default: bool) -> bool:  # noqa: FBT001  (the default of a flag is one)
        self._asked.add(key)
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r}", f"{key} is true or false")
        return value

    def whole(self, key: str, bounds: tuple[int, int], rule: str, default: int) -> int:
        value = self.number(key, bounds, rule, decimals=0)
        return default if value is None else int(value)

    def texts(self, key: str, pattern: re.Pattern[str], rule: str) -> tuple[str, ...] | None:
        self._asked.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        is_list = isinstance(value, list)
        if not is_list or not all(isinstance(each, str) and pattern.fullmatch(each) for each in value):
            raise self.error(key, f"is {value!r}", f"{key} is a list of {rule}")
        return tuple(value)

    def table(self, key: str) -> _Settings:
        """Return what stands below `[key]`; nothing where there is no such table."""
        self._asked.add(key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"is {value!r}", f"{key} is a table: [{key}]")
        return _Settings(self.file, value)

    def tables(self, key: str) -> tuple[_Settings, ...]:
        """Return what stands below each `[[key]]`."""
        self._asked.add(key)
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(key, f"is {value!r}", f"{key} is a list of tables: [[{key}]]")
        return tuple(_Settings(self.file, each) for each in value)

    def nothing_else(self) -> None:
        for key in self.values:
            if key not in self._asked:
                raise self.error(key, "is not a setting", f"settings: {', '.join(sorted(self._asked))}")

    def error(self, key: str, problem: str, hint: str) -> ConfigurationError:
        return ConfigurationError(
            f"{key} {problem}", hint=hint, file=self.file, line=_line_of(self.file, key), key=key
        )


def _backend(file: Path) -> Backend:
    values = _hcl(file)
    for key in ("bucket", "key", "region"):
        if not isinstance(values.get(key), str) or not values[key]:
            raise ConfigurationError(
                f"{key} is missing" if key not in values else f"{key} is not a text",
                hint="an S3 backend needs bucket, key and region",
                file=file,
                line=_line_of(file, key),
                key=key,
            )
    if not _BUCKET.fullmatch(values["bucket"]):
        raise ConfigurationError(
            f"bucket is {values['bucket']!r}",
            hint=f"bucket is {_BUCKET_RULE}",
            file=file,
            line=_line_of(file, "bucket"),
            key="bucket",
        )
    if values.get("use_lockfile") is not True and not values.get("dynamodb_table"):
        raise ConfigurationError(
            "use_lockfile is not true: two applies at once would not keep each other out",
            hint="write use_lockfile = true",
            file=file,
            line=_line_of(file, "use_lockfile"),
            key="use_lockfile",
        )
    allowed = values.get("allowed_account_ids") or ()
    if isinstance(allowed, str):
        raise ConfigurationError(
            f"allowed_account_ids is {allowed!r}",
            hint=f'allowed_account_ids is a list: ["{allowed}"]',
            file=file,
            line=_line_of(file, "allowed_account_ids"),
            key="allowed_account_ids",
        )
    return Backend(
        file=file,
        bucket=values["bucket"],
        key=values["key"],
        region=values["region"],
        allowed_account_ids=tuple(str(account) for account in allowed),
    )


def _hcl(file: Path) -> dict[str, Any]:
    """Parse the literal attributes of an HCL file. hcl2 is imported late: `--help` does not need it."""
    # Its parser is kept as a pickle among the temporary files: where others may write, they could have code run.
    with temporary_files_in(Path.home() / ".mclass-tf-parser"):
        import hcl2  # noqa: PLC0415

    text = _text(file)
    try:
        parsed: dict[str, list[Any]] = hcl2.loads(text if text.endswith("\n") else text + "\n")
    except Exception as error:  # noqa: BLE001  (the parser's own exceptions come from lark, which is not ours to name)
        line = _line_of_parse_error(error, text)
        key = key_on(text, line)
        raise ConfigurationError(
            f"{f'{key}: ' if key else ''}not valid HCL",
            hint="`terraform fmt` shows where; every line is key = value",
            file=file,
            line=line,
            key=key,
        ) from None
    for key, values in parsed.items():
        if len(values) > 1:
            raise ConfigurationError(f"{key} is set twice", hint="keep one", file=file, key=key)
    return {key: values[0] for key, values in parsed.items()}


def _line_of_parse_error(error: Exception, text: str) -> int:
    line = getattr(error, "line", None)
    if isinstance(line, int) and line > 0:
        return line
    # An open quote is reported with the text of its line, not with its number.
    quoted = str(error).partition("quote marks: ")[2]
    before, found, _ = text.partition(quoted) if quoted else ("", "", "")
    return (before if found else text).count("\n") + 1


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except FileNotFoundError:
        raise ConfigurationError(
            "the file is missing",
            hint=f"an environment has {SETTINGS}, {VARIABLES} and {BACKEND}; copy those of another environment",
            file=file,
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", hint="it is a text file in UTF-8", file=file
        ) from None


def _line_of(file: Path, key: str) -> int | None:
    return line_of(_text(file), key)
