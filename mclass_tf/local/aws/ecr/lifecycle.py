"""Lifecycle policies of repositories: which images expire. ECR takes up to 24 hours for it, the local AWS expires them at once.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from moto.ecr.exceptions import InvalidParameterException


def check(text: str) -> None:
    """Raise InvalidParameterException for rules that contradict each other. moto checks each rule alone."""
    rules = json.loads(text)["rules"]
    priorities = [rule["rulePriority"] for rule in rules]
    selections = [rule["selection"] for rule in rules]
    untagged = sum(each["tagStatus"] == "untagged" for each in selections)
    catch_all = [rule["rulePriority"] for rule in rules if rule["selection"]["tagStatus"] == "any"]
    if len(set(priorities)) < len(priorities):
        raise _invalid("rulePriority must be unique in a lifecycle policy")
    if any(priority != max(priorities) for priority in catch_all):
        raise _invalid("a rule with tagStatus=any must have the highest value of rulePriority")
    if untagged > 1:
        raise _invalid("only one rule may select untagged images")
    for each in selections:
        names_tags = bool(each.get("tagPatternList") or each.get("tagPrefixList"))
        if names_tags != (each["tagStatus"] == "tagged"):
            raise _invalid(
                "tagPatternList or tagPrefixList belongs to tagStatus=tagged, which needs one of them"
            )


def _invalid(why: str) -> Exception:
    error: Exception = InvalidParameterException(
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
        f"'Lifecycle policy validation failure: {why}'"
    )
    return error


def expired(images: Sequence[Any], policy: str | None, *, now: dt.datetime) -> list[Any]:
    """Return the images that the policy expires.

    A rule identifies images by their tags and age; it expires none that matches the tags of a rule before it, whether or not
    that rule expires it. Age is the time of the push: a further tag does not renew it
    (https://github.com/aws/containers-roadmap/issues/2746). An image of an index stays as long as the index does.
    """
    rules = sorted(json.loads(policy)["rules"], key=lambda rule: int(rule["rulePriority"])) if policy else []
    # Of two images pushed in the same second, the later one is the younger.
    youngest_first = [image for _, image in sorted(enumerate(images), key=_push, reverse=True)]
    claimed: set[str] = set()
    gone: list[Any] = []
    for rule in rules:
        matching = [image for image in youngest_first if _matches(image, rule["selection"])]
        gone += [
            image
            for image in _beyond(matching, rule["selection"], now=now)
            if image.image_digest not in claimed
        ]
        claimed |= {image.image_digest for image in matching}
    names = {image.image_digest for image in gone}
    held = _held(image for image in images if image.image_digest not in names)
    return [image for image in gone if image.image_digest not in held]


def _push(numbered: tuple[int, Any]) -> tuple[int, int]:
    number, image = numbered
    return int(image.image_pushed_at), number


def _matches(image: Any, selection: Mapping[str, Any]) -> bool:
    """Return whether every pattern, or every prefix, of the rule matches one of the image's tags."""
    if selection["tagStatus"] == "any":
        return True
    if selection["tagStatus"] == "untagged":
        return not image.image_tags
    patterns = selection.get("tagPatternList") or [f"{each}*" for each in selection["tagPrefixList"]]
    return bool(image.image_tags) and all(
        any(fnmatchcase(tag, pattern) for tag in image.image_tags) for pattern in patterns
    )


def _beyond(matching: Sequence[Any], selection: Mapping[str, Any], *, now: dt.datetime) -> Sequence[Any]:
    number = int(selection["countNumber"])
    if selection["countType"] == "imageCountMoreThan":
        return matching[number:]
    before = (now - dt.timedelta(days=number)).timestamp()
    return [image for image in matching if image.image_pushed_at < before]


def _held(images: Iterable[Any]) -> set[str]:
    """Return the digests of everything that the remaining images name."""
    documents = (json.loads(image.image_manifest) for image in images)
    return {entry["digest"] for document in documents for entry in document.get("manifests") or ()}
