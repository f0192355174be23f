"""Serializes the state of the local AWS: moto's backends, and the state that other parts keep.

moto can seed its identifiers and replay recorded calls, but a replay yields other times, and nothing that happens between
calls (docs/adr/0018-snapshots-are-signed.md). So the objects themselves are pickled. Unpickling can execute code, so only files
signed in this home folder are loaded (`file`), and only classes of moto, of the local AWS and a few containers are created.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
import types
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from moto.core.base_backend import BackendDict
from moto.ecs import ecs_backends
from moto.elbv2 import elbv2_backends

from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.aws.ecs.model.task import EveryTask, Task
from mclass_tf.local.aws.ecs.tasks import interfaces
from mclass_tf.local.live import live

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_PEM, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
_CLEAR = serialization.NoEncryption()
_PROTOCOL = 5
_PACKAGES = ("moto.", "mclass_tf.local.")
_CONTAINERS = frozenset(
    [
        ("builtins", "bytearray"),
        ("builtins", "dict"),
        ("builtins", "frozenset"),
        ("builtins", "list"),
        ("builtins", "set"),
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("ipaddress", "IPv4Address"),
        ("ipaddress", "IPv4Network"),
        ("ipaddress", "IPv6Address"),
        ("ipaddress", "IPv6Network"),
        ("re", "_compile"),
        ("uuid", "UUID"),
    ]
)


class UnsaveableError(ValueError):
    """Part of the state cannot be serialized; the message names it."""


def dump(tasks: EveryTask) -> bytes:
    """Return the serialized state. Call it while holding the API lock. Raise UnsaveableError."""
    document = {
        "backends": [
            (*_name(backends), {account_id: dict(regions) for account_id, regions in backends.items()})
            for backends in _in_use()
        ],
        "ecr_token_seconds": ecr.tokens.valid_seconds,
        "tasks": tasks,
        "traffic": live.traffic.history,
    }
    written = io.BytesIO()
    try:
        _Pickler(written, _PROTOCOL).dump(document)
        _Unpickler(io.BytesIO(written.getvalue())).load()  # fail now if it cannot be read back
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UnsaveableError(str(error)) from error
    return written.getvalue()


def load(data: bytes) -> EveryTask:
    """Replace the current state by a serialized one. Tasks that ran lose their network interfaces and targets.

    Raise pickle.UnpicklingError for bytes that `dump` has not written.
    """
    document = _Unpickler(io.BytesIO(data)).load()
    for module, name, accounts in document["backends"]:
        backends = _backends(module, name)
        for account_id, regions in accounts.items():
            backends[account_id].update(regions)  # moto creates and registers the backend
    ecr.tokens.valid_seconds = document["ecr_token_seconds"]
    live.traffic.history = document["traffic"]
    tasks: EveryTask = document["tasks"]
    for task in tasks.started:
        _remove_task(task)
    return tasks


def forget_services() -> None:
    """Remove every ECS service, so that nothing starts tasks any more."""
    for _, _, backend in ecs_backends.iter_backends():
        backend.services.clear()


def clear() -> None:
    """Delete the state of every service in every account. Call it while no task runs."""
    BackendDict.reset()
    for topic in ("alarms", "autoscaling", "ecs", "elbv2", "targets"):
        live.changed(topic)


def _remove_task(task: Task) -> None:
    """Remove a task's resources in other services: its process does not exist any more."""
    interfaces.delete(task)
    for registration in task.launch.registrations:
        if task.interface is not None:
            elbv2_backends[task.launch.account_id][task.launch.region].forget_target(
                registration.target_group_arn, task.interface.private_ip, registration.container_port
            )


def _in_use() -> Iterable[BackendDict[Any]]:
    """Return each collection of backends once: moto's own list has another entry for each account."""
    return {id(backends): backends for backends in BackendDict._instances}.values()  # noqa: SLF001


def _name(backends: BackendDict[Any]) -> tuple[str, str]:
    """Find the module and name of a collection of backends by identity: moto names services inconsistently."""
    for module in [name for name in sys.modules if name.startswith("moto.") and name.endswith("models")]:
        for name, value in vars(sys.modules[module]).items():
            if value is backends and name.endswith("_backends"):
                return module, name
    raise UnsaveableError(f"the backends of {backends.service_name} have no name")


def _backends(module: str, name: str) -> BackendDict[Any]:
    backends = getattr(importlib.import_module(module), name) if module.startswith("moto.") else None
    if not isinstance(backends, BackendDict):
        raise pickle.UnpicklingError(f"{module}.{name} are no backends")
    return backends


def bound(owner: Any, name: str) -> Any:
    """Return a bound public method of an object of the local AWS, such as a service's look-up of its task definition."""
    if name.startswith("_") or not type(owner).__module__.startswith(_PACKAGES):
        raise pickle.UnpicklingError(f"{type(owner).__name__}.{name} is no method of the local AWS")
    return getattr(owner, name)


def lock() -> Any:
    """Return a lock that nobody holds."""
    return threading.Lock()


def reentrant_lock() -> Any:
    """Return a lock that nobody holds."""
    return threading.RLock()


def new_dict(kind: type[dict[Any, Any]]) -> Any:
    """Return an empty dictionary of a moto class, without calling its constructor."""
    return kind.__new__(kind)


def fill_dict(empty: dict[Any, Any], content: tuple[dict[Any, Any], dict[str, Any], Any]) -> None:
    """Restore a dictionary's stored items, its attributes and the factory of a defaultdict."""
    items, attributes, factory = content
    dict.update(empty, items)
    vars(empty).update(attributes)
    if isinstance(empty, defaultdict):
        empty.default_factory = factory


def nested_dict() -> defaultdict[Any, dict[Any, Any]]:
    """Return a dictionary of dictionaries. moto's Parameter Store creates such dictionaries for tags by a lambda."""
    return defaultdict(dict)


def nested_dicts() -> Callable[[], defaultdict[Any, dict[Any, Any]]]:
    """Return the factory of such dictionaries."""
    return nested_dict


def private_key(pem: bytes) -> Any:
    """Return the private key of a certificate."""
    return serialization.load_pem_private_key(pem, password=None)


def certificate(pem: bytes) -> Any:
    """Return a certificate."""
    return x509.load_pem_x509_certificate(pem)


_LOCKS = {type(threading.Lock()): lock, type(threading.RLock()): reentrant_lock}
_MAKERS: tuple[Callable[..., Any], ...] = (
    bound,
    certificate,
    fill_dict,
    lock,
    nested_dict,
    nested_dicts,
    new_dict,
    private_key,
    reentrant_lock,
)


def _reduce(value: types.FunctionType | types.MethodType | Enum) -> Any:
    if isinstance(value, Enum):
        return type(value), (value.value,)  # Python 3.11.2 (Debian) would pickle a reference to getattr
    if isinstance(value, types.MethodType):
        return bound, (value.__self__, value.__name__)
    return (nested_dicts, ()) if _makes_nested_dicts(value) else NotImplemented


def _makes_nested_dicts(function: types.FunctionType) -> bool:
    """Return whether the function is moto's lambda for nested dictionaries. Lambdas cannot be pickled by name."""
    if function.__name__ != "<lambda>" or not function.__module__.startswith("moto."):
        return False
    return function.__code__.co_argcount == 0 and function() == nested_dict()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) in _LOCKS:
            return _LOCKS[type(value)], ()
        if isinstance(value, dict) and type(value).__module__.startswith(_PACKAGES):
            # In S3's dictionary, items() hides the lists of object versions, and setting an item appends a version.
            content = (dict(dict.items(value)), vars(value), getattr(value, "default_factory", None))
            return new_dict, (type(value),), content, None, None, fill_dict
        if isinstance(value, types.FunctionType | types.MethodType | Enum):
            return _reduce(value)
        if isinstance(value, PrivateKey):
            return private_key, (value.private_bytes(_PEM, _PKCS8, _CLEAR),)
        if isinstance(value, x509.Certificate):
            return certificate, (value.public_bytes(_PEM),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CONTAINERS:
            return super().find_class(module, name)
        value = super().find_class(module, name) if module.startswith(_PACKAGES) else None
        is_own_class = isinstance(value, type) and value.__module__.startswith(_PACKAGES)
        if is_own_class or value in _MAKERS:
            return value
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state")
