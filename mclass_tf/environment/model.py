"""An environment as values: what `environments/<name>/` says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mclass_tf import analysis
from mclass_tf.strategy import Strategy

SETTINGS: Final = "environment.toml"
VARIABLES: Final = "terraform.tfvars"
BACKEND: Final = "backend.hcl"

# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageScanFinding.html
SEVERITIES: Final = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Where the state lives: the arguments of Terraform's S3 backend that this package needs."""

    file: Path
    bucket: str
    key: str
    region: str
    allowed_account_ids: tuple[str, ...]
    line_of_key: int | None = None
    line_of_accounts: int | None = None


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
