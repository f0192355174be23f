"""The dataclasses of an environment."""

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
    """The location of the state: the arguments of Terraform's S3 backend that this package needs."""

    file: Path
    bucket: str
    key: str
    region: str
    allowed_account_ids: tuple[str, ...]
    line_of_key: int | None = None
    line_of_accounts: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """The settings of releases. A rollout fails after `stall_after` seconds without progress (None: derived from the service).

    `version_path` is the path to request from the load balancer after the rollout. `smoke` are the paths of the smoke test over
    test traffic: None for the version path alone, empty for no test. `before` are commands that must succeed in the new
    version before the rollout. `analysis` are the limits of the analysis.
    """

    stall_after: float | None = None
    version_path: str = "/version"
    strategy: Strategy = field(default_factory=Strategy)
    smoke: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()
    analysis: analysis.AnalysisLimits = field(default_factory=analysis.AnalysisLimits)


@dataclass(frozen=True, kw_only=True)
class PromotionSettings:
    """The requirements of a promotion to the environment: a soak time, and no scan findings from a severity upwards.

    `refuse_findings` is the lowest severity to refuse, "NONE" to skip the scan. Without `refuse_unfixed`, findings without a fix
    are reported and not refused. Without `allow_yes`, a person at a terminal
    must confirm.
    """

    soak_minutes: float = 0.0
    refuse_findings: str = "CRITICAL"
    refuse_unfixed: bool = True
    allow_yes: bool = True


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment. `variables` are the values in terraform.tfvars, as JSON types."""

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
