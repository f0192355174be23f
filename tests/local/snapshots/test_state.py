"""The state in a snapshot survives writing and reading."""

from __future__ import annotations

from moto.ssm.models import ssm_backends

from mclass_tf.local.aws.ecs.model.stages import Need
from mclass_tf.local.aws.ecs.model.task import EveryTask
from mclass_tf.local.snapshots import state
from tests.local.in_process import REGION, client, new_account


def test_ssm_parameters_are_kept_with_their_tags() -> None:
    account = new_account()
    ssm = client(account, "ssm")
    ssm.put_parameter(
        Name="/key", Value="s3cret", Type="SecureString", Tags=[{"Key": "team", "Value": "orders"}]
    )
    written = state.dump(EveryTask(stopped=[], started=[]))
    ssm_backends.pop(account)

    state.load(written)

    value = ssm.get_parameter(Name="/key", WithDecryption=True)["Parameter"]["Value"]
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/key")["TagList"]
    assert (value, tags) == ("s3cret", [{"Key": "team", "Value": "orders"}])
    assert state.dump(EveryTask(stopped=[], started=[]))  # a restored state can be saved again


def test_enum_members_are_kept_regardless_of_how_python_pickles_them() -> None:
    """Python 3.11.2 (Debian) pickles members as calls of getattr, which no state may contain."""
    account = new_account()
    ssm_backends[account][REGION].need = next(iter(Need))

    written = state.dump(EveryTask(stopped=[], started=[]))
    ssm_backends.pop(account)
    state.load(written)

    assert b"getattr" not in written
    assert ssm_backends.pop(account)[REGION].need is next(iter(Need))
