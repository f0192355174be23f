"""Checks of the environment's own KMS key, if any."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import Comparison, NotApplicableError, equal, registry
from mclass_tf.verify.world import World

check = registry.group("encryption")


@check(
    "the key is enabled and encrypts",
    hint="enable the key, or cancel its deletion, in the KMS console: what it encrypted is unreadable without it",
)
def enabled(world: World) -> Iterator[Comparison]:
    expected = _required(world)
    yield equal("ARN", expected=expected, actual=world.kms_key["Arn"])
    yield equal("state", expected="Enabled", actual=world.kms_key["KeyState"])
    yield equal("usage", expected="ENCRYPT_DECRYPT", actual=world.kms_key["KeyUsage"])


@check("the key is rotated every year", hint="enable_key_rotation = true on the key")
def rotated(world: World) -> Iterator[Comparison]:
    _required(world)
    yield equal("rotation", expected=True, actual=world.kms_rotation)


def _required(world: World) -> str:
    if world.outputs.kms_key_arn is None:
        raise NotApplicableError("no key of our own is given (kms_key_arn is null)")
    return world.outputs.kms_key_arn
