"""Reading: the studies and runs that a store has."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlflow import MlflowClient

from poolstudy.errors import RunNotFound, StoreError, one_line, without_password
from poolstudy.tracking.run import StoredRun, search
from poolstudy.tracking.store import MLFLOW_ERRORS, RUN_ONE, check_in_place, is_own, opened

BEST = "best"
_ID = re.compile(r"[0-9a-f]{4,32}")  # nothing else ever becomes part of a query or a path
_LISTED = 5


def find_run(uri: str, text: str) -> StoredRun:
    """The run that a user means.

    Args:
        uri: of the store, as `resolved_uri` gives it.
        text: a run's ID, the first 4 or more digits of one, or "best": the best complete trial of the study that was
            started last, by its own objective.

    Raises:
        RunNotFound: no run is meant, or several are.
        StoreError: there is no store, or no study in it, or it cannot be read.
    """
    if text != BEST and not _ID.fullmatch(text):
        raise RunNotFound(
            f"{text!r} names no run",
            f"a run ID (32 digits of 0-9 a-f), its first 4 or more, or {BEST}",
            "`poolstudy run` prints the best run's, MLflow's pages show every run's",
        )
    with reading_mlflow(uri):
        client = opened(uri)
        return _best(client, latest_study(uri)) if text == BEST else _by_id(client, text)


def _by_id(client: MlflowClient, text: str) -> StoredRun:
    condition = f"tags.`poolstudy.kind` LIKE '%' and attributes.run_id LIKE '{text}%'"
    runs = list(search(client, experiments(client), condition))
    if len(runs) == 1:
        return StoredRun.of(client, runs[0])
    if not runs:
        raise RunNotFound(f"no run begins with {text}", "a run that is in the store and not deleted", "check the ID")
    listed = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in runs[:_LISTED])
    more = ", …" if len(runs) > _LISTED else ""
    raise RunNotFound(f"{len(runs)} runs begin with {text}: {listed}{more}", "one", "give more digits")


def _best(client: MlflowClient, experiment_id: str) -> StoredRun:
    study = _study_of(client, experiment_id)
    best = study.best()
    if best is None:
        raise RunNotFound(f"no trial of study {study.study} is complete yet", "one", "wait for it, or give a run ID")
    return best


def _study_of(client: MlflowClient, experiment_id: str) -> StoredRun:
    return StoredRun.of(client, next(search(client, [experiment_id], "tags.`poolstudy.kind` = 'study'")))


def study_run(uri: str, name: str | None = None) -> StoredRun:
    """The own run of the study that was started last, or of the one named.

    Raises:
        StoreError: there is none, or the store cannot be read.
    """
    with reading_mlflow(uri):
        return _study_of(opened(uri), latest_study(uri, name))


def latest_study(uri: str, name: str | None = None) -> str:
    """The ID of the experiment of the study that was started last, or of the one named.

    Raises:
        StoreError: there is none, or the store cannot be read.
    """
    with reading_mlflow(uri):
        client = opened(uri)
        named = [client.get_experiment_by_name(name)] if name is not None else []
        ids = experiments(client) if name is None else [str(one.experiment_id) for one in named if one]
        order = ["attributes.start_time DESC"]
        run = next(search(client, ids, "tags.`poolstudy.kind` = 'study'", order), None)
    if run is None:
        raise StoreError(f"no study{f' {name!r}' if name else ''} in {uri}", "one", RUN_ONE)
    return str(run.info.experiment_id)


def count_runs(uri: str) -> tuple[int, int]:
    """How many studies and how many other runs a store has.

    Raises:
        StoreError: it is not there, or cannot be read.
    """
    with reading_mlflow(uri):
        client = opened(uri)
        kinds = [
            run.data.tags["poolstudy.kind"]
            for run in search(client, experiments(client), "tags.`poolstudy.kind` LIKE '%'")
        ]
    return kinds.count("study"), len(kinds) - kinds.count("study")


def dashboard_link(server: str, experiment_id: str, key: str) -> str:
    """The address of a stored view of an experiment's charts, on a running server."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    return f"{without_password(server).rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def run_link(server: str, run: StoredRun) -> str:
    """The address of a run's page, on a running server."""
    return f"{without_password(server).rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def check_writable(run: StoredRun, uri: str, artifacts: str, root: Path) -> None:
    """Refuses a run to which nothing can be attached here.

    Args:
        artifacts: folder of the artifacts of SQLite stores, relative to `root`.

    Raises:
        StoreError: the project was moved or copied, and MLflow has the run's files where it was; or it cannot be read.
    """
    if is_own(uri, root):
        with reading_mlflow(uri):
            location = run.client.get_experiment(run.experiment_id).artifact_location
        check_in_place(run.study, location, (root / artifacts).resolve() / run.study)


def attach(run: StoredRun, paths: Iterable[Path], folder: str | None = None) -> None:
    """Adds files to a run that has ended: what was made of it later, such as a report on a study.

    Args:
        folder: of the run, to put them into; its root, if left out.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        for path in paths:
            run.client.log_artifact(run.run_id, str(path), folder)
    except (OSError, *MLFLOW_ERRORS) as error:
        found = f"the files of run {run.run_id}: {one_line(error)}"
        raise StoreError(found, "an artifact store that can be written", "mend it, then try again") from None


@contextlib.contextmanager
def reading_mlflow(uri: str) -> Iterator[None]:
    """While the block lasts, what the store raises becomes a StoreError."""
    try:
        yield
    except (OSError, ImportError, *MLFLOW_ERRORS) as error:
        found = f"MLflow's store {uri}: {one_line(error)}"
        raise StoreError(found, "one that can be read", "mend it, or name another in conf/tracking") from None


def experiments(client: MlflowClient) -> list[str]:
    """The IDs of all that are not deleted."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = client.search_experiments(page_token=token)
        found += [str(experiment.experiment_id) for experiment in page]
        token = page.token
        if not token:
            return found
