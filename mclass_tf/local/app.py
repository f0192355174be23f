"""Routes each request to the guard, admin endpoint, task metadata, registry or AWS, and runs the background parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from mclass_tf.local import admin, parts
from mclass_tf.local.access import guard
from mclass_tf.local.aws import pages
from mclass_tf.local.aws.api.dispatch import AwsApi, largest_body
from mclass_tf.local.event_loop import Runtime
from mclass_tf.local.http.server import Reply
from mclass_tf.local.metadata import Metadata
from mclass_tf.local.record import LocalAws
from mclass_tf.local.registry.api import LARGEST_MANIFEST, RegistryApi
from mclass_tf.local.registry.store import BlobStore, registry_in
from mclass_tf.local.snapshots.instance import Instance
from mclass_tf.local.task_server import TaskServers


class Application:
    """The application of one instance. Each handler answers a request or passes it on (None)."""

    def __init__(self, *, record: LocalAws, home: Path, resettable: bool = False) -> None:
        if resettable:
            pages.lengthen()
        aws = self._aws = AwsApi(key=record.key)
        self._store = BlobStore(registry_in(home))
        self._registry = RegistryApi(store=self._store, exclusive=aws.exclusive)
        metadata = Metadata(exclusive=aws.exclusive)
        self._instance = Instance(aws=aws, home=home, store=self._store)
        dependencies = parts.PartDependencies(
            aws=aws,
            images=self._store,
            home=home,
            instance_id=record.instance_id,
            url=record.url,
            metadata=metadata,
            instance=self._instance,
            serve_task=TaskServers(aws=aws, metadata=metadata).open,
            driver=record.tasks,
        )
        self._admin = admin.Admin(
            record=record,
            aws=aws,
            problems=lambda: self._runtime.problems,
            save=self._instance.save,
            reset=self._instance.reset if resettable else None,
        )
        self._runtime = Runtime(lambda: parts.build(dependencies))
        self._handlers: tuple[Callable[[dict[str, Any]], Reply | None], ...] = (
            guard.check,
            self._admin.answer,
            metadata.answer,
            self._registry.answer,
            aws.answer,
        )

    def answer(self, environ: dict[str, Any]) -> Reply:
        for handler in self._handlers:
            reply = handler(environ)
            if reply is not None:
                return reply
        raise AssertionError("the last handler answers everything")

    def precheck(self, environ: dict[str, Any]) -> Reply | None:
        """Refuse an unauthorized request before its body is read, which could fill the disk; None if authorized."""
        path = str(environ["PATH_INFO"])
        if path.startswith("/v2/"):
            return self._registry.precheck(environ)
        if path.startswith(admin.PREFIX):
            return self._admin.precheck(environ)
        return self._aws.precheck(environ)

    def sink(self, environ: dict[str, Any]) -> AbstractContextManager[IO[bytes]] | None:
        """Return where to stream the body of a request; None unless a handler wants to stream it."""
        return self._registry.sink(environ) if guard.check(environ) is None else None

    def largest_body(self, environ: dict[str, Any]) -> int:
        """Return the largest allowed body in bytes, if `sink` does not take it."""
        path = str(environ["PATH_INFO"])
        if path.startswith(admin.PREFIX):
            return admin.LARGEST_BODY
        return LARGEST_MANIFEST if path.startswith("/v2/") else largest_body(environ)

    def restore(self, archive: IO[bytes]) -> None:
        """Take the place of what a snapshot was saved from. Call it before the start."""
        self._instance.restore(archive)

    def await_restored(self) -> None:
        """Return when every load balancer listens and every service has its tasks, or after a timeout."""
        self._instance.await_load_balancers()

    def start(self) -> None:
        """Start the background parts."""
        self._runtime.start()

    def close(self) -> None:
        """Stop the background parts, and delete the registry's files."""
        self._runtime.close()
        self._store.remove()
