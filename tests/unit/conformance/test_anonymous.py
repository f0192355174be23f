"""What identifies an account, a person or a name is nowhere in a recording."""

from __future__ import annotations

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mclass_tf.conformance import recording
from mclass_tf.conformance.anonymous import Anonymizer, template
from mclass_tf.conformance.calls import CallLog
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.conformance.recording import FORMAT, Recording

_HEX = "0123456789abcdef"
_LOWER = string.ascii_lowercase
_word = st.text(_LOWER, min_size=6, max_size=12).map(lambda word: f"x{word}q")
_digits = st.text(string.digits, min_size=12, max_size=12)
_hex32 = st.text(_HEX, min_size=32, max_size=32)
_upper = st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16)

# Each is an account number, a name, or what AWS makes of them, as it comes in messages and answers.
_SECRETS = st.one_of(
    _digits,
    st.builds("arn:aws:ecs:eu-west-1:{}:service/{}/{}".format, _digits, _word, _word),
    st.builds("arn:aws:sts::{}:assumed-role/{}/{}".format, _digits, _word, _word),
    st.builds("arn:aws-cn:iam::{}:user/{}".format, _digits, _word),
    st.builds("arn:aws:s3:::{}".format, _word),
    st.builds("{}.{}.{}@{}.com".format, _word, _word, _digits, _word),
    st.builds("{}@{}".format, _word, st.builds("{}.io".format, _word)),
    st.builds("{}-{}.{}.elb.amazonaws.com".format, _word, _digits, st.just("eu-west-1")),
    st.builds("{}.dkr.ecr.eu-west-1.amazonaws.com/{}".format, _digits, _word).map(lambda host: host.split("/")[0]),
    st.builds("{}{}".format, st.sampled_from(["AKIA", "ASIA", "AROA", "AIDA"]), _upper),
    st.builds("sha256:{}{}".format, _hex32, _hex32),
    st.builds("ecs-svc/{}".format, st.text(string.digits, min_size=19, max_size=19)),
    _hex32.filter(lambda text: not text.isalpha()),
    st.builds("{}-{}".format, st.sampled_from(["vpc", "subnet", "sg", "eni"]), st.text(_HEX, min_size=17, max_size=17)),
    st.builds("{}.{}.{}.{}".format, *([st.integers(10, 255)] * 4)),
    st.builds("2001:db8:{}:{}::{}".format, *([st.text(_HEX, min_size=4, max_size=4)] * 3)),
    st.uuids().map(str),
)  # fmt: skip
_names = st.lists(_word, min_size=1, max_size=4, unique=True)


class _View:
    """A service whose every text has a secret in it."""

    def __init__(self, secret: str, name: str) -> None:
        self._secret = secret
        self._text = f"(service {name}) has seen {secret} at {name}, ({secret})."

    def deployments(self) -> Any:
        return [
            {
                "serviceDeploymentArn": self._secret,
                "createdAt": time.time(),
                "status": "IN_PROGRESS",
                "statusReason": self._text,
                "lifecycleStage": "SCALE_UP",
            }
        ]

    def events(self) -> Any:
        return [{"id": self._secret, "createdAt": time.time(), "message": self._text}]

    def tasks(self) -> Any:
        container = {"exitCode": 1, "reason": self._text}
        return [
            {
                "taskArn": self._secret,
                "lastStatus": "STOPPED",
                "stoppedReason": self._text,
                "containers": [container],
            }
        ]

    def targets(self) -> Any:
        return [(self._secret, "healthy", "")]

    def weights(self) -> Any:
        return {"production": {self._secret: 100.0, f"{self._secret}x": 0.0}}


@given(secret=_SECRETS, names=_names)
def test_no_secret_gets_into_a_recording(secret: str, names: list[str]) -> None:
    recorder = Recorder(Anonymizer(dict.fromkeys(names, "name")), now=time.time, speed=1.0)
    answer = {"tags": {secret: names[0]}, names[-1]: secret, "list": [{"Key": secret}]}
    with recorder.chapter("all"):
        recorder.calls("ecs", "DescribeServices", {"cluster": secret, "services": names}, answer)
        refusal = {"Error": {"Code": "AccessDenied", "Message": f"User: {secret} may not see {names[0]}"}}
        recorder.calls("ecs", "UpdateService", {"cluster": secret}, refusal)
        recorder.watch(_View(secret, names[0]))
        recorder.look()
    with recorder.chapter("again"):
        pass
    made = Recording(format=FORMAT, cloud="aws", chapters=recorder.chapters)

    text = recording.encode(made).decode()

    assert secret not in text
    assert [name for name in names if name in text.replace('"name', "")] == []


@given(secret=_SECRETS)
def test_the_same_thing_has_the_same_label_everywhere(secret: str) -> None:
    anonymizer = Anonymizer()

    first, second = anonymizer.text(f"one {secret}"), anonymizer.text(f"one {secret}")

    assert first == second
    assert first != anonymizer.text("one 123456789012")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(service shop) has reached a steady state.", "(service service-1) has reached a steady state."),
        ("Elb.RegistrationInProgress", "Elb.RegistrationInProgress"),
        ("Essential container in task exited", "Essential container in task exited"),
        ("(port 3000) due to (reason Health checks failed)", "(port 3000) due to (reason Health checks failed)"),
        ("registered 2 targets in (target-group arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/b)",
         "registered 2 targets in (target-group targetgroup-1)"),
    ],
)  # fmt: skip
def test_words_of_aws_stay(text: str, expected: str) -> None:
    assert expected == Anonymizer({"shop": "service"}).text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("User: arn:aws:sts::123456789012:assumed-role/ci/kim,lee may not", "User: resource-1 may not"),
        ("arn:aws:iam::1:role/a,arn:aws:iam::1:role/b, and", "role-1,role-2, and"),
        ("failed to resolve ref docker.io/acme/shop:v1: docker.io/acme/shop:v1: not found",
         "failed to resolve ref dns-1: dns-1: not found"),
        ("pull of 123456789012.dkr.ecr.eu-west-1.amazonaws.com/acme/web:a1b2c3d failed.", "pull of dns-1 failed."),
        ("see https://git.acme.com/shop/issues/7.", "see url-1."),
        ("no object s3://acme-state/prod/key here", "no object url-1 here"),
        ("(https://acme.com/)", "(url-1)"),
        ("at acme.com/.", "at dns-1."),
    ],
)  # fmt: skip
def test_nothing_of_an_address_stays(text: str, expected: str) -> None:
    assert expected == Anonymizer().text(text)


def test_an_ordinary_word_that_is_a_name_is_left() -> None:
    assert Anonymizer({"service": "name", "web": "name"}).text("(service web)") == "(service web)"


def test_wordings_do_not_depend_on_numbers_or_labels() -> None:
    one = template("(service service-1) has started 1 tasks: (task id-7).")
    other = template("(service name-3) has started 3 tasks: (task id-1) (task id-2) (task id-3).")

    assert one == other
    assert one != template("(service service-1) has stopped 1 running tasks: (task id-7).")


def test_fields_keep_their_names() -> None:
    log = CallLog(Anonymizer({"shop": "service"}))
    breaker = {"deploymentCircuitBreaker": {"status": "MONITORING"}}

    log("ecs", "X", {}, {"serviceDeployments": [breaker], "shop": 1})

    (entry,) = log.take()
    assert entry.answer is not None
    assert "serviceDeployments[].deploymentCircuitBreaker.status" in entry.answer
    assert entry.answer["service-1"] == "number"


@pytest.mark.parametrize("field", ["Ipv6CidrBlockAssociationSet", "AssignIpv6AddressOnCreation"])
def test_a_field_of_awss_is_no_token_however_long_it_is(field: str) -> None:
    assert Anonymizer().text(field) == field
    assert Anonymizer({field: "service"}).text(field) == "service-1"
