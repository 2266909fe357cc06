"""Where MLflow's store is, and its database, made once and whole."""

import logging
import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from poolstudy.errors import StoreError
from poolstudy.lock import made_once

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # each file of some kilobytes would have one
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

SQLITE = "sqlite:///"
RUN_ONE = "run one first (make study)"

STORE_ERRORS = (MlflowException, SQLAlchemyError)
"""What MLflow raises when its store cannot be read or written."""


def resolved_uri(uri: str, root: Path) -> str:
    """The URI with an SQLite path made absolute."""
    return f"{SQLITE}{(root / uri.removeprefix(SQLITE)).resolve()}" if uri.startswith(SQLITE) else uri


def opened(uri: str) -> MlflowClient:
    """A client that reads a store; MLflow itself would make the database that is not there.

    Raises:
        StoreError: there is no database.
        MlflowException, SQLAlchemyError, ImportError: it cannot be read (`STORE_ERRORS` and a driver's lack).
    """
    database = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not database.exists():
        raise StoreError(f"no {database}", "the database of a study", RUN_ONE)
    return MlflowClient(uri)


def make_database(uri: str, artifacts: Path) -> None:
    """Makes the database once and whole: MLflow leaves it unusable when it dies while making it."""
    database = Path(uri.removeprefix(SQLITE))
    with made_once(database) as part:
        if part:
            SqlAlchemyStore(f"{SQLITE}{part}", artifacts.as_uri()).engine.dispose()  # type: ignore[no-untyped-call]
