"""Invokes the Lambda functions of lifecycle hooks when they are due, and records their results.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/lambda-lifecycle-hooks.html
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.aws import functions
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.service_deployment import ServiceDeployment
from mclass_tf.local.aws.ecs.model.stages import LifecycleHook
from mclass_tf.local.aws.ecs.preconditions import roles
from mclass_tf.local.aws.ecs.scheduler.scheduler import all_services
from mclass_tf.local.aws.functions import Function, FunctionResult, Functions
from mclass_tf.local.aws.policies import NotModelledError
from mclass_tf.local.live import live

_TOPICS = frozenset({"ecs", "hooks"})
_WHOLE = 100.0


@dataclass(frozen=True, kw_only=True)
class _DueHook:
    hook: LifecycleHook
    event: dict[str, Any]


class HookInvoker:
    """A background part of the local AWS. `exclusive` is the lock of the API calls; `services` lists the services."""

    def __init__(
        self,
        *,
        exclusive: Callable[[], AbstractContextManager[None]],
        runner: Functions,
        services: Callable[[], Iterable[Service]] = all_services,
    ) -> None:
        self._exclusive = exclusive
        self._runner = runner
        self._services = services
        self._due = asyncio.Event()
        self._invocations: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()

        def notice(topic: str) -> None:
            if topic in _TOPICS:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._due.set)

        unlisten = live.listen(notice)
        try:
            while True:
                self._due.clear()
                await self._wait(self._invoke_due())
        finally:
            unlisten()
            for invocation in self._invocations:
                invocation.cancel()
            if self._invocations:
                await asyncio.wait(self._invocations)
            await self._runner.close()

    async def _wait(self, wake: float | None) -> None:
        delay = None if wake is None else max(0.0, wake - time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._due.wait()

    def _invoke_due(self) -> float | None:
        """Start the invocations that are due. Return when the next one is."""
        with self._exclusive():
            for due in _due(self._services(), now=time.time()):
                invocation = asyncio.create_task(self._invoke(due))
                self._invocations.add(invocation)
                invocation.add_done_callback(self._invocations.discard)
            waiting = [hook.due_at for *_, hook in _open_hooks(self._services()) if hook.due_at is not None]
        return min(waiting, default=None)

    async def _invoke(self, due: _DueHook) -> None:
        """Invoke one function. Any error fails only its own hook."""
        try:
            answer = await self._call_function(due)
        except Exception as error:  # noqa: BLE001  (reported as the hook's failure)
            answer = FunctionResult(error=f"{type(error).__name__}: {error}")
        with self._exclusive():
            functions.keep_output(due.hook.target_arn, answer.output)
            due.hook.record_result(answer.value, error=answer.error, now=time.time(), real=live.clock.real)
        live.changed("ecs")

    async def _call_function(self, due: _DueHook) -> FunctionResult:
        with self._exclusive():
            function = _callable_function(due.hook)
            variables = functions.credentials(function) if isinstance(function, Function) else {}
        if isinstance(function, str):
            return FunctionResult(error=function)
        return await self._runner.call(function, due.event, variables=variables)


def _callable_function(hook: LifecycleHook) -> Function | str:
    """Return the function, or the reason why it cannot be invoked."""
    role_arn = str(hook.configuration.get("roleArn") or "")
    try:
        refusal = roles.invocation_refusal(role_arn, function_arn=hook.target_arn)
    except NotModelledError as error:
        refusal = f"The local AWS cannot evaluate the policies of {role_arn}: {error}"
    refusal = refusal or functions.refusal(hook.target_arn)
    return refusal or functions.runnable(hook.target_arn)


def _open_hooks(services: Iterable[Service]) -> Iterator[tuple[Service, ServiceDeployment, LifecycleHook]]:
    for service in services:
        for record in service.records:
            if not record.has_ended:
                yield from ((service, record, hook) for hook in record.progress.pauses if hook.is_running)


def _due(services: Iterable[Service], *, now: float) -> Iterator[_DueHook]:
    for service, record, hook in _open_hooks(services):
        if hook.due_at is not None and hook.due_at <= now:
            hook.due_at = None
            yield _DueHook(hook=hook, event=_event(service, record, hook))


def _event(service: Service, record: ServiceDeployment, hook: LifecycleHook) -> dict[str, Any]:
    event = {
        "executionId": hook.id,
        "lifecycleStage": hook.stage,
        "resourceArn": record.arn,
        "executionDetails": {
            "serviceArn": service.arn,
            "targetServiceRevisionArn": record.target_arn,
            "testTrafficWeights": _weights(record, hook, at="TEST_TRAFFIC_SHIFT", share=hook.test),
            "productionTrafficWeights": _weights(
                record, hook, at="PRODUCTION_TRAFFIC_SHIFT", share=hook.production
            )
            or _weights(
                record, hook, at="PRE_PRODUCTION_TRAFFIC_SHIFT", share=service.primary.production or 0.0
            ),
        },
    }
    return {**event, "hookDetails": dict(hook.details)} if hook.details else event


def _weights(
    record: ServiceDeployment, hook: LifecycleHook, *, at: str, share: float | None
) -> dict[str, float]:
    """Return the traffic weights by service revision if the hook is at stage `at`; the new revision gets `share` per cent."""
    if hook.stage != at or share is None:
        return {}
    old = {arn: _WHOLE - share for arn, _ in record.sources[:1]}
    return {record.target_arn: share, **old}
