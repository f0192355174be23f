"""ECR: repositories; images come with the registry."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.ecr import urls
from moto.ecr.models import ECRBackend, ecr_backends

from mclass_tf.local.aws import kms
from mclass_tf.local.aws.extend import use_backend


class Backend(ECRBackend):  # type: ignore[misc]  # moto is not typed for us
    def create_repository(
        self,
        *,
        repository_name: str,
        registry_id: str | None,
        encryption_config: dict[str, str] | None,
        image_scan_config: Any,
        image_tag_mutability: str,
        tags: list[dict[str, str]],
        image_tag_mutability_exclusion_filters: Any = None,
    ) -> Any:
        """The key of a repository must exist; moto takes any text for a key.

        https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
        """
        key = (encryption_config or {}).get("kmsKey")
        if key and kms.usable_key(account_id=self.account_id, region=self.region_name, reference=key) is None:
            raise JsonRESTError("KmsException", f"The KMS key {key} does not exist or is not enabled.")
        return super().create_repository(
            repository_name,
            registry_id,
            encryption_config,
            image_scan_config,
            image_tag_mutability,
            tags,
            image_tag_mutability_exclusion_filters,
        )


def install() -> None:
    use_backend(backends=ecr_backends, urls=urls, backend=Backend)
