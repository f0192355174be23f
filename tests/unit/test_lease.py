"""The lease lets one command at a time work on an environment, names its holder to others, and expires with a dead holder."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from mclass_tf.aws import Access, Aws
from mclass_tf.environment import Backend
from mclass_tf.errors import LeaseHeldError, LeaseLostError, LedgerError
from mclass_tf.lease import LIFETIME, Holder, Lease, _machine
from tests.unit.damaged import DAMAGED
from tests.unit.fake_s3 import FakeS3

KEY = "mclass/releases/prod.lease"
KIM = Holder.here(who="kim", command="promote", digest="sha256:aa")
LEE = Holder.here(who="lee", command="release", digest="")
ELSEWHERE = replace(KIM, machine="another", host="another")


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def lease(s3: FakeS3) -> Lease:
    aws = Aws(Access(region="ap-northeast-2"))
    aws.__dict__["s3"] = s3
    backend = Backend(
        file=Path("backend.hcl"),
        bucket="state",
        key="mclass/terraform.tfstate",
        region="ap-northeast-2",
        allowed_account_ids=(),
    )
    return Lease(aws, backend, environment="prod")


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def left_by(s3: FakeS3, holder: Holder) -> None:
    """Leave a lease like a killed holder."""
    lease(s3)._take(holder)


def test_a_second_command_is_refused_with_who_holds_the_lease_since_when_and_for_what(s3: FakeS3) -> None:
    with lease(s3).held(KIM), pytest.raises(LeaseHeldError) as caught, lease(s3).held(LEE):
        pytest.fail("both hold it")

    assert f"kim is at work in prod since {KIM.since}: promote of sha256:aa" in caught.value.message
    assert (caught.value.holder, caught.value.digest) == ("kim", "sha256:aa")
    assert "`rollback prod`" in caught.value.hint


def test_a_released_lease_is_free(s3: FakeS3) -> None:
    with lease(s3).held(KIM):
        assert lease(s3).holder() == KIM
    assert lease(s3).holder() is None

    with lease(s3).held(LEE):
        assert lease(s3).holder() == LEE


def test_a_failure_inside_releases_the_lease(s3: FakeS3) -> None:
    with pytest.raises(KeyError), lease(s3).held(KIM):
        raise KeyError

    assert lease(s3).holder() is None


def test_a_lease_not_renewed_for_its_lifetime_is_free(s3: FakeS3) -> None:
    left_by(s3, ELSEWHERE)
    s3.now += dt.timedelta(seconds=LIFETIME - 1)
    with pytest.raises(LeaseHeldError), lease(s3).held(LEE):
        pytest.fail("it had not ended")
    s3.now += dt.timedelta(seconds=2)

    with lease(s3).held(LEE):
        assert lease(s3).holder() == LEE


def test_the_lease_of_a_dead_process_of_this_machine_is_free(s3: FakeS3) -> None:
    left_by(s3, replace(KIM, pid=dead_process()))

    with lease(s3).held(LEE):
        assert lease(s3).holder() == LEE


def test_a_process_of_another_machine_counts_as_alive(s3: FakeS3) -> None:
    left_by(s3, replace(ELSEWHERE, pid=dead_process()))

    with pytest.raises(LeaseHeldError), lease(s3).held(LEE):
        pytest.fail("it may live")


def linux(proc: Path, *, namespace: int, boot: str) -> Path:
    """Return a /proc with this PID namespace and this boot id."""
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/pid").symlink_to(f"pid:[{namespace}]")
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
    return proc


def test_a_process_in_another_container_on_the_network_of_this_host_counts_as_alive(
    s3: FakeS3, tmp_path: Path
) -> None:
    container = _machine(proc=linux(tmp_path, namespace=1, boot="this"))
    left_by(s3, replace(KIM, id="other", machine=container, pid=dead_process()))

    with pytest.raises(LeaseHeldError), lease(s3).held(LEE):
        pytest.fail("it may live")


def test_a_machine_is_identified_by_its_pid_namespace_and_boot_if_it_has_them(
    tmp_path: Path,
) -> None:
    one = linux(tmp_path / "one", namespace=1, boot="a")
    same = linux(tmp_path / "same", namespace=1, boot="a")
    container = linux(tmp_path / "container", namespace=2, boot="a")
    later = linux(tmp_path / "later", namespace=1, boot="b")

    assert _machine(proc=one) == _machine(proc=same)
    assert len({_machine(proc=each) for each in (one, container, later, tmp_path / "not Linux")}) == 4
    assert _machine() == _machine()


def test_a_taken_lease_is_ours_even_if_the_response_was_lost(s3: FakeS3) -> None:
    s3.lost_answers = 1
    with lease(s3).held(KIM):
        assert lease(s3).holder() == KIM

    assert s3.lost_answers == 0
    assert lease(s3).holder() is None


def test_a_lease_taken_over_is_ours_even_if_the_response_was_lost(s3: FakeS3) -> None:
    left_by(s3, replace(LEE, pid=dead_process()))

    s3.lost_answers = 1
    with lease(s3).held(KIM):
        assert lease(s3).holder() == KIM

    assert s3.lost_answers == 0
    assert lease(s3).holder() is None


def test_after_a_lost_response_to_a_renewal_it_is_renewed_and_released(s3: FakeS3) -> None:
    renewed = threading.Event()
    since_then: set[bytes] = set()

    def note() -> None:
        if not s3.lost_answers:
            since_then.add(s3.objects[KEY][0])
        if len(since_then) > 1:
            renewed.set()

    with lease(s3).held(KIM, renewed_every=0.01):
        s3.lost_answers = 1
        s3.before_put = note
        assert renewed.wait(10)
    assert lease(s3).holder() is None


def test_a_renewal_that_fails_is_reported_once_and_tried_again(s3: FakeS3) -> None:
    """A lease lapsed without a word where the credentials had expired."""
    lines: list[str] = []
    failed_again = threading.Event()

    def count() -> None:
        if s3.calls["PutObject"] > 4:
            failed_again.set()

    with lease(s3).held(KIM, report=lines.append, renewed_every=0.01):
        s3.calls.clear()
        s3.refusal, s3.before_put = "ExpiredToken", count
        assert failed_again.wait(10)
        s3.refusal = ""

    assert lines == [
        "the lease on prod cannot be renewed, and ends within 90 s: the credentials have expired"
    ]


def test_it_is_released_even_if_the_response_to_the_last_renewal_was_lost(s3: FakeS3) -> None:
    with lease(s3).held(KIM):
        lease(s3)._write(KIM, condition={})

    assert lease(s3).holder() is None


def test_a_released_lease_stays_free_if_the_response_was_lost(s3: FakeS3) -> None:
    with lease(s3).held(KIM):
        s3.lost_answers = 1

    assert s3.lost_answers == 0
    assert lease(s3).holder() is None


def test_another_holder_keeps_it_if_the_response_to_its_release_was_lost(s3: FakeS3) -> None:
    def lee_is_there_for_the_repeat() -> None:
        if not s3.lost_answers:
            s3.before_put = lambda: None
            left_by(s3, LEE)

    with lease(s3).held(KIM):
        s3.lost_answers = 1
        s3.before_put = lee_is_there_for_the_repeat

    assert lease(s3).holder() == LEE


def test_it_is_renewed_while_it_is_held(s3: FakeS3) -> None:
    with lease(s3).held(KIM, renewed_every=0.01):
        renewed = threading.Event()
        first = s3.objects[KEY]
        s3.before_put = lambda: renewed.set() if s3.objects[KEY] != first else None
        assert renewed.wait(10)
    assert lease(s3).holder() is None


def test_of_two_commands_that_find_an_expired_lease_one_gets_it(s3: FakeS3) -> None:
    left_by(s3, replace(KIM, id="dead", pid=dead_process()))

    calls: list[int] = []

    def lee_is_faster() -> None:
        # Between the read and the second write of the one who comes now.
        calls.append(1)
        if len(calls) == 2:
            s3.before_put = lambda: None
            left_by(s3, LEE)

    s3.before_put = lee_is_faster

    with pytest.raises(LeaseHeldError, match="lee is at work"), lease(s3).held(KIM):
        pytest.fail("both hold it")


def test_a_lost_lease_is_not_overwritten(s3: FakeS3) -> None:
    with lease(s3).held(ELSEWHERE):
        s3.now += dt.timedelta(seconds=LIFETIME + 1)
        left_by(s3, LEE)

    assert json.loads(s3.objects[KEY][0])["who"] == "lee"
    assert lease(s3).holder() == LEE


def test_without_permission_the_error_names_the_permission(s3: FakeS3) -> None:
    s3.refusal = "AccessDenied"

    with pytest.raises(LedgerError) as caught, lease(s3).held(KIM):
        pytest.fail("it was not written")

    assert f"s3:PutObject on s3://state/{KEY}" in caught.value.hint


@pytest.mark.parametrize("body", [*DAMAGED.values(), b'{"id": 7}'], ids=lambda body: repr(body[:30]))
def test_an_unreadable_lease_counts_as_held_until_it_expires(s3: FakeS3, body: bytes) -> None:
    s3.objects[KEY] = (body, s3.now)

    with pytest.raises(LeaseHeldError) as caught, lease(s3).held(LEE):
        pytest.fail("it may be held")
    assert f"s3://state/{KEY} cannot be read" in caught.value.message
    assert f"{LIFETIME:.0f} s from now" in caught.value.hint
    assert lease(s3).holder() is None

    s3.now += dt.timedelta(seconds=LIFETIME + 1)
    with lease(s3).held(LEE):
        assert lease(s3).holder() == LEE


def test_an_invalid_process_id_does_not_count_as_dead(s3: FakeS3) -> None:
    left_by(s3, replace(KIM, pid=1 << 80))

    with pytest.raises(LeaseHeldError), lease(s3).held(LEE):
        pytest.fail("it is held")


def test_our_own_lease_passes_the_check(s3: FakeS3) -> None:
    with lease(s3).held(KIM) as held:
        s3.now += dt.timedelta(seconds=LIFETIME / 3)
        held.require()

        assert s3.calls["PutObject"] == 1, "it was only read"


def test_after_a_long_sleep_the_error_names_the_new_holder(s3: FakeS3) -> None:
    with lease(s3).held(ELSEWHERE) as held:
        s3.now += dt.timedelta(seconds=LIFETIME + 1)
        left_by(s3, LEE)

        with pytest.raises(LeaseLostError) as caught:
            held.require()

    assert caught.value.exit_code == 5
    assert "lost the lease on prod and has stopped: lee is at work there since" in caught.value.message
    assert "`status prod`" in caught.value.hint
    assert "`release prod --resume`" in caught.value.hint


def test_after_a_long_sleep_the_error_names_a_holder_that_has_released_it_again(s3: FakeS3) -> None:
    with lease(s3).held(ELSEWHERE) as held:
        s3.now += dt.timedelta(seconds=LIFETIME + 1)
        with lease(s3).held(LEE):
            pass

        with pytest.raises(LeaseLostError, match="lee was at work there since"):
            held.require()


@pytest.mark.parametrize(
    ("left", "told"), [(None, "somebody has removed it"), (b"<html>", "somebody has written over it")]
)
def test_a_missing_or_damaged_lease_is_not_ours(s3: FakeS3, left: bytes | None, told: str) -> None:
    with lease(s3).held(KIM) as held:
        del s3.objects[KEY]
        if left is not None:
            s3.objects[KEY] = (left, s3.now)

        with pytest.raises(LeaseLostError, match=told):
            held.require()


@pytest.mark.parametrize("seconds", [LIFETIME / 2, LIFETIME - 1, 10 * LIFETIME])
def test_a_lease_near_its_end_or_expired_and_free_is_renewed_by_the_check(s3: FakeS3, seconds: float) -> None:
    with lease(s3).held(ELSEWHERE) as held:
        s3.now += dt.timedelta(seconds=seconds)

        held.require()

        with pytest.raises(LeaseHeldError), lease(s3).held(LEE):
            pytest.fail("it was renewed")
    assert lease(s3).holder() is None


def test_a_lease_taken_just_before_its_renewal_is_lost(s3: FakeS3) -> None:
    def lee_is_faster() -> None:
        s3.before_put = lambda: None
        left_by(s3, LEE)

    with lease(s3).held(ELSEWHERE) as held:
        s3.now += dt.timedelta(seconds=LIFETIME + 1)
        s3.before_put = lee_is_faster

        with pytest.raises(LeaseLostError, match="lee is at work there"):
            held.require()


def test_a_refusal_by_s3_is_not_a_lost_lease(s3: FakeS3) -> None:
    with lease(s3).held(ELSEWHERE) as held:
        s3.refuses_reads = True
        with pytest.raises(ClientError):
            held.require()
        s3.refuses_reads = False
