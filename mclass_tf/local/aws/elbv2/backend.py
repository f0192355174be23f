"""Elastic Load Balancing v2: application load balancers, their listeners, rules and target groups."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError
from moto.elb import urls as elb_urls
from moto.elbv2 import urls
from moto.elbv2.models import FakeAction, elbv2_backends
from moto.s3.models import s3_backends

from mclass_tf.local.aws.acm import is_pending
from mclass_tf.local.aws.elbv2.checks import check_conditions, check_load_balancer_attributes, check_redirect
from mclass_tf.local.aws.elbv2.checks import error as _error
from mclass_tf.local.aws.elbv2.responses import LocalElbv2Responses
from mclass_tf.local.aws.elbv2.target_groups import TargetGroups
from mclass_tf.local.aws.extend import announce, use_backend
from mclass_tf.local.aws.regions import dns_suffix

# The default attributes of an application load balancer, as DescribeLoadBalancerAttributes returns them.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
ALB_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "access_logs.s3.bucket": "",
    "access_logs.s3.prefix": "",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "connection_logs.s3.bucket": "",
    "connection_logs.s3.prefix": "",
    "deletion_protection.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}

# The Route 53 zone of load balancers: https://docs.aws.amazon.com/general/latest/gr/elb.html
_HOSTED_ZONES = {
    "ap-northeast-1": "Z14GRHDCWA56QT",
    "ap-northeast-2": "ZWKZPGTI48KDX",
    "eu-central-1": "Z215JYRZR1TBD5",
    "eu-west-1": "Z32O12XQLNTSW2",
    "us-east-1": "Z35SXDOTRQ7X7K",
    "us-west-2": "Z1H1FL5HABSF5",
}

_MIN_ZONES = 2
_ACTIONS = ("fixed-response", "forward", "redirect")
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,32}(?<!-)")

# Calls that change how a load balancer routes traffic, besides those on targets.
_MUTATIONS = (
    "create_listener",
    "create_load_balancer",
    "create_rule",
    "delete_listener",
    "delete_load_balancer",
    "delete_rule",
    "delete_target_group",
    "modify_listener",
    "modify_load_balancer_attributes",
    "modify_rule",
    "modify_target_group",
    "modify_target_group_attributes",
    "set_rule_priorities",
    "set_security_groups",
    "set_subnets",
)


class LocalElbv2Backend(TargetGroups):
    """Each method adds a behaviour of AWS that moto lacks."""

    def create_load_balancer(  # noqa: PLR0917  moto's signature
        self,
        name: str,
        security_groups: list[str],
        subnet_ids: list[str],
        subnet_mappings: list[dict[str, str]] | None = None,
        scheme: str | None = None,
        loadbalancer_type: str | None = None,
        ip_address_type: str = "ipv4",
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        """Check the name, zones, security groups and internet gateway as AWS does.

        The load balancer is active at once. In AWS it is `provisioning` for some minutes.
        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
        """
        if loadbalancer_type not in (None, "application"):
            raise _error(
                "ValidationError", f"The local AWS does not model {loadbalancer_type} load balancers"
            )
        if not _NAME.fullmatch(name) or name.startswith("internal-"):
            raise _error(
                "ValidationError",
                f"The load balancer name '{name}' must be at most 32 letters, digits and hyphens, neither begin nor end "
                "with a hyphen and not begin with 'internal-'",
            )
        if any(entry.name == name for entry in self.load_balancers.values()):
            raise _error("DuplicateLoadBalancerName", f"A load balancer with the same name '{name}' exists")
        scheme = scheme or "internet-facing"
        load_balancer = super().create_load_balancer(
            name,
            security_groups,
            subnet_ids,
            subnet_mappings,
            scheme,
            loadbalancer_type,
            ip_address_type,
            tags,
        )
        try:
            self._check_network(load_balancer)
        except Exception:
            del self.load_balancers[load_balancer.arn]
            raise
        load_balancer.activate()
        load_balancer.attrs = dict(ALB_ATTRIBUTES)
        load_balancer.canonical_hosted_zone_id = _HOSTED_ZONES.get(self.region_name, "Z00000000000LOCAL")
        # moto gives load balancers with the same name in two accounts the same DNS name.
        number = zlib.crc32(load_balancer.arn.encode())
        internal = "internal-" if scheme == "internal" else ""
        load_balancer.dns_name = (
            f"{internal}{name}-{number}.{self.region_name}.elb.{dns_suffix(self.region_name)}"
        )
        return load_balancer

    def modify_load_balancer_attributes(self, arn: str, attrs: dict[str, Any]) -> Any:
        """Validate every value, and require an existing bucket for access logs.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
        """
        current = self.describe_load_balancer_attributes(arn)
        check_load_balancer_attributes(attrs)
        merged = {**current, **attrs}
        for kind in ("access_logs", "connection_logs"):
            if str(merged.get(f"{kind}.s3.enabled")).lower() == "true":
                self._check_log_bucket(str(merged.get(f"{kind}.s3.bucket") or ""))
        return super().modify_load_balancer_attributes(arn, attrs)

    def delete_load_balancer(self, arn: str) -> None:
        """Reject the deletion if deletion protection is enabled.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#deletion-protection
        """
        load_balancer = self.load_balancers.get(arn)
        if load_balancer is not None and load_balancer.attrs.get("deletion_protection.enabled") == "true":
            raise _error(
                "OperationNotPermitted",
                f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
            )
        super().delete_load_balancer(arn)
        self._associate_target_groups()

    def create_listener(  # noqa: PLR0917  moto's signature
        self,
        load_balancer_arn: str,
        protocol: str,
        port: str,
        ssl_policy: str,
        certificate: str | None,
        actions: list[dict[str, Any]],
        alpn_policy: list[str] | None = None,
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        """Reject a port that is in use, and HTTPS without an existing certificate.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
        """
        load_balancer = self.load_balancers.get(load_balancer_arn)
        existing = load_balancer.listeners.values() if load_balancer is not None else ()
        if any(str(listener.port) == str(port) for listener in existing):
            raise _error("DuplicateListener", "A listener already exists on this port for this load balancer")
        if protocol == "HTTPS" and not certificate:
            raise _error("ValidationError", "A certificate must be specified for HTTPS listeners")
        if certificate:
            self._check_certificate(certificate)
        self._check_actions(actions, load_balancer_arn=load_balancer_arn)
        listener = super().create_listener(
            load_balancer_arn, protocol, port, ssl_policy, certificate, actions, alpn_policy, tags
        )
        self._associate_target_groups()
        return listener

    def modify_listener(  # noqa: PLR0917  moto's signature
        self,
        arn: str,
        port: str | None = None,
        protocol: str | None = None,
        ssl_policy: str | None = None,
        certificates: list[dict[str, Any]] | None = None,
        actions: list[dict[str, Any]] | None = None,
    ) -> Any:
        load_balancer = arn.replace(":listener/", ":loadbalancer/").rsplit("/", 1)[0]
        self._check_actions(actions, load_balancer_arn=load_balancer)
        for certificate in certificates or []:
            self._check_certificate(certificate["CertificateArn"])
        listener = super().modify_listener(arn, port, protocol, ssl_policy, certificates or [], actions or [])
        self._associate_target_groups()
        return listener

    def delete_listener(self, listener_arn: str) -> Any:
        listener = super().delete_listener(listener_arn)
        self._associate_target_groups()
        return listener

    def create_rule(
        self,
        listener_arn: str,
        conditions: list[dict[str, Any]],
        priority: int,
        actions: list[dict[str, Any]],
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        load_balancer = listener_arn.replace(":listener/", ":loadbalancer/").rsplit("/", 1)[0]
        self._check_conditions(conditions)
        self._check_actions(actions, load_balancer_arn=load_balancer)
        rule = super().create_rule(listener_arn, conditions, priority, actions, tags)
        self._associate_target_groups()
        return rule

    def modify_rule(
        self, rule_arn: str, conditions: list[dict[str, Any]], actions: list[dict[str, Any]]
    ) -> Any:
        load_balancer = rule_arn.replace(":listener-rule/", ":loadbalancer/").rsplit("/", 2)[0]
        self._check_conditions(conditions)
        self._check_actions(actions, load_balancer_arn=load_balancer)
        rule = super().modify_rule(rule_arn, conditions, actions)
        self._associate_target_groups()
        return rule

    def delete_rule(self, arn: str) -> None:
        super().delete_rule(arn)
        self._associate_target_groups()

    def add_listener_certificates(self, arn: str, certificates: list[dict[str, Any]]) -> list[str]:
        """Reject the call: a listener of the local AWS presents one certificate, whatever server name the client requests."""
        raise NotImplementedError("more than one certificate of a listener")

    def _check_actions(self, actions: Sequence[Mapping[str, Any]] | None, *, load_balancer_arn: str) -> None:
        """Reject a target group that another load balancer uses, and a redirect with an invalid status code.

        moto checks neither, and checks nothing when a listener is modified.
        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
        """
        for position, action in enumerate(actions or (), start=1):
            if action.get("Type") not in _ACTIONS:
                raise _error(
                    "ValidationError", f"The local AWS does not model actions of type {action.get('Type')}"
                )
            check_redirect(action, position=position)
            for arn in self._get_target_group_arns_from(action_data=action):
                group = self.target_groups.get(arn)
                if group is None:
                    raise _error("TargetGroupNotFound", f"Target group '{arn}' not found")
                if set(group.load_balancer_arns) - {load_balancer_arn}:
                    raise _error(
                        "TargetGroupAssociationLimit",
                        f"The following target groups cannot be associated with more than one load balancer: {arn}",
                    )

        self._validate_actions([FakeAction(action) for action in actions or ()])

    def _check_conditions(self, conditions: Sequence[Mapping[str, Any]] | None) -> None:
        self._validate_conditions(conditions or [])
        check_conditions(conditions or [])

    def _associate_target_groups(self) -> None:
        """Update the load balancers of each target group: moto adds to that list but never removes from it."""
        used: dict[str, list[str]] = {arn: [] for arn in self.target_groups}
        for load_balancer in self.load_balancers.values():
            for arn in _forward_target_groups(load_balancer, arns_of=self._get_target_group_arns_from):
                if arn in used:
                    used[arn].append(load_balancer.arn)
        for arn, load_balancers in used.items():
            group = self.target_groups[arn]
            if group.load_balancer_arns and not load_balancers:
                self.restart_health(arn)
            group.load_balancer_arns = load_balancers

    def _check_network(self, load_balancer: Any) -> None:
        zones = {subnet.availability_zone for subnet in load_balancer.subnets}
        if len(zones) < _MIN_ZONES:
            raise _error(
                "ValidationError",
                "At least two subnets in two different Availability Zones must be specified",
            )
        vpc_id = load_balancer.vpc_id
        if any(subnet.vpc_id != vpc_id for subnet in load_balancer.subnets):
            raise _error("InvalidSubnet", "All subnets must be in the same VPC")
        if not load_balancer.security_groups:
            load_balancer.security_groups = [self.ec2_backend.get_default_security_group(vpc_id).id]
        try:
            groups = self.ec2_backend.describe_security_groups(group_ids=load_balancer.security_groups)
        except InvalidSecurityGroupNotFoundError as error:
            raise _error("InvalidSecurityGroup", str(error.message)) from error
        if any(group.vpc_id != vpc_id for group in groups):
            raise _error("InvalidSecurityGroup", f"All security groups must be in the VPC {vpc_id}")
        attached = {gateway.vpc.id for gateway in self.ec2_backend.internet_gateways.values() if gateway.vpc}
        if load_balancer.scheme == "internet-facing" and vpc_id not in attached:
            raise _error("InvalidSubnet", f"VPC {vpc_id} has no internet gateway")

    def _check_log_bucket(self, name: str) -> None:
        bucket = s3_backends[self.account_id][self.partition].buckets.get(name)
        if bucket is None or bucket.region_name != self.region_name:
            raise _error(
                "InvalidConfigurationRequest",
                f"Access Denied for bucket: {name}. Please check S3bucket permission",
            )

    def _check_certificate(self, arn: str) -> None:
        """Reject a certificate that does not exist or is not issued yet.

        https://github.com/hashicorp/terraform-provider-aws/issues/41789
        """
        if not self._certificate_exists(certificate_arn=arn):
            raise _error("CertificateNotFound", f"Certificate '{arn}' not found")
        if is_pending(arn, account_id=self.account_id, region=self.region_name):
            raise _error(
                "UnsupportedCertificate",
                f"The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a "
                "supported key size.",
            )


def _forward_target_groups(load_balancer: Any, *, arns_of: Any) -> set[str]:
    actions = [
        action
        for listener in load_balancer.listeners.values()
        for source in (listener.default_actions, *(rule.actions for rule in listener.rules.values()))
        for action in source
    ]
    arns: set[str] = set()
    for action in actions:
        data: Mapping[str, Any] = getattr(action, "data", None) or {}
        if getattr(action, "type", None) == "forward":
            arns.update(arns_of(action_data=data))
    return arns


def install() -> None:
    announce(backend=LocalElbv2Backend, methods=_MUTATIONS, topic="elbv2")
    use_backend(backends=elbv2_backends, urls=urls, backend=LocalElbv2Backend)
    elb_urls.ELBV2Response = LocalElbv2Responses  # both versions of the API have one URL
