"""Read the tables [release] and [promotion] of environment.toml."""

from __future__ import annotations

import re
import shlex

from mclass_tf import analysis
from mclass_tf import strategy as strategies
from mclass_tf.environment.model import SEVERITIES, PromotionSettings, ReleaseSettings
from mclass_tf.environment.patterns import ROLE
from mclass_tf.environment.table import SettingsTable
from mclass_tf.environment.text import shown
from mclass_tf.strategy import Hook, Strategy

_PATH = re.compile(r"/[!-~]*")
_ALARM = re.compile(r"[ -~]{1,255}")
_STRATEGY = re.compile("|".join(strategies.NAMES))
_COMMAND = re.compile(r"(?=[^\x00-\x1f]*\S)[^\x00-\x1f]*")
_FUNCTION = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[\w-]+(:[\w$-]+)?")
_STAGE = re.compile("|".join(strategies.STAGES))
_STALL = (30.0, 86400.0)
_SOAK = (0.0, 43200.0)
_SEVERITIES = ", ".join(reversed(SEVERITIES[1:]))
_SEVERITY = re.compile("|".join((*SEVERITIES[1:], "NONE")))


def release(table: SettingsTable) -> ReleaseSettings:
    """Return the settings of `[release]`."""
    default = ReleaseSettings()
    settings = ReleaseSettings(
        stall_after=table.number("stall_after", _STALL, "seconds without progress, from 30 to 86400"),
        version_path=table.optional("version_path", _PATH, 'a path of the service, such as "/version"')
        or default.version_path,
        strategy=_strategy(table),
        smoke=table.strings("smoke", _PATH, 'paths of the service, such as ["/version"]'),
        before=_commands(table),
        analysis=_analysis(table.table("analysis")),
    )
    table.reject_unknown_keys()
    return settings


def _commands(table: SettingsTable) -> tuple[str, ...]:
    rule = 'commands, such as ["python -m app.migrate"]'
    commands = table.strings("before", _COMMAND, rule) or ()
    for command in commands:
        try:
            program = shlex.split(command)[:1]
        except ValueError as error:
            raise table.error(
                "before", f"has {shown(command)}: {error}", "quote words as a shell does"
            ) from None
        if not any(program):
            raise table.error(
                "before", f"has {shown(command)}, which names no program", f"before is a list of {rule}"
            )
    return commands


def _strategy(table: SettingsTable) -> Strategy:
    usual = Strategy()
    minutes = "whole minutes, from 0 to 1440"
    name = table.optional("strategy", _STRATEGY, f"one of {', '.join(strategies.NAMES)}") or usual.name
    strategy = Strategy(
        name=name,
        bake_minutes=table.whole_number("bake_minutes", strategies.MINUTES, minutes, usual.bake_minutes),
        canary_percent=table.number(
            "canary_percent",
            strategies.CANARY_PERCENT,
            "per cent, from 0.1 to 100, with one decimal at most",
            decimals=1,
        )
        or usual.canary_percent,
        canary_bake_minutes=table.whole_number(
            "canary_bake_minutes", strategies.MINUTES, minutes, usual.canary_bake_minutes
        ),
        step_percent=table.number(
            "step_percent",
            strategies.STEP_PERCENT,
            "per cent, from 3 to 100, with one decimal at most",
            decimals=1,
        )
        or usual.step_percent,
        step_bake_minutes=table.whole_number(
            "step_bake_minutes", strategies.MINUTES, minutes, usual.step_bake_minutes
        ),
        alarms=table.strings("alarms", _ALARM, 'names of CloudWatch alarms: ["errors"]') or (),
        hooks=_hooks(table),
    )
    others = {key for keys in strategies.SETTINGS.values() for key in keys} - set(strategies.SETTINGS[name])
    for key in sorted(others & set(table.values)):
        having = ", ".join(each for each, keys in strategies.SETTINGS.items() if key in keys)
        raise table.error(key, f"does not apply to strategy {name}", f"strategies with it: {having}")
    return strategy


def _analysis(table: SettingsTable) -> analysis.AnalysisLimits:
    usual = analysis.AnalysisLimits()
    limits = analysis.AnalysisLimits(
        is_on=table.flag("enabled", usual.is_on),
        max_error_percent=table.real(
            "max_error_percent",
            analysis.MAX_ERROR_PERCENT,
            "percentage points, from 0 to 100",
            usual.max_error_percent,
        ),
        max_latency_ratio=table.real(
            "max_latency_ratio", analysis.MAX_LATENCY_RATIO, "from 1 to 1000", usual.max_latency_ratio
        ),
        latency_floor_seconds=table.real(
            "latency_floor_seconds",
            analysis.LATENCY_FLOOR_SECONDS,
            "seconds, from 0 to 3600",
            usual.latency_floor_seconds,
        ),
        min_requests=table.whole_number(
            "min_requests", analysis.MIN_REQUESTS, "a number of requests from 1", usual.min_requests
        ),
    )
    table.reject_unknown_keys()
    return limits


def _hooks(table: SettingsTable) -> tuple[Hook, ...]:
    stages = f"stages of a deployment: {', '.join(strategies.STAGES)}"
    hooks = []
    for hook in table.tables("hooks"):
        hooks.append(
            Hook(
                function_arn=hook.required("function_arn", _FUNCTION, "the ARN of a Lambda function"),
                role_arn=hook.required("role_arn", ROLE, "the ARN of the role with which ECS invokes it"),
                stages=hook.strings("stages", _STAGE, stages) or (),
            )
        )
        if not hooks[-1].stages:
            raise hook.error("stages", "is missing or empty", stages)
        hook.reject_unknown_keys()
    return tuple(hooks)


def promotion(table: SettingsTable) -> PromotionSettings:
    """Return the settings of `[promotion]`."""
    default = PromotionSettings()
    settings = PromotionSettings(
        soak_minutes=table.number("soak_minutes", _SOAK, "minutes, from 0 to 43200") or default.soak_minutes,
        refuse_findings=table.optional(
            "refuse_findings", _SEVERITY, f"the least severity that is refused: {_SEVERITIES}, or NONE"
        )
        or default.refuse_findings,
        refuse_unfixed=table.flag("refuse_unfixed", default.refuse_unfixed),
        allow_yes=table.flag("allow_yes", default.allow_yes),
    )
    table.reject_unknown_keys()
    return settings
