"""Destroys what a recording has created, and names what is left if that fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mclass_tf.aws import error_code
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.errors import BackendMissingError, Hint, MclassError, TakeDownError
from mclass_tf.flows.environments import applied_state, destroy
from mclass_tf.session import Session

_PAGE = 500
_TRIES = 3


def take_down(session: Session, recorder: Recorder, *, buckets: Iterable[str]) -> None:
    """Destroy everything in the environment, and the buckets that were created for it.

    Raise TakeDownError, which names what is left and the commands that remove it, if that is not possible.
    """
    name = session.environment.name
    session.report(f"destroying {name}")
    try:
        with recorder.chapter("destroy"):
            _destroy(session)
        # The local AWS creates its buckets again whenever they are needed.
        if not session.cloud.is_local:
            _delete_buckets(session, buckets)
    except (Exception, KeyboardInterrupt) as error:
        left = "; ".join(_remains(session)) or "what the state names"
        raise TakeDownError(
            f"not everything of {name} could be destroyed: {error}\nstill there, and it costs money: {left}",
            hint=Hint(
                "destroy it: ",
                ("destroy", name),
                f"; then delete the bucket: aws s3 rb --force s3://{session.environment.backend.bucket}",
            ),
        ) from error


def _destroy(session: Session) -> None:
    """Destroy what the state names. After an interrupted apply, this may need another try."""
    for tried in range(1, _TRIES + 1):
        try:
            destroy(session, show=lambda _: None, confirm=lambda _: True)
        except BackendMissingError:
            return  # nothing was applied
        except MclassError as error:
            if tried == _TRIES:
                raise
            session.report(f"the destruction failed, trying again: {error.message}")
        else:
            return


def _delete_buckets(session: Session, names: Iterable[str]) -> None:
    """Delete buckets with every version of every object in them."""
    s3 = session.aws.s3
    for name in names:
        session.report(f"deleting the bucket {name}")
        for keys in _versions(session, name):
            s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})  # type: ignore[typeddict-item]  # by content
        try:
            s3.delete_bucket(Bucket=name)
        except Exception as error:
            if error_code(error) != "NoSuchBucket":
                raise


def _versions(session: Session, bucket: str) -> Iterator[list[dict[str, str]]]:
    pages = session.aws.s3.get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": _PAGE}):
        listed = (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        if listed:
            yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]


def _remains(session: Session) -> tuple[str, ...]:
    """Return descriptions of the resources that are still in the state."""
    try:
        outputs = applied_state(session).outputs
    except MclassError:
        return ()
    names = ("vpc_id", "alb_arn", "cluster_name", "service_name", "repository_name")
    return tuple(f"{name.removesuffix('_id')} {outputs[name]}" for name in names if outputs.get(name))
