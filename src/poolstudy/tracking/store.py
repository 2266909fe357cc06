"""Where MLflow's store is, and its database, made once and whole."""

import contextlib
import logging
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from poolstudy.errors import StoreError
from poolstudy.system.locks import made_once

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # each file of some kilobytes would have one
    # MLflow's client waits 120 s for an answer and repeats a call 7 times. Here it fails soon: delivery.py goes on.
    _RETRIES: "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody is told what is done here, unless the user says so
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

SQLITE = "sqlite:///"
RUN_ONE = "run one first (make study)"

_MISREAD = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # SQLAlchemy ends a path at the one, and decodes the other
_SERVER_ERROR = 500
_PASSING = (408, 429)  # a request timed out, too many requests

MLFLOW_ERRORS = (MlflowException, SQLAlchemyError)
"""What MLflow raises when its store cannot be read or written."""


@contextlib.contextmanager
def no_retries() -> Iterator[None]:
    """While the block lasts, MLflow's client repeats no call: a creation that is repeated can make two of one."""
    before = os.environ[_RETRIES]
    os.environ[_RETRIES] = "0"
    try:
        yield
    finally:
        os.environ[_RETRIES] = before


class ArtifactFolder:
    """A folder that somebody may delete while it is written; MLflow makes it anew without a word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: int | None = None

    def was_deleted(self) -> bool:
        """Whether it was since the last call, though it may be there again."""
        if self._held is None:
            with contextlib.suppress(OSError):
                self._held = os.open(self.folder, os.O_RDONLY)  # while it is open, no other folder gets its number
            return False
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._held), self.folder.stat()):
                return False
        os.close(self._held)
        self._held = None
        return True

    def lost(self, error: Exception) -> bool:
        """Whether the error is that something in it was deleted while it was written; some calls name no file."""
        if not isinstance(error, FileNotFoundError):
            return False
        return error.filename is None or Path(error.filename).is_relative_to(self.folder)


def is_away(uri: str, error: Exception) -> bool:
    """Whether a store that answered with this error may answer otherwise in a while.

    So does a server that is not there, is slow, or has trouble of its own (5xx), and a database that another
    program holds. A full disk, a file that cannot be written or is damaged, and a plain no do not pass.
    """
    if uri.startswith(SQLITE):
        return isinstance(error, MLFLOW_ERRORS) and "database is locked" in str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in _PASSING or error.response.status_code >= _SERVER_ERROR
    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        return status in _PASSING or status >= _SERVER_ERROR
    return isinstance(error, requests.RequestException)


def database_of(uri: str) -> Path | None:
    """The file of an SQLite store; None of any other."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_own(uri: str, root: Path) -> bool:
    """Whether a store is an SQLite file in the project's folder, to which no other project writes.

    Args:
        uri: as `resolved_uri` gives it.
    """
    database = database_of(uri)
    return database is not None and any(database.is_relative_to(one.resolve()) for one in (root, root / "mlruns"))


def resolved_uri(uri: str, root: Path) -> str:
    """The URI with an SQLite path made absolute.

    Raises:
        StoreError: MLflow would take the path for another one.
    """
    database = database_of(uri)
    if database is None:
        return uri
    path = str((root / database).resolve())
    if _MISREAD.search(path):
        expected = "a path without ? or %41 and the like"
        raise StoreError(f"MLflow cannot use {path}", expected, "rename the folder, or name another by tracking.uri")
    return f"{SQLITE}{path}"


def lies_elsewhere(location: str, folder: Path) -> bool:
    """Whether MLflow looks at `location` for what lies in the folder: it stores absolute places, and was moved."""
    return folder.is_dir() and location != folder.as_uri()


def check_in_place(study: str, location: str, folder: Path) -> None:
    """Refuses a study whose files MLflow looks for elsewhere: what it is told to keep would go there.

    Args:
        location: where MLflow looks.
        folder: where they lie, absolute.

    Raises:
        StoreError: it does.
    """
    if lies_elsewhere(location, folder):
        what = f"the files of study {study} lie in {folder}, and MLflow puts new ones into"
        raise StoreError(
            f"{what} {local_path(location)}: the project was moved or copied",
            "one place",
            "let MLflow use this one: poolstudy doctor --fix (make doctor ARGS=--fix)",
        )


def local_path(location: str) -> str:
    """A file: location as a path; any other as it is."""
    parts = urllib.parse.urlsplit(location)
    return urllib.request.url2pathname(parts.path) if parts.scheme == "file" else location


def checked(run_id: str) -> str:
    """A run's ID, which becomes part of paths: a store that gives another kind of ID is not believed.

    Raises:
        StoreError: it is none.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        raise StoreError(f"MLflow's store gives the run ID {run_id!r}", "32 digits of 0-9 a-f", "see what store it is")
    return run_id


def opened(uri: str) -> MlflowClient:
    """A client that reads a store; MLflow itself would make the database that is not there.

    Raises:
        StoreError: there is no database.
        MlflowException, SQLAlchemyError, ImportError: it cannot be read (`MLFLOW_ERRORS` and a driver's lack).
    """
    database = database_of(uri)
    if database and not database.exists():
        raise StoreError(f"no {database}", "the database of a study", RUN_ONE)
    return MlflowClient(uri)


def make_database(uri: str, artifacts: Path) -> None:
    """Makes the database once and whole: MLflow leaves it unusable when it dies while making it."""
    database = database_of(uri)
    assert database, "a server makes its own"
    with made_once(database) as part:
        if part:
            SqlAlchemyStore(f"{SQLITE}{part}", artifacts.as_uri()).engine.dispose()  # type: ignore[no-untyped-call]
