"""Which code this is: the commit it comes from, and a digest of its own source files."""

import hashlib
import importlib.metadata
import subprocess
from pathlib import Path

from poolstudy.spec.space import Frozen

_PACKAGE = Path(__file__).parents[1]


class CodeIdentity(Frozen):
    """The code of this package.

    Attributes:
        version: of the package.
        source_digest: SHA-256 over the names and bytes of its Python files.
        commit: of the git checkout that it lies in; None outside of one.
        dirty: whether that checkout held changes that are in no commit; None outside of one.
    """

    version: str
    source_digest: str
    commit: str | None = None
    dirty: bool | None = None


def code_identity(package: Path = _PACKAGE) -> CodeIdentity:
    """What the package's files are now.

    Args:
        package: the folder of its modules.
    """
    root = _checkout(package)
    commit = _git(root, "rev-parse", "HEAD").strip() if root else ""
    return CodeIdentity(
        version=importlib.metadata.version("poolstudy"),
        source_digest=source_digest(package),
        commit=commit or None,
        dirty=bool(_git(root, "status", "--porcelain").strip()) if root and commit else None,
    )


def provenance(source: Frozen) -> dict[str, object]:
    """What a run's environment.json says beside the machine: the code, and where its data came from."""
    return {"code": code_identity().model_dump(), "data_source": source.model_dump(mode="json")}


def source_digest(package: Path = _PACKAGE) -> str:
    """SHA-256 over the names and bytes of every Python file of a package, in order."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(package).as_posix()}\n{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def patch(package: Path = _PACKAGE) -> str:
    """What the checkout's tracked files hold beyond the commit, as git prints it; empty outside of one.

    New files are not in it; the source digest has those that are modules.
    """
    root = _checkout(package)
    return _git(root, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff") if root else ""


def _checkout(package: Path) -> Path | None:
    """The git checkout that tracks the package's files."""
    # Asked of git, for a package that is installed may lie in some other project's checkout.
    top = _git(package, "rev-parse", "--show-toplevel").strip()
    return Path(top) if top and _git(package, "ls-files", "__init__.py").strip() else None


def _git(folder: Path, *arguments: str) -> str:
    """What git says; nothing where there is no git, or it has nothing to say of this folder."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        said = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.decode(errors="replace") if said.returncode == 0 else ""
