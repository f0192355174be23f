"""Takes down what a recording has made, and says what is left if that fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mclass_tf.aws import error_code
from mclass_tf.errors import MclassError
from mclass_tf.flows.environments import applied_state, destroy
from mclass_tf.session import Session

_PAGE = 500
_TRIES = 3


class TakeDownError(MclassError):
    """Something that was made for the recording is still there, and costs money."""

    exit_code = 4


def destroy_all(session: Session) -> None:
    """Destroy everything in the state; an apply that was cut off may need another try."""
    for tried in range(1, _TRIES + 1):
        try:
            destroy(session, show=lambda _: None, confirm=lambda _: True)
        except MclassError as error:
            if tried == _TRIES:
                raise
            session.report(f"the destruction failed, trying again: {error.message}")
        else:
            return


def delete_buckets(session: Session, names: Iterable[str]) -> None:
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


def remains(session: Session) -> tuple[str, ...]:
    """Return in words what is still in the state."""
    try:
        outputs = applied_state(session).outputs
    except MclassError:
        return ()
    names = ("vpc_id", "alb_arn", "cluster_name", "service_name", "repository_name")
    return tuple(f"{name.removesuffix('_id')} {outputs[name]}" for name in names if outputs.get(name))
