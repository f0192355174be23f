"""Requests the service through its load balancer until the released revision answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mclass_tf import verify
from mclass_tf.errors import Hint, MclassError, NotServingError
from mclass_tf.flows.deployer.reach import awaited_reachability_problem, header_of, is_internal, smoke_paths
from mclass_tf.flows.endpoints import locate
from mclass_tf.ledger import SmokeResult
from mclass_tf.load_balancer_endpoint import Endpoint, HttpResponse, UntrustedError, get
from mclass_tf.service import Task
from mclass_tf.session import Session

_SECONDS = 10.0  # timeout of one request
_WITHIN = 15.0  # seconds within which the answers must be right
_SHIFT_WITHIN = 60.0  # seconds within which the load balancer must use the weights that ECS has just written
_PAUSE = 0.5
_ANSWERS_A_TASK = 2
_SMOKE_ANSWERS = 3
_OK, _NOT_FOUND, _REDIRECT = 200, 404, 300


def require_answers(
    session: Session,
    outputs: verify.Outputs,
    *,
    tasks: Sequence[Task],
    runs_too: Callable[[str], bool],
    revision: str,
    unreachable: str = "",
) -> None:
    """Return after enough consecutive answers from the revision; raise NotServingError if they do not come.

    The number is twice that of the tasks, so that round robin reaches each task. An answer that names its revision must name
    this one, and an answer that names its task one of these, or one that ECS started since: `runs_too` tells. Other answers must
    be successful. `unreachable` is why the load balancer did not answer this machine before the rollout: if it still does not,
    nothing is requested.
    """
    if not is_reachable(session, outputs):
        session.report(
            "the load balancer is internal and does not answer this machine: nothing is requested from it"
        )
        return
    if unreachable and (problem := awaited_reachability_problem(session, outputs)):
        session.report(
            f"the load balancer does not answer this machine, as before the rollout: nothing is requested from it: {problem}"
        )
        return
    endpoint = locate(session, outputs.url, certificate_arn=outputs.certificate_arn)
    path = session.environment.release.version_path
    if _find_problem(endpoint, path) == f"{path} answers with {_NOT_FOUND}":
        path = _health_path(session, outputs)
    known = {task.id for task in tasks}

    def is_known(task: str) -> bool:
        if task not in known and runs_too(task):
            known.add(task)
        return task in known

    def find_problem() -> str:
        return _find_problem(endpoint, path, is_known=is_known, revision=revision)

    _require_in_a_row(find_problem, times=_ANSWERS_A_TASK * max(len(tasks), 1), what=outputs.url)


def is_reachable(session: Session, outputs: verify.Outputs) -> bool:
    """Return whether the load balancer can be asked: it faces the internet, or answers this machine all the same."""
    return not is_internal(session, outputs) or not awaited_reachability_problem(session, outputs)


def smoke_test(session: Session, outputs: verify.Outputs, *, revision: str) -> tuple[SmokeResult, ...]:
    """Request each path of the new version over the production listener, by test traffic; stop at the first failure.

    Each path must succeed several times in a row. If the version path names a revision, it must be this one.
    """
    settings = session.environment.release
    endpoint = locate(session, outputs.url, certificate_arn=outputs.certificate_arn)
    headers = header_of(outputs)
    paths = smoke_paths(session)
    named = settings.version_path in (settings.smoke or ())
    if (
        not named
        and _find_problem(endpoint, settings.version_path, headers=headers)
        == f"{settings.version_path} answers with {_NOT_FOUND}"
    ):
        paths[0] = _health_path(session, outputs)
    results: list[SmokeResult] = []
    for path in dict.fromkeys(paths):
        expected = revision if path == settings.version_path else ""
        try:
            _require_in_a_row(
                partial(_find_problem, endpoint, path, revision=expected, headers=headers),
                times=_SMOKE_ANSWERS,
                what=f"{outputs.url}, for test traffic,",
            )
        except NotServingError as error:
            return (*results, SmokeResult(path=path, problem=error.cause))
        results.append(SmokeResult(path=path))
    return tuple(results)


def run_smoke_test(session: Session, outputs: verify.Outputs, *, revision: str) -> tuple[SmokeResult, ...]:
    """Run the smoke test of a paused rollout. Any error counts as a failed test."""
    session.report("asking the new version by test traffic")
    try:
        smoke = smoke_test(session, outputs, revision=revision)
    except MclassError as error:  # otherwise ECS would wait for an hour
        smoke = (SmokeResult(path=session.environment.release.version_path, problem=error.message),)
    problem = first_problem(smoke)
    session.report(
        f"smoke test failed: {problem}" if problem else "the new version answers: production may shift"
    )
    return smoke


def first_problem(smoke: Sequence[SmokeResult]) -> str:
    """Return the first problem of a smoke test, "" if it passed or did not run."""
    return next((each.problem for each in smoke if each.problem), "")


def _require_in_a_row(find_problem: Callable[[], str], *, times: int, what: str) -> None:
    """Return after `find_problem` returned "" `times` times in a row; raise NotServingError after `_WITHIN` seconds.

    Another revision may answer for longer: a load balancer needs some time to use new weights.
    """
    began = time.monotonic()
    good = 0
    while good < times:
        problem = find_problem()
        good = 0 if problem else good + 1
        within = _SHIFT_WITHIN if isinstance(problem, _OtherRevision) else _WITHIN
        if problem and time.monotonic() >= began + within:
            raise NotServingError(
                f"the tasks run, but at {what} {problem}",
                hint=Hint(
                    ("status", "ENV"),
                    " and ",
                    ("verify", "ENV"),
                    " show what is between the load balancer and the tasks",
                ),
                cause=problem,
            )
        if problem:
            time.sleep(_PAUSE)


def _any(_task: str) -> bool:
    return True


class _OtherRevision(str):
    """The problem that another revision answers."""

    __slots__ = ()


def _find_problem(
    endpoint: Endpoint,
    path: str,
    *,
    is_known: Callable[[str], bool] = _any,
    revision: str = "",
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return the problem with an answer, "" if it is right."""
    try:
        answer = get(endpoint, path, seconds=_SECONDS, headers=headers)
    except UntrustedError as error:
        return str(error)
    except OSError as error:
        return f"nothing answers: {error}"
    if not _OK <= answer.status < _REDIRECT:
        return f"{path} answers with {answer.status}"
    document = _document(answer)
    answered, task = document.get("revision"), document.get("task")
    if revision and isinstance(answered, str) and answered != revision:
        return _OtherRevision(f"{path} answers with revision {answered}, not {revision}")
    if isinstance(task, str) and not is_known(task):
        return f"{path} answers from the task {task}, which is none of the release's"
    return ""


def _document(answer: HttpResponse) -> dict[str, object]:
    try:
        document = json.loads(answer.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _health_path(session: Session, outputs: verify.Outputs) -> str:
    """Return the health check path, for a service without a version path."""
    arns = sorted(outputs.target_group_arns.values())[:1]
    answer = session.aws.elbv2.describe_target_groups(TargetGroupArns=arns)
    return answer["TargetGroups"][0].get("HealthCheckPath", "/")
