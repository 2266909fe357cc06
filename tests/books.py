"""Checks that the Optuna and MLflow databases of a study agree, for tests and `torture`."""

import json
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from PIL import Image

from poolstudy.search import late_runs
from poolstudy.spec.records import TrialSpec
from poolstudy.spec.space import HyperParameters

FILES = {
    "spec.json",
    "history.csv",
    "environment.json",
    "summary.txt",
    "diagram.png",
    "learning_curves.png",
    "weights_histogram.png",
    "kernels.png",
    "feature_maps.png",
    "confusion_matrix.png",
    "most_wrong.png",
    "classification_report.json",
    "layers.csv",
    "model.keras",
    "untrained.npz",
    "validation.npz",
}
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED", "lost": "FAILED"}
TERMINAL = {"COMPLETE": "complete", "PRUNED": "pruned"}


def store(root: Path) -> str:
    return f"sqlite:///{root / 'mlruns' / 'mlflow.db'}"


def runs(root: Path, study: str = "tiny", kind: str = "trial", uri: str = "") -> list[Run]:
    """Return the runs of a study, oldest first."""
    client = MlflowClient(uri or store(root))
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`poolstudy.kind` = '{kind}'", ViewType.ACTIVE_ONLY)
    return sorted(found, key=lambda run: run.info.start_time)


def optuna_study(root: Path, study: str = "tiny") -> optuna.Study:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{root / 'mlruns' / 'optuna.db'}")


def trials(root: Path, study: str = "tiny") -> list[optuna.trial.FrozenTrial]:
    return optuna_study(root, study).trials


def artifact(root: Path, run: Run, name: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


def files_of(root: Path, run: Run) -> set[str]:
    """Return the names of a run's files, without code.patch: only a checkout with changes writes it."""
    return {path.name for path in artifact(root, run, "").iterdir() if path.is_file()} - {"code.patch"}


def images_of(root: Path, run: Run) -> list[str]:
    """Return the keys of the run's images; each exists as PNG and as a small copy."""
    names = [path.name for path in artifact(root, run, "images").glob("*")]
    assert len([name for name in names if name.endswith(".webp")]) * 2 == len(names)
    return sorted(name.split("+step+")[0].replace("~", "/") for name in names if name.endswith(".webp"))


def check_agreement(root: Path, study: str = "tiny", uri: str = "") -> None:
    """Check that Optuna's attempts and MLflow's runs agree one to one."""
    assert list(disagreements(root, study, uri)) == []


def disagreements(root: Path, study: str = "tiny", uri: str = "") -> Iterator[str]:
    """Yield the disagreements between Optuna's attempts and MLflow's runs."""
    yield from damaged_databases(root)
    noted = optuna_study(root, study).user_attrs
    late = late_runs(noted)
    attempts, tracked = {}, {}
    for trial in trials(root, study):
        if not trial.state.is_finished():
            yield f"Optuna's trial {trial.number} is {trial.state.name}"
        if ledger := trial.user_attrs.get("ledger"):
            attempts[ledger["slot"], ledger["retry"]] = trial
    for run in runs(root, study, uri=uri):
        key = int(run.data.tags["poolstudy.trial"]), int(run.data.tags["poolstudy.attempt"])
        if key in tracked:
            yield f"{key} has two runs"
        tracked[key] = run
    if attempts.keys() != tracked.keys():
        yield f"attempts without a run, or runs without an attempt: {sorted(attempts.keys() ^ tracked.keys())}"
    counted = Counter(slot for (slot, _), trial in attempts.items() if trial.state.name in TERMINAL)
    yield from (f"slot {slot} counts {times} times" for slot, times in counted.items() if times > 1)
    client = MlflowClient(uri or store(root))
    for key in sorted(attempts.keys() & tracked.keys()):
        trial, run = attempts[key], tracked[key]
        stored = trial.user_attrs["ledger"]["spec"]  # a string up to version 0.1
        values = json.loads(stored) if isinstance(stored, str) else stored
        spec = TrialSpec.model_validate({**values, "data": noted["data"]})
        run_id = late.get(trial.number) or trial.user_attrs.get("run_id")
        yield from (f"{run.info.run_name}: {what}" for what in _differ(client, trial, run, spec, run_id))


def damaged_databases(root: Path) -> Iterator[str]:
    for name in ("optuna.db", "mlflow.db"):
        if (root / "mlruns" / name).exists():
            with sqlite3.connect(root / "mlruns" / name) as connection:
                found = connection.execute("pragma integrity_check").fetchall()
            connection.close()
            if found != [("ok",)]:
                yield f"{name} is damaged: {found}"


def _differ(
    client: MlflowClient, trial: optuna.trial.FrozenTrial, run: Run, spec: TrialSpec, run_id: str | None
) -> Iterator[str]:
    tags, state = run.data.tags, trial.user_attrs.get("state", "none")
    if run_id != run.info.run_id:
        yield f"Optuna has run {run_id}, MLflow {run.info.run_id}"
    if not tags.get("poolstudy.state") == state == TERMINAL.get(trial.state.name, state):
        yield f"is {tags.get('poolstudy.state')} in MLflow, {state} ({trial.state.name}) in Optuna"
    if run.info.status != STATUS.get(state):
        yield f"has status {run.info.status}, being {state}"
    if tags["poolstudy.spec_digest"] != spec.digest:
        yield "is of another spec"
    values = spec.hyperparameters.flat() | {
        "epochs": spec.training.epochs,
        "patience": spec.training.patience,
        "seed": spec.seed,
    }
    later = HyperParameters.model_fields.keys() - HyperParameters.always_written  # missing from runs of older versions
    logged = {key: str(value) for key, value in values.items() if key in run.data.params or key not in later}
    if run.data.params != logged:
        yield f"has params {run.data.params}"
    yield from _epochs_differ(client, trial, run)


def _epochs_differ(client: MlflowClient, trial: optuna.trial.FrozenTrial, run: Run) -> Iterator[str]:
    reported = trial.intermediate_values
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds"):
        points = client.get_metric_history(run.info.run_id, metric)
        steps = sorted(point.step for point in points)
        if steps != list(range(1, len(steps) + 1)):
            yield f"{metric} has steps {steps}"
        # Optuna gets an epoch first: of an interrupted attempt, it may have one more.
        missing = len(reported) - len(steps)
        if missing not in ((0,) if trial.state.name in TERMINAL else (0, 1)):
            yield f"{metric} has {len(steps)} epochs, Optuna {len(reported)}"
        if metric == "val_accuracy" and any(reported.get(point.step) != point.value for point in points):
            yield "val_accuracy is not as in Optuna"
    for metric in ("best_epoch", "best_val_accuracy", "parameter_count"):
        times = len(client.get_metric_history(run.info.run_id, metric))
        if times != (trial.state.name in TERMINAL):
            yield f"{metric} was logged {times} times"


def reached(root: Path, uri: str = "") -> dict[str, object]:
    """Return the results of every slot, epoch by epoch, without times."""
    client = MlflowClient(uri or store(root))
    found: dict[str, object] = {}
    for run in runs(root, uri=uri):
        if run.data.tags.get("poolstudy.state") in ("complete", "pruned"):
            points = {
                metric: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
                for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "best_val_loss", "best_epoch")
            }
            tags = [run.data.tags[f"poolstudy.{name}"] for name in ("state", "weights_digest", "spec_digest")]
            found[run.data.tags["poolstudy.trial"]] = (run.data.params, points, tags)
    return found


def damaged_files(root: Path, run: Run) -> Iterator[str]:
    """Yield the damaged or missing files of a run that was trained to its end and rendered."""
    try:
        if "poolstudy.pictures" in run.data.tags:  # its rendering was killed each time
            return
        if files_of(root, run) != FILES:
            yield f"{run.info.run_name}: files {sorted(files_of(root, run) ^ FILES)}"
            return
        history = pd.read_csv(artifact(root, run, "history.csv"))
        if len(history) < run.data.metrics["best_epoch"]:
            yield f"{run.info.run_name}: history.csv has {len(history)} rows"
        for name in ("spec.json", "environment.json", "classification_report.json"):
            json.loads(artifact(root, run, name).read_text())
        for name in ("model.keras", "untrained.npz", "validation.npz"):
            with zipfile.ZipFile(artifact(root, run, name)) as file:
                assert file.testzip() is None
        images_of(root, run)
        for path in artifact(root, run, "").rglob("*.png"):
            with Image.open(path) as image:
                image.load()
    except (AssertionError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        yield f"{run.info.run_name}: {type(error).__name__} {error}"
