"""Queries: find the studies and runs of a store."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlflow import MlflowClient

from poolstudy.errors import RunNotFound, StoreError, one_line, without_password
from poolstudy.tracking.run import StoredRun
from poolstudy.tracking.store import MLFLOW_ERRORS, RUN_ONE, check_in_place, every_item, is_own, opened, search

BEST = "best"
_ID = re.compile(r"[0-9a-f]{4,32}")  # no other text ever becomes part of a query or a path
_MAX_LISTED = 5


def find_run(uri: str, text: str) -> StoredRun:
    """Find one run.

    Args:
        uri: as `resolved_uri` returns it.
        text: a run ID, its first 4 or more digits, or "best": the best complete trial of the study started last, by
            that study's objective.

    Raises:
        RunNotFound: no run matches, or several do.
        StoreError: there is no store, or no study in it, or it cannot be read.
    """
    if text != BEST and not _ID.fullmatch(text):
        raise RunNotFound(
            f"{text!r} names no run",
            f"a run ID (32 digits of 0-9 a-f), its first 4 or more, or {BEST}",
            "`poolstudy run` prints that of the best run, MLflow's pages show all",
        )
    if text == BEST:
        study = study_run(uri)
        with reading_mlflow(uri):
            best = study.best()
        if best is None:
            found = f"no trial of study {study.study} is complete yet"
            raise RunNotFound(found, "one", "wait for one, or give a run ID")
        return best
    with reading_mlflow(uri):
        client = opened(uri)
        condition = f"tags.`poolstudy.kind` LIKE '%' and attributes.run_id LIKE '{text}%'"
        runs = list(search(client, experiments(client), condition))
    if len(runs) == 1:
        return StoredRun.of(client, runs[0])
    if not runs:
        raise RunNotFound(f"no run begins with {text}", "a run in the store, not deleted", "check the ID")
    listed = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in runs[:_MAX_LISTED])
    more = ", …" if len(runs) > _MAX_LISTED else ""
    raise RunNotFound(f"{len(runs)} runs begin with {text}: {listed}{more}", "one", "give more digits")


def study_run(uri: str, name: str | None = None) -> StoredRun:
    """Return the study's own run; without a name, that of the study started last.

    Raises:
        StoreError: there is no such study, or the store cannot be read.
    """
    with reading_mlflow(uri):
        client = opened(uri)
        if name is None:
            ids = experiments(client)
        else:
            experiment = client.get_experiment_by_name(name)
            ids = [str(experiment.experiment_id)] if experiment else []
        run = next(search(client, ids, "tags.`poolstudy.kind` = 'study'", ["attributes.start_time DESC"]), None)
    if run is None:
        raise StoreError(f"no study{f' {name!r}' if name else ''} in {uri}", "one", RUN_ONE)
    return StoredRun.of(client, run)


def latest_study(uri: str, name: str | None = None) -> str:
    """Return the experiment ID of the study that `study_run` returns."""
    return study_run(uri, name).experiment_id


def count_runs(uri: str) -> tuple[int, int]:
    """Return the number of studies and of other runs in a store.

    Raises:
        StoreError: the store does not exist, or cannot be read.
    """
    with reading_mlflow(uri):
        client = opened(uri)
        runs = search(client, experiments(client), "tags.`poolstudy.kind` LIKE '%'")
        kinds = [run.data.tags["poolstudy.kind"] for run in runs]
    return kinds.count("study"), len(kinds) - kinds.count("study")


def dashboard_link(server: str, experiment_id: str, key: str) -> str:
    """Return the address of a stored view of an experiment's charts."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    return f"{without_password(server).rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def run_link(server: str, run: StoredRun) -> str:
    """Return the address of a run's page."""
    return f"{without_password(server).rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def check_writable(run: StoredRun, uri: str, artifacts: str, root: Path) -> None:
    """Refuse a run whose files MLflow keeps outside this project, because the project was moved or copied.

    Args:
        artifacts: folder of the artifacts of SQLite stores, relative to `root`.

    Raises:
        StoreError: the run is refused, or the store cannot be read.
    """
    if is_own(uri, root):
        with reading_mlflow(uri):
            location = run.client.get_experiment(run.experiment_id).artifact_location
        check_in_place(run.study, location, (root / artifacts).resolve() / run.study)


def attach(run: StoredRun, paths: Iterable[Path], folder: str | None = None) -> None:
    """Add files to a run that has ended, such as a report on a study.

    Args:
        folder: target folder in the run; None is its root.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        for path in paths:
            run.client.log_artifact(run.run_id, str(path), folder)
    except (OSError, *MLFLOW_ERRORS) as error:
        found = f"the files of run {run.run_id}: {one_line(error)}"
        raise StoreError(found, "an artifact store that can be written", "repair it, then try again") from None


@contextlib.contextmanager
def reading_mlflow(uri: str) -> Iterator[None]:
    """Turn what the store raises in the block into a StoreError."""
    try:
        yield
    except (OSError, ImportError, *MLFLOW_ERRORS) as error:
        found = f"MLflow's store {uri}: {one_line(error)}"
        raise StoreError(found, "a store that can be read", "repair it, or set another in conf/tracking") from None


def experiments(client: MlflowClient) -> list[str]:
    """Return the IDs of all experiments that are not deleted."""
    return [str(experiment.experiment_id) for experiment in every_item(client.search_experiments)]
