"""Repairs of MLflow's database for `poolstudy doctor`. Nothing here deletes permanently."""

import contextlib
import re
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient

from poolstudy.spec.frozen import NAME, Name
from poolstudy.spec.records import State, TrialSpec
from poolstudy.system.files import read_only, replacing
from poolstudy.tracking.queries import experiments, reading_mlflow
from poolstudy.tracking.run import STATUS, StoredRun, spec_text
from poolstudy.tracking.store import database_of, get_run, lies_elsewhere, opened, search

_LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def every_run(uri: str, study: Name | None = None) -> list[StoredRun]:
    """Return poolstudy's runs that are not deleted, of all studies or of one, oldest first.

    Raises:
        StoreError: the store does not exist, or cannot be read.
    """
    condition = "tags.`poolstudy.kind` LIKE '%'" + (f" and tags.`poolstudy.study` = '{study}'" if study else "")
    with reading_mlflow(uri):
        client = opened(uri)
        runs = search(client, experiments(client), condition, ["attributes.start_time"])
        return [StoredRun.of(client, run) for run in runs]


class RunRepair:
    """Corrections of single runs; `uri` as `resolved_uri` returns it."""

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(uri)

    def is_deleted(self, run_id: str) -> bool:
        """Return whether there is such a run, marked as deleted."""
        run = get_run(self._client, run_id)
        return run is not None and run.info.lifecycle_stage == "deleted"

    def restore(self, run_id: str) -> None:
        self._client.restore_run(run_id)

    def put_in_bin(self, run_id: str) -> None:
        """Mark a run as deleted; `mlflow runs restore` undoes it."""
        self._client.delete_run(run_id)

    def set_state(self, run_id: str, state: State) -> None:
        """Set the state of a run that has ended; its end time stays."""
        self._client.set_tag(run_id, "poolstudy.state", state)
        self._client.update_run(run_id, status=STATUS[state])

    def write_spec(self, run_id: str, spec: TrialSpec) -> None:
        self._client.log_text(run_id, spec_text(spec), "spec.json")


def moved(uri: str, artifacts: Path) -> dict[str, str]:
    """Return MLflow's location by study, for studies that lie in `artifacts` while MLflow looks elsewhere.

    MLflow stores absolute locations, so they break when a project is moved. Empty if the store is no SQLite file.
    """
    path = database_of(uri)
    if path is None:
        return {}
    with contextlib.closing(read_only(path)) as database:
        rows = database.execute("SELECT name, artifact_location FROM experiments").fetchall()
    studies = ((name, location) for name, location in rows if re.fullmatch(NAME, name))
    return {name: location for name, location in studies if lies_elsewhere(location, artifacts / name)}


def move(uri: str, artifacts: Path, studies: Mapping[str, str]) -> Path:
    """Correct the locations of the studies that `moved` returned, and of their runs; all or none.

    Returns:
        The backup of the database, made before the change.

    Raises:
        OSError, sqlite3.Error: nothing was changed.
    """
    path = database_of(uri)
    assert path, "only an SQLite store is moved"
    backup = _backup(path)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
        for study, old in studies.items():
            new = (artifacts / study).as_uri()
            for table, column in _LOCATIONS:
                database.execute(  # table and column are constants; user input is bound
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
    return backup


def _backup(database: Path) -> Path:
    """Back up the database into its own folder, even while it is in use; return the copy."""
    copy = database.with_name(f"{database.stem}-before-doctor-{time.strftime('%Y%m%d-%H%M%S')}{database.suffix}")
    with (
        replacing(copy) as part,
        contextlib.closing(sqlite3.connect(database)) as source,
        contextlib.closing(sqlite3.connect(part)) as target,
    ):
        source.backup(target)
    return copy
