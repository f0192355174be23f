"""Terraform's CLI configuration: the source of the provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.errors import ConfigurationError

VARIABLE = "MCLASS_TF_PROVIDER_MIRROR"
_REGISTRY = "registry.terraform.io"
_SOURCE = f"{_REGISTRY}/hashicorp/aws"


@dataclass(frozen=True, kw_only=True)
class ProviderSource:
    """A filesystem mirror, the user's own CLI configuration, or (both None) Terraform's default: implied mirrors, registry."""

    mirror: Path | None = None
    user_config: Path | None = None


def find_source(env: Mapping[str, str], *, opt: Path = Path("/opt")) -> ProviderSource:
    """Return the source of the provider.

    It is the mirror in MCLASS_TF_PROVIDER_MIRROR; else the user's CLI configuration, if it exists; else Terraform's implied
    mirrors, if one holds the provider; else a folder directly under /opt that holds it; else the registry.
    """
    named = env.get(VARIABLE)
    if named:
        mirror = Path(named)
        if not (mirror / _SOURCE).is_dir():
            raise ConfigurationError(
                f"{VARIABLE} is {named}, which holds no {_SOURCE}",
                hint="make one with: terraform -chdir=terraform providers mirror FOLDER",
            )
        return ProviderSource(mirror=mirror.absolute())
    config = Path(env.get("TF_CLI_CONFIG_FILE") or Path(env.get("HOME", "/")) / ".terraformrc")
    if config.is_file():
        return ProviderSource(user_config=config.absolute())
    if any((folder / _SOURCE).is_dir() for folder in _implied(env)):
        return ProviderSource()
    mirrors = sorted(folder for folder in opt.glob("*") if (folder / _SOURCE).is_dir())
    return ProviderSource(mirror=mirrors[0] if mirrors else None)


def render(source: ProviderSource) -> str:
    """Return a CLI configuration that takes only the AWS provider from `source`."""
    if source.mirror is None:
        return ""
    return (
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f"    path    = {json.dumps(str(source.mirror))}\n"
        f'    include = ["{_SOURCE}"]\n'
        "  }\n"
        "  direct {\n"
        f'    exclude = ["{_SOURCE}"]\n'
        "  }\n"
        "}\n"
    )


def _implied(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return Terraform's own mirror folders. Source: "Implied Local Mirror Directories" of its CLI configuration."""
    home = Path(env.get("HOME", "/"))
    data = [env.get("XDG_DATA_HOME") or str(home / ".local/share")]
    data += (env.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    return (home / ".terraform.d/plugins", *(Path(folder) / "terraform/plugins" for folder in data))
