"""MLflow's store: its address, database and artifact folder."""

import contextlib
import logging
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from poolstudy.errors import StoreError
from poolstudy.system.locks import made_once

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # else each small file shows one
    # By default MLflow's client waits 120 s and retries 7 times. Here it fails soon and the uploader tries again.
    RETRIES: "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # unless the user sets it
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

SQLITE = "sqlite:///"
RUN_ONE = "run one first (make study)"

_MISREAD = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # SQLAlchemy ends a path at "?" and decodes "%41"

MLFLOW_ERRORS = (MlflowException, SQLAlchemyError)
"""Raised by MLflow when its store cannot be read or written."""


class ArtifactFolder:
    """A folder that a user may delete while it is written to; MLflow silently creates it again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def was_deleted(self) -> bool:
        """Return whether it was deleted since the last call, even if it exists again."""
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(self.folder, os.O_RDONLY)  # open, so that its inode number is not reused
            return False
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self.folder.stat()):
                return False
        os.close(self._descriptor)
        self._descriptor = None
        return True

    def lost(self, error: Exception) -> bool:
        """Return whether the error means that a file in it was deleted; some errors name no file."""
        if not isinstance(error, FileNotFoundError):
            return False
        return error.filename is None or Path(error.filename).is_relative_to(self.folder)


def is_away(uri: str, error: Exception) -> bool:
    """Return whether the error of a store is temporary.

    True if a server is unreachable, slow or failing (5xx), or another program has locked the database. False for a
    full disk, a file that is damaged or cannot be written, and a request that the server refuses.
    """
    if uri.startswith(SQLITE):
        return isinstance(error, MLFLOW_ERRORS) and "database is locked" in str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    elif isinstance(error, MlflowException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    else:
        return isinstance(error, requests.RequestException)
    return status in (408, 429) or status >= 500  # request timeout, too many requests, errors of the server


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for any other store."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_own(uri: str, root: Path) -> bool:
    """Return whether a store (`uri` as `resolved_uri` returns it) is an SQLite file in the project's folder."""
    database = database_of(uri)
    return database is not None and any(database.is_relative_to(path.resolve()) for path in (root, root / "mlruns"))


def resolved_uri(uri: str, root: Path) -> str:
    """Return the URI with an SQLite path made absolute.

    Raises:
        StoreError: MLflow would misread the path.
    """
    database = database_of(uri)
    if database is None:
        return uri
    path = str((root / database).resolve())
    if _MISREAD.search(path):
        expected = "a path without ? or %41 and the like"
        raise StoreError(f"MLflow cannot use {path}", expected, "rename the folder, or set another with tracking.uri")
    return f"{SQLITE}{path}"


def lies_elsewhere(location: str, folder: Path) -> bool:
    """Return whether the folder exists while MLflow uses another `location`, because the project was moved."""
    return folder.is_dir() and location != folder.as_uri()


def check_in_place(study: str, location: str, folder: Path) -> None:
    """Refuse a study whose files are in `folder` (absolute) while MLflow would write new ones to `location`.

    Raises:
        StoreError: the study is refused.
    """
    if lies_elsewhere(location, folder):
        found = f"the files of study {study} are in {folder}, but MLflow writes new ones to"
        raise StoreError(
            f"{found} {local_path(location)}: the project was moved or copied",
            "one folder",
            "let MLflow use the first one: poolstudy doctor --fix (make doctor ARGS=--fix)",
        )


def local_path(location: str) -> str:
    """Return a file: location as a path; any other unchanged."""
    parts = urllib.parse.urlsplit(location)
    return urllib.request.url2pathname(parts.path) if parts.scheme == "file" else location


def checked(run_id: str) -> str:
    """Return a run ID; it becomes part of paths, so no other text is accepted.

    Raises:
        StoreError: it is not a run ID.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        raise StoreError(f"MLflow's store gives the run ID {run_id!r}", "32 digits of 0-9 a-f", "check tracking.uri")
    return run_id


def opened(uri: str) -> MlflowClient:
    """Return a client for an existing store; MLflow itself would create a missing database.

    Raises:
        StoreError: there is no database.
        MlflowException, SQLAlchemyError, ImportError: it cannot be read, or its driver is missing.
    """
    database = database_of(uri)
    if database and not database.exists():
        raise StoreError(f"no {database}", "the database of a study", RUN_ONE)
    return MlflowClient(uri)


def get_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, even a deleted one; None if there is no such run."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def search(
    client: MlflowClient, experiments: Sequence[str], condition: str, order: Sequence[str] = ()
) -> Iterator[Run]:
    """Yield the runs that meet the condition and are not deleted."""
    if experiments:
        yield from every_item(client.search_runs, list(experiments), condition, order_by=list(order))


def every_item(query: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """Yield the items of all pages of a query of MLflow's client."""
    token: str | None = None
    while True:
        page = query(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return


def make_database(uri: str, artifacts: Path) -> None:
    """Create the database atomically: MLflow leaves it unusable if it is killed while creating it."""
    database = database_of(uri)
    assert database, "a server creates its own"
    with made_once(database) as part:
        if part:
            SqlAlchemyStore(f"{SQLITE}{part}", artifacts.as_uri()).engine.dispose()  # type: ignore[no-untyped-call]
