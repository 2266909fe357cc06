"""Identity of the code in real git checkouts."""

import subprocess
from pathlib import Path

import pytest

from poolstudy.trial.provenance import code_identity, patch, source_digest


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", folder, *author, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Commit a package of two files."""
    folder = tmp_path / "src" / "thing"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("A = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_is_its_commit(package: Path) -> None:
    found = code_identity(package)
    assert (found.commit, found.dirty) == (git(package, "rev-parse", "HEAD").strip(), False)
    assert patch(package) == ""


def test_a_change_is_in_the_patch_and_the_digest(package: Path) -> None:
    before = code_identity(package)
    (package / "a.py").write_text("A = 2\n")
    after = code_identity(package)
    assert after.dirty
    assert after.source_digest != before.source_digest
    assert "-A = 1\n+A = 2\n" in patch(package)


def test_names_count_as_well_as_contents(package: Path) -> None:
    before = source_digest(package)
    (package / "a.py").rename(package / "b.py")
    assert source_digest(package) != before


def test_a_commit_of_another_file_keeps_the_source_digest(package: Path) -> None:
    before = code_identity(package)
    (package.parents[1] / "README").write_text("words")
    assert code_identity(package).dirty
    git(package.parents[1], "add", ".")
    git(package, "commit", "-qm", "second")
    after = code_identity(package)
    assert (after.commit == before.commit, after.source_digest == before.source_digest) == (False, True)


def test_outside_a_checkout_only_version_and_digest_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("A = 1\n")
    found = code_identity(tmp_path)
    assert (found.commit, found.dirty, patch(tmp_path)) == (None, None, "")
    assert len(found.source_digest) == 64
    assert found.version


def test_a_package_inside_another_projects_checkout_has_no_commit(package: Path) -> None:
    installed = package.parents[1] / "venv" / "other"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert code_identity(installed).commit is None
