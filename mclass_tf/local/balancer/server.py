"""The data plane: applies snapshots and reports the health of targets."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from mclass_tf.local.balancer import rules
from mclass_tf.local.balancer import snapshot as snapshots
from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.clients import Silence
from mclass_tf.local.balancer.groups import GroupState, TargetState
from mclass_tf.local.balancer.health import HealthChecker
from mclass_tf.local.balancer.listener import ListenerServer
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.report import Applied, Health
from mclass_tf.local.balancer.settings import BalancerSettings, GroupSettings
from mclass_tf.local.balancer.snapshot import Snapshot, TargetGroup
from mclass_tf.local.balancer.telemetry import Send, Telemetry

_log = logging.getLogger(__name__)


class DataPlane:
    """Applies only the differences of a snapshot, so that everything unchanged continues undisturbed.

    Invalid configuration is logged for the control plane and keeps its previous value. All else is put into force.
    """

    def __init__(self, send: Send, *, capacity: Capacity | None = None) -> None:
        self.telemetry = Telemetry(send)
        self._capacity = capacity or Capacity.for_this_process()
        self._silence = Silence()
        self._send = send
        self._groups: dict[str, GroupState] = {}
        self._listeners: dict[str, ListenerServer] = {}
        self._checks: dict[TargetState, HealthChecker] = {}
        self._reported: dict[TargetState, object] = {}

    async def apply(self, snapshot: Snapshot) -> None:
        """Put the snapshot into force for all new requests."""
        gone = self._apply_groups(snapshot)
        opened = self._apply_listeners(snapshot)
        for target in gone:
            self._forget(target)
        for listener in opened:
            self._open(listener)
        self._send(Applied(version=snapshot.version))

    def close(self) -> None:
        for checks in self._checks.values():
            checks.stop()
        for listener in self._listeners.values():
            listener.close()
        self._silence.close()

    def _apply_groups(self, snapshot: Snapshot) -> list[TargetState]:
        """Apply groups and targets; return the deregistered targets."""
        now = asyncio.get_running_loop().time
        used = {
            arn
            for load_balancer in snapshot.load_balancers
            for listener in load_balancer.listeners
            for arn in rules.group_arns(listener.rules)
        }
        gone: list[TargetState] = []
        for configuration in map(self._with_valid_attributes, snapshot.target_groups):
            arn = configuration.arn
            if arn not in self._groups:
                self._groups[arn] = GroupState(configuration, now=now)
            group = self._groups[arn]
            group.speed, group.is_used = snapshot.speed, arn in used
            gone += group.update(configuration)
        named = {configuration.arn for configuration in snapshot.target_groups}
        for arn in self._groups.keys() - named:
            gone += self._groups.pop(arn).retire()
        for group in self._groups.values():
            for target in group.targets.values():
                self._update_checks(target)
        return gone

    def _with_valid_attributes(self, group: TargetGroup) -> TargetGroup:
        """Return the group, with its previous attributes if the new ones are invalid. Targets change in any case."""
        try:
            GroupSettings.of(group.attributes)
        except ValueError as error:
            _log.error("The attributes of %s are not in force: %s", group.arn, error)
            before = self._groups.get(group.arn)
            return replace(group, attributes=before.configuration.attributes if before else {})
        return group

    def _update_checks(self, target: TargetState) -> None:
        """Check the health of the target if and only if it may get requests."""
        if target.group.is_used and not target.is_draining:
            checks = self._checks.get(target)
            if checks is None:
                self._checks[target] = HealthChecker(target=target, changed=self._health_changed)
            else:
                checks.reschedule()
        else:
            self._stop_checks(target)
        self._report_health(target)

    def _stop_checks(self, target: TargetState) -> None:
        checks = self._checks.pop(target, None)
        if checks is not None:
            checks.stop()
            target.reset_health()

    def _health_changed(self, target: TargetState) -> None:
        target.group.health_changed(target)
        self._report_health(target)

    def _report_health(self, target: TargetState) -> None:
        state = target.state
        if self._reported.get(target) == state:
            return
        self._reported[target] = state
        self._send(
            Health(
                target_group_arn=target.group.arn,
                ip=target.ip,
                port=target.port,
                state=state.state,
                reason=state.reason,
                description=state.description,
            )
        )

    def _forget(self, target: TargetState) -> None:
        self._stop_checks(target)
        self._reported.pop(target, None)
        target.close_idle()
        target.cancel_all()

    def _apply_listeners(self, snapshot: Snapshot) -> list[ListenerServer]:
        """Apply listeners and rules; return the new listeners, which are not open yet."""
        configured = {
            listener.arn: (load_balancer, listener)
            for load_balancer in snapshot.load_balancers
            for listener in load_balancer.listeners
            if _has_certificate(listener)
        }
        for arn in tuple(self._listeners):
            if arn not in configured or configured[arn][1].protocol != self._listeners[arn].state.protocol:
                self._listeners.pop(arn).close()
        opened = []
        for arn, (load_balancer, listener) in configured.items():
            known = self._listeners.get(arn) or ListenerServer(
                ListenerState(arn, telemetry=self.telemetry, capacity=self._capacity), silence=self._silence
            )
            try:
                known.update(
                    listener,
                    load_balancer=load_balancer,
                    settings=BalancerSettings.of(load_balancer.attributes),
                    rules=tuple(rules.compile_rule(rule, self._groups) for rule in listener.rules),
                )
            except Exception as error:  # noqa: BLE001  logged; the others are still applied
                _log.exception("The listener %s is not in force: %s: %s", arn, type(error).__name__, error)
                continue
            if arn not in self._listeners:
                self._listeners[arn] = known
                opened.append(known)
        return opened

    def _open(self, listener: ListenerServer) -> None:
        """Open the listener. If that fails, the next snapshot tries again."""
        try:
            listener.open()
        except OSError as error:
            _log.error("The listener %s cannot listen: %s", listener.state.arn, error)
            del self._listeners[listener.state.arn]


def _has_certificate(listener: snapshots.Listener) -> bool:
    if listener.protocol == "HTTPS" and (listener.certificate is None or listener.private_key is None):
        _log.error("The listener %s has no certificate: nobody can connect to it.", listener.arn)
        return False
    return True
