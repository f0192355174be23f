"""The git revision that an image is built from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mclass_tf.errors import RevisionError
from mclass_tf.system.process import Command, Runner

# git's short form of an address for ssh, `git@github.com:owner/repository.git`.
_SHORT = re.compile(r"(?:[^@:/]+@)?([^@:/]+):([^:/].*?)(?:\.git)?/?")
# Whatever the user has told git not to show: new files, and those that it ignores but a builder takes.
_CHANGED = ("status", "--porcelain", "--untracked-files=normal")
_IGNORED = (
    *("ls-files", "--others", "--ignored", "--exclude-standard"),
    *("--", "app", ":(exclude,glob)app/**/__pycache__/**"),
)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """`name` is the commit's id, with `-dirty` where files differ from it; `source` is where the repository comes from."""

    name: str
    source: str = ""

    def tag(self, digest: str) -> str:
        """What the image of that digest is tagged with: a dirty tree has one revision for many images."""
        return f"{self.name}-{digest.removeprefix('sha256:')[:12]}" if self.is_dirty else self.name

    @property
    def is_dirty(self) -> bool:
        return self.name.endswith("-dirty")


def read_revision(folder: Path, *, env: Mapping[str, str], run: Runner) -> Revision:
    """Return the revision of the work tree; raise RevisionError where there is none."""

    def git(arguments: tuple[str, ...]) -> str:
        try:
            # Never a lock: another git may be at work in the same tree.
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
    """Where the repository comes from, without the credentials that its URL may hold; empty where nobody could tell."""
    try:
        remote = git(("remote", "get-url", "origin"))
        short = _SHORT.fullmatch(remote)
        url = urlsplit(f"https://{short[1]}/{short[2]}" if short else remote)
        host = (url.hostname or "") + (f":{url.port}" if url.port else "")
    except (RevisionError, ValueError):  # no origin, or an address that is none
        return ""
    source = url._replace(netloc=host, query="", fragment="").geturl()
    # An @ that is left may have a password before it, of an address that is read in another way than it was meant.
    return source if url.scheme in {"http", "https", "ssh"} and "@" not in source else ""


UNKNOWN = Revision(name="unknown")
"""What stands for a revision where the image is named by hand outside of a repository."""
