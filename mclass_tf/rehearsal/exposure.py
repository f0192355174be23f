"""Measures how much traffic reached a version that was rolled back, from the answers and the deployment's stages. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mclass_tf.rehearsal.result import Exposure, LoadResult, ObservedDeployment
from mclass_tf.strategy import CANARY, LINEAR, Strategy

_WHOLE = 100.0


def exposure_of(
    load: LoadResult,
    *,
    version: str,
    strategy: Strategy,
    deployments: Sequence[ObservedDeployment],
    balancer_requests: int | None,
) -> Exposure:
    """Return the exposure of the users to `version`."""
    met = [sample for sample in load.samples if sample.versions.get(version)]
    requests = sum(sample.versions[version] for sample in met)
    within = [sample for sample in load.samples if met and met[0].at <= sample.at <= met[-1].at]
    sent = sum(sample.sent for sample in within)
    return Exposure(
        requests=requests,
        failed=sum(sample.failed_versions.get(version, 0) for sample in met),
        share=round(requests / sent, 4) if sent else 0.0,
        seconds=round(met[-1].at - met[0].at + 1, 1) if met else 0.0,
        limit=_limit(strategy, deployments),
        sent=sent,
        balancer_requests=balancer_requests,
    )


def _limit(strategy: Strategy, deployments: Sequence[ObservedDeployment]) -> float:
    """Return the largest share of traffic that the strategy gives an unproven version: the first or the highest step seen."""
    if strategy.name == CANARY:
        return strategy.canary_percent / _WHOLE
    if strategy.name == LINEAR:
        seen = [stage.production or 0.0 for each in deployments for stage in each.stages]
        return max([*seen, strategy.step_percent]) / _WHOLE
    return 1.0
