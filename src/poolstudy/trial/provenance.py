"""Identity of the code: its commit and a digest of its source files."""

import hashlib
import importlib.metadata
import subprocess
from pathlib import Path

from poolstudy.spec.frozen import Frozen

_PACKAGE = Path(__file__).parents[1]


class CodeIdentity(Frozen):
    """Identity of this package's code; outside a git checkout, `commit` and `dirty` (uncommitted changes) are None."""

    version: str
    source_digest: str
    commit: str | None = None
    dirty: bool | None = None


def code_identity(package: Path = _PACKAGE) -> CodeIdentity:
    """Return the identity of the files in the folder of a package."""
    root = _checkout(package)
    identity = CodeIdentity(version=importlib.metadata.version("poolstudy"), source_digest=source_digest(package))
    if not (root and (commit := _git(root, "rev-parse", "HEAD").strip())):
        return identity
    dirty = bool(_git(root, "status", "--porcelain").strip())
    return identity.model_copy(update={"commit": commit, "dirty": dirty})


def provenance(source: Frozen) -> dict[str, object]:
    """Return the part of environment.json about the code and the source of the data."""
    return {"code": code_identity().model_dump(), "data_source": source.model_dump(mode="json")}


def source_digest(package: Path = _PACKAGE) -> str:
    """Return the SHA-256 over the names and bytes of every Python file of a package, in order."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(package).as_posix()}\n{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def patch(package: Path = _PACKAGE) -> str:
    """Return `git diff HEAD` of the package's checkout; empty outside of one.

    Untracked files are not in it; the source digest covers those that are modules.
    """
    root = _checkout(package)
    return _git(root, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff") if root else ""


def _checkout(package: Path) -> Path | None:
    """Return the git checkout that tracks the package's files; an installed one may lie in another project's."""
    top = _git(package, "rev-parse", "--show-toplevel").strip()
    return Path(top) if top and _git(package, "ls-files", "__init__.py").strip() else None


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command; empty if git is missing or fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode(errors="replace") if result.returncode == 0 else ""
