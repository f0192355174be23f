"""Open an environment on AWS or the local AWS: configuration checked, credentials ready, Terraform ready to run."""

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
from mclass_tf.aws import Access
from mclass_tf.errors import (
    BusyError,
    ConfigurationError,
    Hint,
    InterruptedByUserError,
    StateNotStoredError,
    StillRunningError,
    TerraformError,
)
from mclass_tf.lease import lease_key
from mclass_tf.plan import state_of
from mclass_tf.system import process
from mclass_tf.system.private import OTHERS_WRITE
from mclass_tf.terraform import Engine, Terraform, cliconfig, commands, messages, outlived, provider
from mclass_tf.workspace import HOME, Workspace, approval_of, discard

HOME_VARIABLE = "MCLASS_TF_HOME"
Report = Callable[[str], None]
"""Reports one line of progress to the user."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with terraform/ and environments/, and the home folder, which may be deleted at any time."""

    folder: Path
    home: Path

    @classmethod
    def find(cls, env: Mapping[str, str], start: Path) -> Project:
        """Return the project that contains `start`; raise ConfigurationError if there is none."""
        try:
            start = start.resolve()
            for folder in (start, *start.parents):
                if (folder / "terraform").is_dir() and (folder / "environments").is_dir():
                    home = Path(env.get(HOME_VARIABLE) or folder / HOME).absolute()
                    return cls(folder=folder, home=_create_home(home, project=folder))
        except FileNotFoundError:  # the working directory: only `start` may be a relative path
            raise ConfigurationError(
                "the working directory is gone",
                hint="change into the project, or name it: --project FOLDER",
            ) from None
        raise ConfigurationError(
            f"{start} is not in a project: no folder above it holds terraform/ and environments/",
            hint="change into the project, or name it: --project FOLDER",
        )


def _create_home(home: Path, *, project: Path) -> Path:
    """Create the home folder, private to its owner: its content is trusted and may be secret.

    An existing one may belong to the project's owner, whose code runs anyway. Nobody else may write to it.
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
    """An opened environment, with which every command starts. It calls AWS only on demand."""

    project: Project
    environment: environment.Environment
    cloud: cloud.Cloud
    aws: aws.Aws
    workspace: Workspace
    engine: Callable[[], Engine]
    env: Mapping[str, str]
    report: Report

    def terraform(self, **variables: str) -> Terraform:
        """Return Terraform for this environment, with `variables` in addition to account and region."""
        return Terraform(
            engine=self.engine(),
            root=self.workspace.root,
            env=self.terraform_variables(variables),
            environment=self.environment.name,
            run=process.run,
            run_folder=self.workspace.run_folder,
            progress=self.report,
        )

    def terraform_variables(
        self, variables: Mapping[str, str], *, access: Access | None = None
    ) -> dict[str, str]:
        """Return the environment variables of Terraform, with this session's access unless another is given."""
        own = {"account_id": self.environment.account_id, "region": self.environment.region}
        return commands.environment(
            self.env,
            data_dir=self.workspace.data,
            cli_config=self.cli_config,
            variables={**own, **variables},
            access=(access or self.aws.access).variables(),
        )

    @cached_property
    def cli_config(self) -> Path:
        """Return Terraform's CLI configuration: the user's own, or a generated one with this machine's mirror."""
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
        """Run `terraform init` unless its inputs are unchanged since the last run; return whether it ran."""
        terraform = self.terraform()
        stamp = self._init_stamp(terraform.engine)
        done = self.workspace.init_stamp
        # Providers may be symbolic links into a mirror that was moved.
        providers = list(self.workspace.data.glob("providers/*/*/*/*/*"))
        usable = bool(providers) and all(path.exists() for path in providers)
        if not always and usable and done.is_file() and done.read_text(encoding="ascii") == stamp:
            return False
        done.unlink(missing_ok=True)
        self.report("initialising Terraform")
        with self._locked_plugin_cache():
            terraform.init(backend_config=self.environment.backend.file)
        done.write_text(stamp, encoding="ascii")
        return True

    @contextmanager
    def locked_workspace(self) -> Iterator[None]:
        """Lock the working folders for one command, after cleaning up what an earlier command left.

        Raise BusyError if another command holds them, StillRunningError if the Terraform of a dead command is still running.
        """
        with self.workspace.locked():
            self._settle()
            try:
                yield
            finally:
                with suppress(OSError):
                    self.workspace.run_folder.clear()

    def settle(self, *, waits: bool) -> None:
        """Clean up what a dead command left, before this command reads anything.

        If its Terraform is still running, raise StillRunningError if this command `waits` for it, else report it.
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
            pass  # its command is alive, and reports itself

    def _settle(self) -> None:
        """Like `settle`, for a caller that holds the lock of the working folders."""
        run, folder = self.workspace.run_folder.left(), self.workspace.run_folder
        if run is None:
            return
        name = self.environment.name
        if run.is_running:
            raise outlived.still_running(run, environment=name, output=folder.stdout)
        provider.end_left_behind(group=run.group)
        own, imported = self.workspace.plan_file, self.workspace.imported_plan
        if run.what == "apply":
            self.report(outlived.ended(run, environment=name, state=self._state_now()))
            applied = imported if imported.is_file() else own
            self.rescue_state(*(state_of(applied) if applied.is_file() else ("", 0)))
        if run.what == "apply" or not approval_of(own).is_file():
            discard(own)  # already applied, or cut off before the gates judged it
        discard(imported)
        folder.clear()

    def _state_now(self) -> str:
        """Return the serial of the state and its lock, in words."""
        try:
            serial, lock = self.state().serial, self.lock()
        except Exception as error:  # noqa: BLE001  (only a report; a command that needs the state fails by itself)
            return f"the state cannot be read: {error}"
        if lock is None:
            return f"the state has serial {serial} and is not locked"
        return f"the state has serial {serial} and is locked: `unlock {self.environment.name} {lock}`"

    def rescue_state(self, lineage: str, serial: int) -> Path | None:
        """Keep a state that Terraform could not write to the backend; return its new path, None if there is none.

        Terraform leaves such a state in the root, or prints it if it cannot write there either.

        `lineage` and `serial` belong to the state of the plan. All environments share the root, so a state of another lineage
        stays for its own environment. The lineage of a first apply (serial 0) is unknown beforehand.
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
        """Write a rescued state to the backend; raise StateNotStoredError if that fails again."""
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
            first = Hint(("unlock", self.environment.name, lock)) if lock else "fix what the message names"
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
    def _locked_plugin_cache(self) -> Iterator[None]:
        """Hold a lock if a plugin cache may be shared: concurrent inits corrupt it (hashicorp/terraform#31964)."""
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
    """Open the environment `name`: read its files, find its cloud, get credentials for its account."""
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
            env=env,
        ),
        workspace=Workspace.open(
            project.folder, home=project.home / "work", target=where.kind, environment=loaded.name
        ),
        engine=engine,
        env=env,
        report=report,
    )
    if where.is_local:
        # A local AWS starts empty. An account on AWS was bootstrapped once.
        ensure_prerequisites(session)
    return session


def evaluator(engine: Callable[[], Engine], env: Mapping[str, str]) -> environment.Evaluate:
    """Return the function that lets Terraform evaluate values that are not literals."""
    return partial(terraform.evaluate, engine=engine, env=env, run=process.run)


def ensure_prerequisites(session: Session) -> dict[str, tuple[str, ...]]:
    """Create the prerequisites of the environment; return what was created or changed, by bucket."""
    loaded, s3 = session.environment, session.aws.s3
    backend = loaded.backend
    changed = {
        backend.bucket: buckets.ensure_state_bucket(
            session.aws.s3_in(backend.region),
            backend.bucket,
            region=backend.region,
            rewritten=(lease_key(backend, environment=loaded.name), f"{backend.key}.tflock"),
        )
    }
    logs = loaded.variables.get("access_logs_bucket")
    if logs:
        bucket = str(logs)  # Terraform converts a number to a string
        changed[bucket] = buckets.ensure_access_log_bucket(
            s3, bucket, region=loaded.region, account_id=loaded.account_id
        )
    certificate = loaded.variables.get("certificate_arn")
    if certificate and session.cloud.is_local:
        cloud.seed_certificate(session.cloud, loaded, arn=certificate)
    return changed
