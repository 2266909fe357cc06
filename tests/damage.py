"""Real damage to a study, as by crashes and people: rows of the databases are edited, files deleted."""

import contextlib
import io
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from books import artifact, optuna_study, runs, store, trials
from conftest import Command, make_project
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.tracking._tracking_service import utils
from rich.console import Console

from poolstudy.checks.doctor import examine
from poolstudy.tracking import move, moved

GOOD, PRUNED, FAILED = range(3)
TRIALS = ", ".join(
    f"{{pooling: {pooling}, pool_size: 2, filters: [2, 3], dropout: 0.2, learning_rate: {rate}}}"
    for pooling, rate in (("max", 0.01), ("average", 1e-7), ("average", 1e30))
)
OF_THREE = [
    "sampler=list",
    f"sampler.trials=[{TRIALS}]",
    "study.trials=3",
    "pruner=median",
    "pruner.n_startup_trials=1",
    "pruner.n_warmup_steps=1",
    "execution.workers=1",
]


def study_of_three(root: Path, poolstudy: Command) -> Path:
    """Run a study of a complete, a pruned and a failed trial in a new project."""
    said = poolstudy(make_project(root), "run", "tiny", *OF_THREE)
    assert [run.data.tags["poolstudy.state"] for run in runs(root)] == ["complete", "pruned", "failed"], said.stderr
    return root


def copied(whole: Path, root: Path) -> Path:
    """Copy a project, and let MLflow look for files in the copy."""
    utils._artifact_repos_cache.clear()  # MLflow remembers where a run's files are by its ID; copies have the same
    shutil.copytree(whole, root)
    artifacts = root / "mlruns" / "artifacts"
    move(store(root), artifacts, moved(store(root), artifacts)).unlink()
    return root


@contextlib.contextmanager
def deleting(folder: Path) -> Iterator[None]:
    """Delete the folder again and again while the block lasts."""
    enough = threading.Event()

    def delete() -> None:
        while not enough.is_set():
            shutil.rmtree(folder, ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def edit(database: Path, statement: str, *values: object) -> None:
    """Change exactly one row of a database."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def mlflow_edit(root: Path, statement: str, *values: object) -> None:
    edit(root / "mlruns" / "mlflow.db", statement, *values)


def optuna_edit(root: Path, statement: str, *values: object) -> None:
    edit(root / "mlruns" / "optuna.db", statement, *values)


def examined(root: Path, fix: bool = False) -> tuple[bool, str]:
    out = io.StringIO()
    healthy = examine(root, Console(file=out, width=80, markup=False, highlight=False), fix=fix)
    return healthy, out.getvalue()


def content(root: Path) -> dict[str, bytes]:
    """Return all files in mlruns/ but the locks, which a fix must hold."""
    files = (path for path in (root / "mlruns").rglob("*") if path.is_file() and path.parent.name != "locks")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def run_is_open(root: Path, run: Run) -> None:
    """Open the run, as after kill -9 between the updates of Optuna and MLflow; the attempt's folder is gone."""
    mlflow_edit(root, "UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = ?", run.info.run_id)
    mlflow_edit(root, "DELETE FROM tags WHERE run_uuid = ? AND key = 'poolstudy.state'", run.info.run_id)


def wrong_status(root: Path, run: Run) -> None:
    mlflow_edit(root, "UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", run.info.run_id)


def wrong_state(root: Path, run: Run) -> None:
    MlflowClient(store(root)).set_tag(run.info.run_id, "poolstudy.state", "lost")


def run_is_deleted(root: Path, run: Run) -> None:
    MlflowClient(store(root)).delete_run(run.info.run_id)


def spec_is_gone(root: Path, run: Run) -> None:
    artifact(root, run, "spec.json").unlink()


def spec_is_empty(root: Path, run: Run) -> None:
    artifact(root, run, "spec.json").write_text("")


def second_run(root: Path, run: Run) -> None:
    """Create a second run, as after kill -9 between creating a run and noting it in Optuna's database."""
    client = MlflowClient(store(root))
    client.create_run(run.info.experiment_id, tags=run.data.tags | {"poolstudy.state": "lost"}, run_name="trial-0001")


def run_of_no_attempt(root: Path, run: Run) -> None:
    tags = {key: value for key, value in run.data.tags.items() if key not in ("poolstudy.state", "mlflow.runName")}
    client = MlflowClient(store(root))
    client.create_run(run.info.experiment_id, tags=tags | {"poolstudy.trial": "9"}, run_name="trial-0009")


def folder_is_left(root: Path, run: Run) -> None:
    """Leave the folder of an attempt, as after kill -9 between closing the run and removing its folder."""
    (root / "mlruns" / "staging" / "tiny" / str(run.info.run_name) / "files").mkdir(parents=True)


def open_attempt(root: Path, run: Run) -> None:
    """Open the attempt in both databases, as after kill -9 while it trained."""
    run_is_open(root, run)
    at_end = "best_epoch best_val_loss best_val_accuracy parameter_count train_seconds images_per_second"
    for name in at_end.split():
        if name in run.data.metrics:  # a trial that failed has none of them
            for table in ("metrics", "latest_metrics"):
                mlflow_edit(root, f"DELETE FROM {table} WHERE run_uuid = ? AND key = ?", run.info.run_id, name)
    (number,) = [trial.number for trial in trials(root) if trial.user_attrs.get("run_id") == run.info.run_id]
    optuna_edit(root, "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = ?", number)
    for key in ("state", "reason", "objective"):
        trial_id = "(SELECT trial_id FROM trials WHERE number = ?)"
        statement = f"DELETE FROM trial_user_attributes WHERE key = ? AND trial_id = {trial_id}"
        if key in trials(root)[number].user_attrs:
            optuna_edit(root, statement, key, number)


def run_is_noted_late(root: Path, run: Run, instead: str | None = None) -> None:
    """Note the run at the study, as if the server was away when its attempt ended, and `instead` at the trial."""
    (trial,) = [trial for trial in trials(root) if trial.user_attrs.get("run_id") == run.info.run_id]
    where, noted = "WHERE key = 'run_id' AND value_json = ?", f'"{run.info.run_id}"'
    if instead is None:
        optuna_edit(root, f"DELETE FROM trial_user_attributes {where}", noted)
    else:
        optuna_edit(root, f"UPDATE trial_user_attributes SET value_json = ? {where}", f'"{instead}"', noted)
    optuna_study(root).set_user_attr(f"run_id of trial {trial.number}", run.info.run_id)


def model_is_empty(root: Path, run: Run) -> None:
    artifact(root, run, "model.keras").write_bytes(b"")


def picture_is_gone(root: Path, run: Run) -> None:
    artifact(root, run, "kernels.png").unlink()


def keyed_image_is_half(root: Path, run: Run) -> None:
    next(artifact(root, run, "images").glob("kernels~conv_1*.webp")).unlink()


def optuna_says_otherwise(root: Path, run: Run) -> None:
    optuna_edit(root, "UPDATE trials SET state = 'FAIL' WHERE number = 0")


def slot_ended_twice(root: Path, run: Run) -> None:
    statement = "UPDATE trial_user_attributes SET value_json = replace(value_json, ?, ?) WHERE key = ? AND trial_id = 2"
    optuna_edit(root, statement, '"slot": 2, "retry"', '"slot": 1, "retry"', "ledger")


def finished_run_twice(root: Path, run: Run) -> None:
    MlflowClient(store(root)).create_run(run.info.experiment_id, tags=run.data.tags, run_name="trial-0001")


def config_is_gone(root: Path, run: Run) -> None:
    (own,) = runs(root, kind="study")
    artifact(root, own, "config.json").unlink()


def optuna_is_gone(root: Path, run: Run) -> None:
    (root / "mlruns" / "optuna.db").unlink()


def run_is_gone(root: Path, run: Run) -> None:
    MlflowClient(store(root)).delete_run(run.info.run_id)
    for table in ("tags", "params", "metrics", "latest_metrics", "runs"):
        with contextlib.closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database, database:
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run.info.run_id,))
