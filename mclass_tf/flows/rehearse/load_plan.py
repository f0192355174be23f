"""The load of a rehearsal, fitted to the environment."""

from __future__ import annotations

from mclass_tf.errors import EndpointError, Hint, UsageError
from mclass_tf.flows.endpoints import locate
from mclass_tf.flows.rehearse.scene import Scene
from mclass_tf.load_balancer_endpoint import Endpoint, get
from mclass_tf.rehearsal.plan import BurstProbe, LoadEndpoint, LoadPlan

# Share of the deregistration delay: a long request must end well before it.
_LONG_SHARE_OF_DELAY = 0.6
_LONGEST_MS = 2000
_ANSWER_SECONDS = 10.0
# Seconds; a longer keep-alive would take too long to probe.
_PROBED_KEEP_ALIVE = 30.0


def load_plan(scene: Scene) -> LoadPlan:
    """Return the load: long requests shorter than the deregistration delay, and bursts around the service's keep-alive."""
    request, facts = scene.request, scene.facts
    outputs = scene.outputs
    endpoint = locate(scene.session, outputs["url"], certificate_arn=outputs.get("certificate_arn"))
    _require_answer(endpoint, url=outputs["url"])
    plan = LoadPlan(
        where=LoadEndpoint(
            scheme=endpoint.scheme,
            host=endpoint.host,
            port=endpoint.port,
            host_header=endpoint.host_header,
            server_name=endpoint.server_name,
            certificates=endpoint.trust.certificates,
        ),
        rate=request.rate,
        long_share=request.long_share,
        long_ms=long_ms(scene),
        new_connection_share=request.new_connection_share,
        probe=_probe(facts.settings.keep_alive),
    )
    plan = scene.scenario.load(plan, facts)
    require_possible(plan)
    return plan


def _require_answer(endpoint: Endpoint, *, url: str) -> None:
    """Raise EndpointError if the load balancer lets no load in. Without a healthy target, it answers all the same."""
    try:
        get(endpoint, "/", seconds=_ANSWER_SECONDS)
    except OSError as error:
        raise EndpointError(
            f"nothing can be rehearsed: {url} does not answer clients of the local AWS: {error}",
            hint=Hint(
                "its security group, or its scheme, lets their address not in, which ",
                ("local", "status"),
                " shows; name one that it lets in: ",
                ("local", "up", "--client-address", "ADDRESS"),
            ),
        ) from None


def long_ms(scene: Scene) -> int:
    drained = scene.facts.real(scene.facts.settings.deregistration_delay)
    return min(_LONGEST_MS, round(drained * _LONG_SHARE_OF_DELAY * 1000))


def _probe(keep_alive: float | None) -> BurstProbe:
    """Return bursts around the service's keep-alive, or around the default of many servers if it is long or unknown."""
    if keep_alive is None or keep_alive > _PROBED_KEEP_ALIVE:
        return BurstProbe()
    return BurstProbe(intervals=tuple(keep_alive + offset for offset in (-0.01, 0.0, 0.005, 0.01, 0.02)))


def require_possible(plan: LoadPlan) -> None:
    """Raise UsageError if the load cannot be sent as planned."""
    problems = plan.problems()
    if problems:
        raise UsageError("; ".join(problems))
