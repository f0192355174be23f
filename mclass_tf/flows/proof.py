"""The image that an environment serves, and whether it is proven well enough for a promotion."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from mclass_tf import environment as environments
from mclass_tf import verify
from mclass_tf.aws import error_code
from mclass_tf.environment import Environment, PromotionSettings
from mclass_tf.errors import Hint, NoImageError, NotServingError, PromotionRefusedError
from mclass_tf.flows.attempt import lease_of, ledger_of
from mclass_tf.flows.deployer.deploy import Deployer, serving_tasks
from mclass_tf.flows.retention import is_own
from mclass_tf.flows.scans import ScanPatience, ScanReport, require_clean_scans
from mclass_tf.gates.image_waivers import ImageWaivers
from mclass_tf.gates.waivers import load_image_waivers
from mclass_tf.ledger import Origin, Record, proven_releases
from mclass_tf.service import ROLLING_BACK
from mclass_tf.session import Session

_LOOKED_BACK = 200  # attempts
# Outcomes after which the attempt's image serves.
_GOOD = ("released", "unchanged")


@dataclass(frozen=True, kw_only=True)
class ProvenImage:
    """An image that serves in an environment and was proven there by `origin`'s record."""

    digest: str
    revision: str
    tags: tuple[str, ...]
    origin: Origin
    scan: ScanReport = field(default_factory=ScanReport)


def require_proven_image(deployer: Deployer, target: Environment, *, digest: str) -> ProvenImage:
    """Return the proof of the serving image; raise PromotionRefusedError if it is not sufficient for a promotion to `target`."""
    settings = target.promotion
    session = deployer.session
    name, ledger = session.environment.name, ledger_of(session)
    records = ledger.latest_first(most=_LOOKED_BACK)
    record = require_proven(
        records, digest=digest, environment=name, settings=settings, now=session.aws.now()
    )
    tags = _tags(deployer, digest)
    scan = ScanReport()
    if settings.refuse_findings != "NONE":
        scan = require_clean_scans(
            session.aws.ecr,
            digest=digest,
            repository=deployer.outputs.repository_name,
            environment=name,
            settings=settings,
            waivers=_image_waivers(session, target),
            patience=ScanPatience(report=session.report),
        )
        for line in scan.lines():
            session.report(line)
    return ProvenImage(
        scan=scan,
        digest=digest,
        revision=record.begun.revision,
        tags=tags,
        origin=Origin(environment=name, record=ledger.url(record.name)),
    )


def _image_waivers(session: Session, target: Environment) -> ImageWaivers:
    """Return the waivers of the environment that the image goes to."""
    project, today = session.project.folder, session.aws.now().date()
    known = {*environments.names(project), target.name}
    return ImageWaivers.of(
        load_image_waivers(project, environments=known, today=today), environment=target.name, today=today
    )


def require_not_withdrawn(source: Session, *, digest: str) -> None:
    """Raise PromotionRefusedError if the image of a cut-off promotion was since taken back in `source`."""
    name = source.environment.name
    looked_at = list(ledger_of(source).latest_first(most=_LOOKED_BACK))
    if not any(record.begun.digest == digest for record in proven_releases(looked_at[::-1])):
        raise PromotionRefusedError(
            f"{digest} was rolled back in {name} since its promotion was cut off; nothing was changed",
            hint=Hint("promote what serves there now; ", ("history", name), " tells what happened"),
            digest=digest,
        )


def serving_digest(deployer: Deployer) -> str:
    """Return the digest that all running tasks share; raise PromotionRefusedError if there is no such digest."""
    name = deployer.session.environment.name
    holder = lease_of(deployer.session).holder()
    if holder is not None:
        raise PromotionRefusedError(
            f"{holder.who} is at work in {name} since {holder.since}: {holder.command} {holder.digest}".rstrip(),
            hint=Hint("wait for it to end: ", ("status", name)),
        )
    current = deployer.ongoing()
    if current is not None:
        doing = "being rolled back" if current.status in ROLLING_BACK else "under way"
        raise PromotionRefusedError(
            f"a deployment in {name} is {doing} since {current.created_at:%Y-%m-%d %H:%M:%S} UTC: "
            "what it comes to is not known yet",
            hint=Hint("wait for it to end: ", ("status", name)),
        )
    service = deployer.service()
    digest = deployer.image_of(service.task_definition_arn).rpartition("@")[2]
    if service.desired == 0 or digest == verify.PLACEHOLDER:
        raise PromotionRefusedError(
            f"{name} runs nothing: there is nothing to promote",
            hint=Hint("release there first: ", ("release", name)),
        )
    _require_steady(deployer, task_definition_arn=service.task_definition_arn, digest=digest)
    return digest


def _require_steady(deployer: Deployer, *, task_definition_arn: str, digest: str) -> None:
    try:
        serving_tasks(deployer, task_definition_arn=task_definition_arn, digest=digest)
    except NotServingError as error:
        name = deployer.session.environment.name
        raise PromotionRefusedError(
            f"{name} does not serve {digest} with all its tasks: {error.cause}",
            hint=Hint(("status", name), " shows what runs; release there again once it is fixed"),
            digest=digest,
        ) from None


def require_proven(
    records: Iterable[Record], *, digest: str, environment: str, settings: PromotionSettings, now: dt.datetime
) -> Record:
    """Return the record that proves `digest`, from `records`, latest first; raise PromotionRefusedError without a proof.

    Attempts that changed nothing do not count. The last ended attempt must have brought this digest into service and have been
    verified: after a failure or rollback, the intended image is unclear. The soak time of a digest that was proven repeatedly,
    without another attempt in between, counts from the first proof.
    """
    known = list(records)
    newest = next((record for record in known if not record.is_harmless), None)
    is_open = newest is not None and not newest.is_over and newest.begun.digest == digest
    anew = Hint(("release", environment, "--image", digest), " proves it again")
    resumed = Hint(("release", environment, "--resume"), " completes the cut-off attempt and proves it")
    again = resumed if is_open else anew
    ended = [record for record in known if record.is_over and not record.is_harmless]
    last = ended[0] if ended else None
    if last is None or last.ended is None or not any(each.begun.digest == digest for each in ended):
        raise _refused(
            f"{digest} serves in {environment}, but the ledger records no release of it", again, digest
        )
    if last.ended.outcome not in _GOOD or last.begun.digest != digest:
        cause = f" ({last.ended.cause})" if last.ended.cause else ""
        raise _refused(
            f"the last {last.begun.command} in {environment}, of {last.begun.digest or 'nothing'} at {last.ended.at}, "
            f"ended with {last.ended.outcome!r}{cause}; {digest} serves there",
            Hint("release what is right there; ", again),
            digest,
        )
    if not last.is_proven:
        raise _refused(
            f"{digest} serves in {environment}, but its verification failed at {last.ended.at}",
            Hint(("verify", environment), " says why; ", again),
            digest,
        )
    _require_soaked(_since(ended, digest), last, environment=environment, settings=settings, now=now)
    return last


def _since(ended: list[Record], digest: str) -> dt.datetime:
    """Return the time since which `digest` has been proven without interruption."""
    since = ""
    for record in ended:
        if record.begun.digest != digest or record.ended is None or record.ended.outcome not in _GOOD:
            break
        if not record.is_proven:
            break
        since = record.ended.at
    return dt.datetime.fromisoformat(since)


def _require_soaked(
    since: dt.datetime, record: Record, *, environment: str, settings: PromotionSettings, now: dt.datetime
) -> None:
    proven_for = (now - since).total_seconds() / 60
    if proven_for < settings.soak_minutes:
        left = settings.soak_minutes - proven_for
        raise _refused(
            f"{record.begun.digest} is proven in {environment} for {proven_for:.1f} minutes, "
            f"{settings.soak_minutes:g} are required",
            f"promote in {left:.0f} minutes; soak_minutes in environment.toml sets the soak time",
            record.begun.digest,
        )


def _refused(message: str, hint: str, digest: str) -> PromotionRefusedError:
    return PromotionRefusedError(message, hint=hint, digest=digest)


def _tags(deployer: Deployer, digest: str) -> tuple[str, ...]:
    """Return the image's tags; raise NoImageError if it was deleted from the repository."""
    name, outputs = deployer.session.environment.name, deployer.outputs
    try:
        answer = deployer.session.aws.ecr.describe_images(
            repositoryName=outputs.repository_name, imageIds=[{"imageDigest": digest}]
        )
    except Exception as error:
        if error_code(error) != "ImageNotFoundException":
            raise
        raise NoImageError(
            f"{digest} serves in {name}, but the repository {outputs.repository_name} does not have it any more",
            hint=Hint(
                "push it again (", ("push", name, "--image", digest), "), or release another image there"
            ),
        ) from None
    tags = answer["imageDetails"][0].get("imageTags") or ()
    # The lifecycle policy soon deletes untagged images. The tags that keep an image here say nothing of the other repository.
    return tuple(sorted(tag for tag in tags if not is_own(tag))) or (
        f"promoted-{digest.removeprefix('sha256:')[:12]}",
    )
