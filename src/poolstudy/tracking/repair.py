"""Mending: what `poolstudy doctor` sets right in MLflow's book. Nothing here deletes for good."""

import contextlib
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from poolstudy.spec.records import State, TrialSpec
from poolstudy.spec.space import NAME, Name
from poolstudy.system.files import read_only, replacing
from poolstudy.tracking.queries import experiments, reading_mlflow
from poolstudy.tracking.run import StoredRun, search
from poolstudy.tracking.store import database_of, lies_elsewhere, opened
from poolstudy.tracking.tracker import STATUS, spec_text

_LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def every_run(uri: str, study: Name | None = None) -> list[StoredRun]:
    """Every run of ours that is not deleted, or those of one study, oldest first.

    Raises:
        StoreError: the store is not there, or cannot be read.
    """
    condition = "tags.`poolstudy.kind` LIKE '%'" + (f" and tags.`poolstudy.study` = '{study}'" if study else "")
    with reading_mlflow(uri):
        client = opened(uri)
        found = search(client, experiments(client), condition, ["attributes.start_time"])
        return [StoredRun.of(client, one) for one in found]


class RunRepair:
    """Corrects single things about single runs.

    Args:
        uri: of the store, as `resolved_uri` gives it.
    """

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(uri)

    def is_deleted(self, run_id: str) -> bool | None:
        """Whether a run lies in MLflow's bin; None where there is no such run at all."""
        try:
            return str(self._client.get_run(run_id).info.lifecycle_stage) == "deleted"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def restore(self, run_id: str) -> None:
        self._client.restore_run(run_id)

    def put_in_bin(self, run_id: str) -> None:
        """Hides a run; `mlflow runs restore` brings it back."""
        self._client.delete_run(run_id)

    def set_state(self, run_id: str, state: State) -> None:
        """The state of a run that has ended; when it ended stays as it is."""
        self._client.set_tag(run_id, "poolstudy.state", state)
        self._client.update_run(run_id, status=STATUS[state])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value)

    def write_spec(self, run_id: str, spec: TrialSpec) -> None:
        self._client.log_text(run_id, spec_text(spec), "spec.json")

    def log(self, run_id: str, points: Sequence[tuple[str, float, int]]) -> None:
        """Metrics by the fields of `EpochRecord` or by their own names: each one's value and epoch, or 0."""
        names = {"seconds": "epoch_seconds"}
        now = int(time.time() * 1000)
        metrics = [Metric(names.get(name, name), value, now, step) for name, value, step in points]
        self._client.log_batch(run_id, metrics=metrics)


# A project that was moved: MLflow stores absolute locations


def moved(uri: str, artifacts: Path) -> dict[str, str]:
    """Studies whose artifacts lie in `artifacts` while MLflow looks for them elsewhere.

    Returns:
        The location that MLflow has, by study. None are told of a store that is no SQLite file.
    """
    path = database_of(uri)
    if path is None:
        return {}
    with contextlib.closing(read_only(path)) as database:
        rows = database.execute("SELECT name, artifact_location FROM experiments").fetchall()
    ours = ((name, location) for name, location in rows if re.fullmatch(NAME, name))
    return {name: location for name, location in ours if lies_elsewhere(location, artifacts / name)}


def move(uri: str, artifacts: Path, studies: Mapping[str, str]) -> Path:
    """Corrects the locations of the studies that `moved` told of, and of their runs; all or none.

    Returns:
        The copy of the database that was made before.

    Raises:
        OSError, sqlite3.Error: nothing was changed.
    """
    path = database_of(uri)
    assert path, "none else is moved"
    backup = _backup(path)
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
        for study, old in studies.items():
            new = (artifacts / study).as_uri()
            for table, column in _LOCATIONS:
                database.execute(  # the names are ours; what a user gave is bound
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
    return backup


def _backup(database: Path) -> Path:
    """A whole copy beside the database, also of one that is in use."""
    copy = database.with_name(f"{database.stem}-before-doctor-{time.strftime('%Y%m%d-%H%M%S')}{database.suffix}")
    with (
        replacing(copy) as part,
        contextlib.closing(sqlite3.connect(database)) as source,
        contextlib.closing(sqlite3.connect(part)) as target,
    ):
        source.backup(target)
    return copy
