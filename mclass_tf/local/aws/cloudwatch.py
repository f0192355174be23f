"""CloudWatch: metrics and alarms."""

from __future__ import annotations

from typing import Any

from moto.cloudwatch import urls
from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.core.utils import get_service_model

from mclass_tf.local.aws.extend import use_backend

_INITIAL_REASON = "Unchecked: Initial alarm creation"


class Backend(CloudWatchBackend):  # type: ignore[misc]  # moto is not typed for us
    def put_metric_alarm(self, **alarm: Any) -> Any:
        """A new alarm has INSUFFICIENT_DATA, and a changed one keeps its state; moto calls both OK.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        """
        before = self.alarms.get(alarm["name"])
        created = super().put_metric_alarm(**alarm)
        created.state_value = "INSUFFICIENT_DATA" if before is None else before.state_value
        created.state_reason = _INITIAL_REASON if before is None else before.state_reason
        return created


def install() -> None:
    """CloudWatch speaks JSON beside its old query protocol, and newer clients, the aws CLI among them, use it.

    moto asks botocore's model which protocols a service has, and an older botocore knows the old one alone.
    """
    use_backend(backends=cloudwatch_backends, urls=urls, backend=Backend)
    metadata = get_service_model("cloudwatch").metadata
    metadata["protocols"] = sorted({*metadata.get("protocols", []), "json", "query"})
    metadata.setdefault("jsonVersion", "1.0")
    metadata.setdefault("targetPrefix", "GraniteServiceVersion20100801")
