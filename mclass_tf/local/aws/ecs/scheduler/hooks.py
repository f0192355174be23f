"""The Lambda hooks of deployments: asks the functions that are due, and notes what they say.

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
class _Due:
    hook: LifecycleHook
    event: dict[str, Any]


class Hooks:
    """A part of the runtime. `exclusive` is the lock of the calls, `services` finds what may have hooks."""

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
        self._asking: set[asyncio.Task[None]] = set()

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
                await self._wait(self._ask_all())
        finally:
            unlisten()
            for asking in self._asking:
                asking.cancel()
            if self._asking:
                await asyncio.wait(self._asking)
            await self._runner.close()

    async def _wait(self, wake: float | None) -> None:
        delay = None if wake is None else max(0.0, wake - time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._due.wait()

    def _ask_all(self) -> float | None:
        """Begin to ask what is due; return when the next one is."""
        with self._exclusive():
            for due in _due(self._services(), now=time.time()):
                asking = asyncio.create_task(self._ask(due))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)
            waiting = [hook.due_at for _, hook in _open(self._services()) if hook.due_at is not None]
        return min(waiting, default=None)

    async def _ask(self, due: _Due) -> None:
        """Nothing that a function does, or that is wrong with it, stops the others."""
        try:
            answer = await self._called(due)
        except Exception as error:  # noqa: BLE001  (reported as the hook's failure)
            answer = FunctionResult(error=f"{type(error).__name__}: {error}")
        with self._exclusive():
            functions.keep_output(due.hook.target_arn, answer.output)
            due.hook.take(answer.value, error=answer.error, now=time.time(), real=live.clock.real)
        live.changed("ecs")

    async def _called(self, due: _Due) -> FunctionResult:
        with self._exclusive():
            function = _callable(due.hook)
            variables = functions.credentials(function) if isinstance(function, Function) else {}
        if isinstance(function, str):
            return FunctionResult(error=function)
        return await self._runner.call(function, due.event, variables=variables)


def _callable(hook: LifecycleHook) -> Function | str:
    """Return the function, or why it cannot be called."""
    role_arn = str(hook.configuration.get("roleArn") or "")
    try:
        refusal = roles.invocation_refusal(role_arn, function_arn=hook.target_arn)
    except NotModelledError as error:
        refusal = f"The local AWS cannot evaluate the policies of {role_arn}: {error}"
    refusal = refusal or functions.refusal(hook.target_arn)
    return refusal or functions.runnable(hook.target_arn)


def _open(services: Iterable[Service]) -> Iterator[tuple[tuple[Service, ServiceDeployment], LifecycleHook]]:
    for service in services:
        for record in service.records:
            if not record.has_ended:
                yield from (((service, record), hook) for hook in record.progress.pauses if hook.is_running)


def _due(services: Iterable[Service], *, now: float) -> Iterator[_Due]:
    for (service, record), hook in _open(services):
        if hook.due_at is not None and hook.due_at <= now:
            hook.due_at = None
            yield _Due(hook=hook, event=_event(service, record, hook))


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
    """Return the weights to which a stage shifts traffic, `share` of it to the new revision."""
    if hook.stage != at or share is None:
        return {}
    old = {arn: _WHOLE - share for arn, _ in record.sources[:1]}
    return {record.target_arn: share, **old}
