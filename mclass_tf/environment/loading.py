"""List the environments of a project; load and check one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mclass_tf.environment import backend, inputs, settings, values
from mclass_tf.environment.model import BACKEND, SETTINGS, VARIABLES, Environment
from mclass_tf.environment.patterns import ACCOUNT, NAME, REGION, ROLE
from mclass_tf.environment.table import SettingsTable
from mclass_tf.environment.text import shown
from mclass_tf.errors import ConfigurationError, MclassError, UnknownEnvironmentError


def names(project: Path) -> tuple[str, ...]:
    """Return the sorted names of the environments in the folder `project`."""
    folders = (path.parent.name for path in (project / "environments").glob(f"*/{SETTINGS}"))
    return tuple(sorted(folders))


def load(project: Path, name: str, *, evaluate: values.Evaluate = values.without_terraform) -> Environment:
    """Read and check the environment `name`; raise ConfigurationError with file, line and key if it is wrong.

    `evaluate` evaluates values that are not literals, and files that the grammar cannot parse completely.
    """
    known = names(project)
    directory = _directory(project, name, known)
    table = SettingsTable.read(directory / SETTINGS)
    variables = inputs.read(
        directory / VARIABLES, root=project / "terraform", settings=table, evaluate=evaluate
    )
    environment = Environment(
        name=name,
        directory=directory,
        account_id=table.required("account_id", ACCOUNT, 'twelve digits in quotes, such as "111111111111"'),
        region=table.required("region", REGION, 'an AWS region, such as "ap-northeast-2"'),
        role_arn=table.optional(
            "role_arn", ROLE, 'the ARN of a role, "arn:aws:iam::111111111111:role/deploy"'
        ),
        promotes_from=table.optional("promotes_from", NAME, 'the name of an environment, such as "dev"'),
        backend=backend.read(directory / BACKEND, evaluate),
        variables=variables,
        release=settings.release(table.table("release")),
        promotion=settings.promotion(table.table("promotion")),
    )
    table.reject_unknown_keys()
    _require_promotion_from_another(environment, table, known)
    _require_own_account(environment)
    _require_own_name(environment, variables)
    _require_own_state(environment, others=[other for other in known if other != name], evaluate=evaluate)
    return environment


def _directory(project: Path, name: str, known: Sequence[str]) -> Path:
    directory = project / "environments" / name
    if name in known and not NAME.fullmatch(name):
        raise UnknownEnvironmentError(
            f"{name!r} cannot be the name of an environment",
            hint="rename the folder: at most 31 lowercase letters, digits and hyphens, a letter first",
        )
    if not NAME.fullmatch(name) or (name not in known and not directory.is_dir()):
        raise UnknownEnvironmentError(
            f"unknown environment {name!r}",
            hint=f"known environments: {', '.join(known) or 'none'} (folders of {project / 'environments'})",
        )
    return directory


def _require_promotion_from_another(
    environment: Environment, table: SettingsTable, known: Sequence[str]
) -> None:
    source = environment.promotes_from
    if source is not None and (source not in known or source == environment.name):
        others = ", ".join(name for name in known if name != environment.name) or "none"
        raise table.error(
            "promotes_from", f"names {source!r}, which is no other environment", f"others: {others}"
        )


def _require_own_account(environment: Environment) -> None:
    own = environment.backend
    if own.allowed_account_ids and environment.account_id not in own.allowed_account_ids:
        raise ConfigurationError(
            f"allowed_account_ids is {shown(list(own.allowed_account_ids))}, {SETTINGS} says {environment.account_id}",
            hint="both name the account of this environment: correct the wrong one",
            file=own.file,
            line=own.line_of_accounts,
            key="allowed_account_ids",
        )


def _require_own_name(environment: Environment, variables: values.Values) -> None:
    declared = variables.get("environment")
    if declared != environment.name:
        raise variables.error(
            "environment",
            f"is {shown(declared)}, but the folder is {environment.name!r}",
            f'write environment = "{environment.name}"',
        )


def _require_own_state(environment: Environment, *, others: Sequence[str], evaluate: values.Evaluate) -> None:
    """Reject a state that another environment uses too: each would destroy the other's resources."""
    own = environment.backend
    for other in others:
        try:
            theirs = backend.read(environment.directory.with_name(other) / BACKEND, evaluate)
        except MclassError:
            continue  # opening that environment reports it
        if (theirs.bucket, theirs.key) == (own.bucket, own.key):
            raise ConfigurationError(
                f"the state s3://{own.bucket}/{own.key} is that of {other}",
                hint=f'give each environment its own: key = "{environment.name}/terraform.tfstate"',
                file=own.file,
                line=own.line_of_key,
                key="key",
            )
