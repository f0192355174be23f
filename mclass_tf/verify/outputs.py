"""The outputs of the root configuration that checks compare with AWS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_type_hints

from mclass_tf.errors import VerificationError


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs by their names in `terraform/outputs.tf`. None if Terraform says null or omits the output."""

    account_id: str
    region: str
    environment: str
    name: str

    vpc_id: str
    public_subnet_ids: tuple[str, ...]
    private_subnet_ids: tuple[str, ...]
    vpc_endpoint_ids: Mapping[str, str]
    egress: str

    repository_name: str
    repository_url: str
    repository_arn: str

    alb_arn: str
    alb_dns_name: str
    alb_security_group_id: str
    url: str
    # Absent until an apply of this version's modules. Its value is a secret: it shows a revision before production does.
    test_header: Mapping[str, str] | None = field(default=None, repr=False)
    target_group_arns: Mapping[str, str]
    production_listener_arn: str
    production_listener_rule_arn: str
    test_listener_rule_arn: str
    redirect_listener_arn: str | None = None
    certificate_arn: str | None = None
    access_logs_bucket: str | None = None

    cluster_name: str
    cluster_arn: str
    service_name: str
    service_arn: str
    service_security_group_id: str
    task_definition_family: str
    task_definition_arn: str
    container_name: str
    container_port: int
    image_digest: str | None = None

    execution_role_arn: str
    task_role_arn: str
    infrastructure_role_arn: str

    log_group_name: str
    log_group_arn: str
    kms_key_arn: str | None = None

    desired_count: int
    autoscaling: Mapping[str, int | None] | None = None
    deployment: Mapping[str, int]

    # Optional outputs of an environment's settings. If they are missing, the checks expect the strict value.
    availability_zone_rebalancing: bool | None = None
    container_insights: str | None = None
    deletion_protection: bool | None = None
    execute_command_enabled: bool | None = None
    log_retention_days: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check every output. Raise VerificationError that names each missing output and each of a wrong type."""
        hints = get_type_hints(cls)
        wrong = [
            f"{each.name} is {_description(values, each.name)}, not {_KINDS[hints[each.name]].name}"
            for each in fields(cls)
            if not _KINDS[hints[each.name]].accepts(values.get(each.name))
        ]
        if wrong:
            raise VerificationError(
                f"the outputs cannot be verified: {'; '.join(wrong)}",
                hint="apply the environment with this version of terraform/, then verify again",
            )
        known = {f.name: _frozen(values[f.name]) for f in fields(cls) if values.get(f.name) is not None}
        return cls(**known)


_SECRET = frozenset({"test_header"})


@dataclass(frozen=True, kw_only=True)
class _Kind:
    name: str
    accepts: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_map(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(of(item) for item in value.values())


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(name=f"{kind.name} or null", accepts=lambda value: value is None or kind.accepts(value))


_TEXT = _Kind(name="a text", accepts=_is_text)
_NUMBER = _Kind(name="a whole number", accepts=_is_number)
_BOOL = _Kind(name="true or false", accepts=lambda value: isinstance(value, bool))
_TEXTS = _Kind(
    name="a list of texts",
    accepts=lambda value: isinstance(value, (list, tuple)) and all(map(_is_text, value)),
)
_TEXT_MAP = _Kind(name="a map of texts", accepts=lambda value: _is_map(value, _is_text))
_NUMBER_MAP = _Kind(name="a map of whole numbers", accepts=lambda value: _is_map(value, _is_number))
_OPTIONAL_NUMBER_MAP = _Kind(
    name="a map of whole numbers or null",
    accepts=lambda value: _is_map(value, lambda item: item is None or _is_number(item)),
)

# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_HttpHeaderConditionConfig.html
# In the value of a condition, * and ? are wildcards.
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,40}")
_HEADER_VALUE = re.compile(r"[A-Za-z0-9._-]{16,128}")


def _is_header(value: Any) -> bool:
    if not (isinstance(value, Mapping) and value.keys() == {"name", "value"}):
        return False
    patterns = ((_HEADER_NAME, value["name"]), (_HEADER_VALUE, value["value"]))
    return all(isinstance(text, str) and pattern.fullmatch(text) for pattern, text in patterns)


_KINDS: Mapping[Any, _Kind] = {
    str: _TEXT,
    int: _NUMBER,
    str | None: _or_null(_TEXT),
    int | None: _or_null(_NUMBER),
    bool | None: _or_null(_BOOL),
    tuple[str, ...]: _TEXTS,
    Mapping[str, str]: _TEXT_MAP,
    Mapping[str, str] | None: _or_null(_Kind(name="the name and value of a header", accepts=_is_header)),
    Mapping[str, int]: _NUMBER_MAP,
    Mapping[str, int | None] | None: _or_null(_OPTIONAL_NUMBER_MAP),
}


def _description(values: Mapping[str, Any], name: str) -> str:
    if name in _SECRET:
        return "something else"
    return repr(values[name]) if name in values else "missing"


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
