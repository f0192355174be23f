"""A copy of the project with the session's release settings, for a separate command that nobody answers."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mclass_tf.environment import SETTINGS
from mclass_tf.session import Session
from mclass_tf.strategy import ROLLING
from mclass_tf.strategy import SETTINGS as STRATEGY_SETTINGS

_ENVIRONMENTS = "environments"


def project_of(session: Session) -> Path:
    """Return a project of links to the session's files, with its own settings of the environment."""
    own, name = session.project.folder, session.environment.name
    settings = own / _ENVIRONMENTS / name / SETTINGS
    document = tomllib.loads(settings.read_text(encoding="utf-8"))
    release = session.environment.release
    promotion = document.get("promotion", {})
    is_rolling = (
        not release.strategy.shifts and document.get("release", {}).get("strategy", ROLLING) == ROLLING
    )
    if is_rolling and promotion.get("allow_yes", True):
        return own
    folder = session.project.home / "rehearsal" / "project"
    shutil.rmtree(folder, ignore_errors=True)
    _link(own, folder, besides=_ENVIRONMENTS)
    _link(own / _ENVIRONMENTS, folder / _ENVIRONMENTS, besides=name)
    _link(own / _ENVIRONMENTS / name, folder / _ENVIRONMENTS / name, besides=SETTINGS)
    document["release"] = with_strategy(
        document.get("release", {}),
        release.strategy.name,
        latency_floor=release.analysis.latency_floor_seconds,
    )
    document["promotion"] = {**promotion, "allow_yes": True}  # nobody is there to answer
    (folder / _ENVIRONMENTS / name / SETTINGS).write_text(to_toml(document), encoding="utf-8")
    return folder


def _link(source: Path, folder: Path, *, besides: str) -> None:
    folder.mkdir(mode=0o700, parents=True)
    for path in source.iterdir():
        if path.name != besides and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)


def with_strategy(release: Mapping[str, Any], strategy: str, *, latency_floor: float) -> dict[str, Any]:
    """Return the release settings with a strategy and a latency floor. Settings of another strategy get their defaults."""
    floor = {"analysis": {**release.get("analysis", {}), "latency_floor_seconds": latency_floor}}
    if release.get("strategy", ROLLING) == strategy:
        return {**release, **floor}
    keys = {key for own in STRATEGY_SETTINGS.values() for key in own}
    kept = keys - {"smoke"} if "smoke" in STRATEGY_SETTINGS[strategy] else keys
    return {**{key: value for key, value in release.items() if key not in kept}, "strategy": strategy} | floor


def to_toml(document: Mapping[str, Any], *, place: tuple[str, ...] = ()) -> str:
    """Return settings as TOML: strings, numbers, booleans, lists of these, tables and arrays of tables."""
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    arrays = {key: value for key, value in document.items() if _is_array_of_tables(value)}
    lines = [
        f"{key} = {_value(value)}"
        for key, value in document.items()
        if key not in tables and key not in arrays
    ]
    for key, value in tables.items():
        own = (*place, key)
        lines += ["", f"[{'.'.join(own)}]", to_toml(value, place=own)]
    for key, values in arrays.items():
        own = (*place, key)
        for value in values:
            lines += ["", f"[[{'.'.join(own)}]]", to_toml(value, place=own)]
    return "\n".join(lines) + "\n"


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _value(value: Any) -> str:
    """Return a value as JSON, whose strings, numbers, booleans and lists are also TOML."""
    return json.dumps(value, ensure_ascii=False)
