"""KMS: keys, and whether their state and policy let other services use them."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms import urls
from moto.kms.models import KmsBackend, kms_backends

from mclass_tf.local.aws import policies
from mclass_tf.local.aws.extend import use_backend

_SHORTEST_WINDOW = 7  # days
_LONGEST_WINDOW = 30


class LocalKmsBackend(KmsBackend):  # type: ignore[misc]  # moto is not typed for us
    """Accepts a key's id or its ARN in these calls. moto raises KeyError for an ARN.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_DisableKey.html
    """

    def disable_key(self, key_id: str) -> None:
        super().disable_key(self.get_key_id(key_id))

    def enable_key(self, key_id: str) -> None:
        super().enable_key(self.get_key_id(key_id))

    def cancel_key_deletion(self, key_id: str) -> None:
        super().cancel_key_deletion(self.get_key_id(key_id))

    def schedule_key_deletion(self, key_id: str, pending_window_in_days: int) -> Any:
        if not _SHORTEST_WINDOW <= pending_window_in_days <= _LONGEST_WINDOW:
            raise JsonRESTError(
                "ValidationException",
                f"PendingWindowInDays must be from {_SHORTEST_WINDOW} to {_LONGEST_WINDOW}, not {pending_window_in_days}.",
            )
        return super().schedule_key_deletion(self.get_key_id(key_id), pending_window_in_days)


def usable_key(*, account_id: str, region: str, reference: str) -> Any | None:
    """Return the enabled key of this account and region that an id, ARN or alias names, or None."""
    backend = kms_backends[account_id][region]
    if f":{account_id}:" not in reference and reference.startswith("arn:"):
        return None  # the key of another account, whose state is not visible to this one
    name = reference.rsplit(":", 1)[-1]
    key_id = (
        backend.get_key_id_from_alias(name) if name.startswith("alias/") else backend.get_key_id(reference)
    )
    key = backend.keys.get(key_id)
    return key if key is not None and key.key_state == "Enabled" else None


def allows_service(key: Any, *, service: str) -> bool:
    """Return whether a statement of the key's policy allows the service principal. Conditions are not evaluated."""
    return any(
        statement.get("Effect") == "Allow" and service in _services(statement.get("Principal"))
        for statement in policies.statements(key.policy)
    )


def _services(principal: Any) -> list[str]:
    return policies.named(principal.get("Service")) if isinstance(principal, dict) else []


def install() -> None:
    use_backend(backends=kms_backends, urls=urls, backend=LocalKmsBackend)
