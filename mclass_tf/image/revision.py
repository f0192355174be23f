"""The git revision that an image is built from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mclass_tf.errors import RevisionError
from mclass_tf.system.process import Command, Runner

# git's short form of an SSH URL, `git@github.com:owner/repository.git`.
_SHORT = re.compile(r"(?:[^@:/]+@)?([^@:/]+):([^:/].*?)(?:\.git)?/?")
# Independent of the user's git configuration: untracked files, and ignored files that a builder would include.
_CHANGED = ("status", "--porcelain", "--untracked-files=normal")
_IGNORED = (
    *("ls-files", "--others", "--ignored", "--exclude-standard"),
    *("--", "app", ":(exclude,glob)app/**/__pycache__/**"),
)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """`name` is the commit id, with `-dirty` if files differ from it. `source` is the URL of the repository."""

    name: str
    source: str = ""

    def tag(self, digest: str) -> str:
        """Return the default tag of an image. For a dirty tree it includes the digest, because many images share its revision."""
        return f"{self.name}-{digest.removeprefix('sha256:')[:12]}" if self.is_dirty else self.name

    @property
    def is_dirty(self) -> bool:
        return self.name.endswith("-dirty")


def read_revision(folder: Path, *, env: Mapping[str, str], run: Runner) -> Revision:
    """Return the revision of the work tree; raise RevisionError."""

    def git(arguments: tuple[str, ...]) -> str:
        try:
            # Take no locks: another git may use the same tree.
            child = {**env, "GIT_OPTIONAL_LOCKS": "0"}
            done = run(Command(argv=("git", *arguments), cwd=folder, env=child))
        except FileNotFoundError:
            raise RevisionError(
                "git is not installed", hint="install it, or name the image: --tag TAG"
            ) from None
        if done.status != 0:
            raise RevisionError(
                f"{folder} has no git revision: {done.stderr.strip()}",
                hint="commit, or name the image: --tag TAG",
            )
        return done.stdout.strip()

    commit = git(("rev-parse", "HEAD"))
    dirty = "-dirty" if git(_CHANGED) or git(_IGNORED) else ""
    return Revision(name=f"{commit}{dirty}", source=_source(git))


def _source(git: Callable[[tuple[str, ...]], str]) -> str:
    """Return the URL of the repository without credentials; "" if unknown."""
    try:
        remote = git(("remote", "get-url", "origin"))
        short = _SHORT.fullmatch(remote)
        url = urlsplit(f"https://{short[1]}/{short[2]}" if short else remote)
        host = (url.hostname or "") + (f":{url.port}" if url.port else "")
    except (RevisionError, ValueError):  # no origin, or a malformed URL
        return ""
    source = url._replace(netloc=host, query="", fragment="").geturl()
    # A remaining @ may follow a password, if the URL was parsed differently than intended.
    return source if url.scheme in {"http", "https", "ssh"} and "@" not in source else ""


UNKNOWN = Revision(name="unknown")
"""The revision of an image that the user tags outside of a repository."""
