"""An environment opened on AWS or the local AWS: checked, entered, with Terraform ready to run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from mclass_tf import aws, buckets, cloud, environment, hcl, terraform, terraform_state
from mclass_tf.errors import (
    BusyError,
    ConfigurationError,
    Hint,
    InterruptedByUserError,
    StateNotStoredError,
    StillRunningError,
    TerraformError,
)
from mclass_tf.plan import state_of
from mclass_tf.system import process
from mclass_tf.system.private import OTHERS_WRITE
from mclass_tf.terraform import Engine, Terraform, cliconfig, commands, messages, outlived, provider
from mclass_tf.workspace import HOME, Workspace, approval_of, discard

HOME_VARIABLE = "MCLASS_TF_HOME"
Report = Callable[[str], None]
"""Takes one line of news for the person who waits."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with terraform/ and environments/, and the package's own folder, which may be deleted at any time."""

    folder: Path
    home: Path

    @classmethod
    def find(cls, env: Mapping[str, str], start: Path) -> Project:
        """Return the project that `start` is in; raise ConfigurationError where it is in none."""
        try:
            start = start.resolve()
            for folder in (start, *start.parents):
                if (folder / "terraform").is_dir() and (folder / "environments").is_dir():
                    home = Path(env.get(HOME_VARIABLE) or folder / HOME).absolute()
                    return cls(folder=folder, home=_made(home, project=folder))
        except FileNotFoundError:  # of the working directory: nothing else is looked for by a relative path
            raise ConfigurationError(
                "the working directory is gone",
                hint="change into the project, or name it: --project FOLDER",
            ) from None
        raise ConfigurationError(
            f"{start} is not in a project: no folder above it holds terraform/ and environments/",
            hint="change into the project, or name it: --project FOLDER",
        )


def _made(home: Path, *, project: Path) -> Path:
    """Make the home folder, readable by its owner alone: what lies in it may hold secrets, and is believed.

    One that is there already may belong to whoever owns the project, whose code runs anyway; nobody else may write to it.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_uid == os.geteuid():
            home.chmod(home.stat().st_mode & ~OTHERS_WRITE)
        owner = home.stat().st_uid
        if owner not in {os.geteuid(), project.stat().st_uid, 0} or home.stat().st_mode & OTHERS_WRITE:
            raise ConfigurationError(
                f"other users may write to the folder {home}", hint=f"{HOME_VARIABLE} names another one"
            )
    except OSError as error:
        raise ConfigurationError(
            f"the folder {home} cannot be made: {error.strerror}", hint=f"{HOME_VARIABLE} names another one"
        ) from None
    return home


@dataclass(frozen=True)
class Session:
    """What every command on one environment starts from. Calls go out only when something is asked of it."""

    project: Project
    environment: environment.Environment
    cloud: cloud.Cloud
    aws: aws.Aws
    workspace: Workspace
    engine: Callable[[], Engine]
    env: Mapping[str, str]
    report: Report

    def terraform(self, **variables: str) -> Terraform:
        """Return Terraform for this environment; `variables` are passed besides account and region."""
        return Terraform(
            engine=self.engine(),
            root=self.workspace.root,
            env=self.terraform_variables(variables),
            environment=self.environment.name,
            run=process.run,
            run_folder=self.workspace.run_folder,
            progress=self.report,
        )

    def terraform_variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        given = {"account_id": self.environment.account_id, "region": self.environment.region}
        return commands.environment(
            self.env,
            data_dir=self.workspace.data,
            cli_config=self.cli_config,
            variables={**given, **variables},
            access=self.aws.access.variables(),
        )

    @cached_property
    def cli_config(self) -> Path:
        """Return the CLI configuration for Terraform: the user's own, or one that names this machine's mirror."""
        source = cliconfig.find_source(self.env)
        if source.user_config is not None:
            return source.user_config
        path = self.workspace.cli_config
        path.write_text(cliconfig.render(source), encoding="utf-8")
        return path

    def state(self) -> terraform_state.State:
        return terraform_state.read(self.aws, self.environment.backend, environment=self.environment.name)

    def lock(self) -> str | None:
        return terraform_state.lock(self.aws, self.environment.backend)

    def initialise(self, *, always: bool = False) -> bool:
        """Run `terraform init` unless nothing that it depends on has changed since; return whether it ran."""
        terraform = self.terraform()
        stamp = self._init_stamp(terraform.engine)
        done = self.workspace.init_stamp
        # An init through a symbolic link to a mirror is void when the mirror has moved.
        providers = list(self.workspace.data.glob("providers/*/*/*/*/*"))
        usable = bool(providers) and all(path.exists() for path in providers)
        if not always and usable and done.is_file() and done.read_text(encoding="ascii") == stamp:
            return False
        done.unlink(missing_ok=True)
        self.report("initialising Terraform")
        with self._alone_in_plugin_cache():
            terraform.init(backend_config=self.environment.backend.file)
        done.write_text(stamp, encoding="ascii")
        return True

    @contextmanager
    def locked_workspace(self) -> Iterator[None]:
        """Hold the working folders for one command, once what an earlier one has left there is dealt with.

        Raise BusyError where another command has them, StillRunningError where the Terraform of one that died is at work.
        """
        with self.workspace.locked():
            self._settle()
            try:
                yield
            finally:
                with suppress(OSError):
                    self.workspace.run_folder.clear()

    def settle(self, *, waits: bool) -> None:
        """Clean up what an earlier command that died has left, before this one looks at anything.

        Where its Terraform is still at work, raise StillRunningError if this command `waits` for it, else report it.
        """
        if self.workspace.run_folder.left() is None:
            return
        try:
            with self.workspace.locked():
                self._settle()
        except StillRunningError as error:
            if waits:
                raise
            self.report(f"{error.message}; {error.hint}")
        except BusyError:
            pass  # its command lives, and will report

    def _settle(self) -> None:
        """Do what `settle` does, for a caller who holds the working folders."""
        run, folder = self.workspace.run_folder.left(), self.workspace.run_folder
        if run is None:
            return
        name = self.environment.name
        if run.is_running:
            raise outlived.still_running(run, environment=name, output=folder.stdout)
        provider.end_left_behind(group=run.group)
        own, given = self.workspace.plan_file, self.workspace.given_plan
        if run.what == "apply":
            self.report(outlived.ended(run, environment=name, state=self._state_now()))
            applied = given if given.is_file() else own
            self.rescue_state(*(state_of(applied) if applied.is_file() else ("", 0)))
        if run.what == "apply" or not approval_of(own).is_file():
            discard(own)  # used up, or cut off before it was judged
        discard(given)
        folder.clear()

    def _state_now(self) -> str:
        """Return in a few words what the state is: its serial, and who has it locked."""
        try:
            serial, lock = self.state().serial, self.lock()
        except Exception as error:  # noqa: BLE001  (where it is needed, what cannot be read stops the command)
            return f"the state cannot be read: {error}"
        if lock is None:
            return f"the state has serial {serial} and is not locked"
        return f"the state has serial {serial} and is locked: `unlock {self.environment.name} {lock}`"

    def rescue_state(self, lineage: str, serial: int) -> Path | None:
        """Keep a state that Terraform could not write to the backend; return where it is now, None where there is none.

        Terraform leaves it in the root, or prints it where it cannot write there either.

        `lineage` and `serial` are those of the state that was planned from. The root is the same for all environments: a state
        of another lineage is left for the one that it is of. Of a first apply, serial 0, the lineage is not known before.
        """
        rescued, left = self.workspace.rescued_state, self.workspace.root / "errored.tfstate"
        run = self.workspace.run_folder.left()
        if left.is_file() and (not serial or terraform_state.lineage_of(left) == lineage):
            shutil.move(left, rescued)
            rescued.chmod(0o600)
        elif run is not None and (dumped := messages.dumped_state(run.stdout)) is not None:
            rescued.touch(mode=0o600)
            rescued.write_text(dumped, encoding="utf-8")
        else:
            return None
        self.report(f"the backend did not take the state; it is kept in {rescued}")
        return rescued

    def restore_state(self) -> None:
        """Write to the backend a state that it did not take before; raise StateNotStoredError where it still does not."""
        rescued = self.workspace.rescued_state
        if not rescued.is_file():
            return
        self.initialise()
        self.report(f"writing the state to the backend that it did not take before: {rescued}")
        try:
            self.terraform().push_state(rescued)
        except InterruptedByUserError:
            raise
        except TerraformError as error:
            lock = self.lock()
            first = Hint(("unlock", self.environment.name, lock)) if lock else "mend what the message names"
            raise StateNotStoredError(
                f"the backend still does not take the state {rescued}: {error.message}",
                hint=Hint(
                    first,
                    ", then run this again. Keep the file: what the last apply made is in no other state. Where the bucket "
                    f"has a later one that is right, delete it: rm {shlex.quote(str(rescued))}",
                ),
            ) from None
        rescued.unlink()

    def _init_stamp(self, engine: Engine) -> str:
        project = self.workspace.project
        folders = (project / "terraform", *(path for path in project.glob("modules/**/") if path.is_dir()))
        files = [file for folder in folders for file in hcl.files(folder)]
        files += [project / "terraform/.terraform.lock.hcl", self.environment.backend.file, self.cli_config]
        sha256 = hashlib.sha256(f"{engine} {self.cloud.identity}".encode())
        for file in sorted(files):
            sha256.update(os.fsencode(file) + b"\0" + (file.read_bytes() if file.is_file() else b""))
        return sha256.hexdigest()

    @contextmanager
    def _alone_in_plugin_cache(self) -> Iterator[None]:
        """Hold a lock where a plugin cache may be shared: concurrent inits corrupt it (hashicorp/terraform#31964)."""
        if "TF_PLUGIN_CACHE_DIR" not in self.env and self.cli_config == self.workspace.cli_config:
            yield
            return
        with (self.project.home / "init.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_session(
    project: Project,
    name: str,
    *,
    use_local: bool,
    engine: Callable[[], Engine],
    report: Report,
    env: Mapping[str, str] | None = None,
) -> Session:
    """Open the environment `name`: read its files, find the AWS that it is in, enter the account that it must be."""
    env = dict(os.environ if env is None else env)
    loaded = environment.load(project.folder, name, evaluate=evaluator(engine, env))
    where = cloud.find(env, use_local=use_local, home=project.home)
    session = Session(
        project=project,
        environment=loaded,
        cloud=where,
        aws=aws.connect(
            where.access(loaded),
            account_id=loaded.account_id,
            role_arn=where.role_arn(loaded),
            session_seconds=where.session_seconds,
        ),
        workspace=Workspace.open(
            project.folder, home=project.home / "work", target=where.kind, environment=loaded.name
        ),
        engine=engine,
        env=env,
        report=report,
    )
    if where.is_local:
        # It keeps nothing between runs; an account on AWS has been bootstrapped once.
        ensure_prerequisites(session)
    return session


def evaluator(engine: Callable[[], Engine], env: Mapping[str, str]) -> environment.Evaluate:
    """Return what asks Terraform for the values of an environment's files that are no literals."""
    return partial(terraform.evaluate, engine=engine, env=env, run=process.run)


def ensure_prerequisites(session: Session) -> dict[str, tuple[str, ...]]:
    """Make what the environment takes as given; return what was made or changed, by name."""
    loaded, s3 = session.environment, session.aws.s3
    backend = loaded.backend
    changed = {backend.bucket: buckets.ensure_state_bucket(s3, backend.bucket, region=backend.region)}
    logs = loaded.variables.get("access_logs_bucket")
    if logs:
        bucket = str(logs)  # Terraform takes a number for a text
        changed[bucket] = buckets.ensure_access_log_bucket(
            s3, bucket, region=loaded.region, account_id=loaded.account_id
        )
    certificate = loaded.variables.get("certificate_arn")
    if certificate and session.cloud.is_local:
        cloud.seed_certificate(session.cloud, loaded, arn=certificate)
    return changed
