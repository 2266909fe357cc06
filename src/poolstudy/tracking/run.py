"""A run as MLflow stores it, with its files."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, cast, get_args

from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import ValidationError

from poolstudy.errors import StoreError, one_line, printable
from poolstudy.spec.frozen import unknown_keys
from poolstudy.spec.records import EPOCH_METRICS, EpochRecord, State, TrialSpec
from poolstudy.tracking.store import checked, search

TrainedFile = Literal[
    "history.csv", "summary.txt", "classification_report.json", "layers.csv",
    "model.keras", "untrained.npz", "validation.npz",
]  # fmt: skip
Picture = Literal[
    "diagram.png", "learning_curves.png", "weights_histogram.png", "kernels.png", "feature_maps.png",
    "confusion_matrix.png", "most_wrong.png",
]  # fmt: skip
FileName = Literal[
    TrainedFile, Picture,
    "spec.json", "environment.json", "config.json", "code.patch", "comparison.json", "comparison.txt",
]  # fmt: skip
"""The files that a run may have at its root: a fixed list, so no other text ever becomes part of a path."""

TRAINED_FILES: tuple[TrainedFile, ...] = get_args(TrainedFile)
"""Files of a trial that has a result, in addition to `spec.json` and `environment.json`."""
PICTURES: tuple[Picture, ...] = get_args(Picture)
"""Files of a trial that was rendered."""
STATUS: dict[State, str] = {
    "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "lost": "FAILED", "interrupted": "KILLED",
}  # fmt: skip
"""MLflow's status of a run by its `poolstudy.state`."""


@dataclass(frozen=True)
class StoredRun:
    """A run that is not deleted."""

    run_id: str
    name: str
    experiment_id: str
    study: str
    kind: str  # the tag `poolstudy.kind`: "study", "trial" or "reproduction"
    state: State | None  # the tag `poolstudy.state`; None while it runs
    status: str  # MLflow's: RUNNING, FINISHED, FAILED or KILLED
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each
    start: datetime
    end: datetime | None  # None while it runs
    artifacts: str  # URI of its files
    client: MlflowClient = field(repr=False, compare=False)

    @classmethod
    def of(cls, client: MlflowClient, run: Run) -> Self:
        info, tags = run.info, _printable(run.data.tags)
        kind = tags.get("poolstudy.kind", "")
        resumed = kind == "study" and info.status == "RUNNING"  # it still has the state of its last end
        return cls(
            run_id=checked(info.run_id),
            name=printable(info.run_name or info.run_id),
            experiment_id=str(info.experiment_id),
            study=tags.get("poolstudy.study", ""),
            kind=kind,
            state=None if resumed else cast("State | None", tags.get("poolstudy.state")),
            status=info.status,
            tags=tags,
            params=_printable(run.data.params),
            metrics=run.data.metrics,
            start=_time(info.start_time),
            end=_time(info.end_time) if info.end_time and info.status != "RUNNING" else None,
            artifacts=info.artifact_uri,
            client=client,
        )

    @property
    def standing(self) -> str:
        """Its state, or "running"."""
        return self.state or self.status.lower()

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Sorted names at its root; a folder's name ends with a slash."""
        return tuple(self.sizes)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each of `files`; 0 for a folder, or if the store does not report it."""
        items = self.client.list_artifacts(self.run_id)
        sizes = {f"{item.path}/" if item.is_dir else str(item.path): int(item.file_size or 0) for item in items}
        return {printable(name): sizes[name] for name in sorted(sizes)}

    def images(self) -> tuple[set[str], set[str]]:
        """Return the keys of the images that are complete, and of those whose small or large copy is missing."""
        # MLflow writes <key, with ~ for />+step+0+….png and the same with +compressed.webp, which the grids show.
        names = [str(item.path).rpartition("/")[2] for item in self.client.list_artifacts(self.run_id, "images")]
        large, small = (
            {name.split("+step+")[0].replace("~", "/") for name in names if name.endswith(suffix)}
            for suffix in (".png", ".webp")
        )
        return large & small, large ^ small

    def read(self, name: FileName, folder: Path) -> Path | None:
        """Copy a file into an existing folder; None if the run has no such file.

        Raises:
            ValueError: the name is not in `FileName`.
            StoreError: the file cannot be read.
        """
        if name not in get_args(FileName):
            raise ValueError(f"{name!r} is no file of a run")
        if name not in self.files:
            return None
        try:
            return Path(self.client.download_artifacts(self.run_id, name, str(folder.resolve())))
        except Exception as error:  # each kind of artifact store has errors of its own
            found = f"{name} of run {self.run_id} cannot be read ({one_line(error)})"
            raise StoreError(found, "a readable artifact store", "check where the run's artifacts are") from None

    def text(self, name: FileName) -> str | None:
        """Return a file's text; None if the run has no such file.

        Raises:
            StoreError: the file cannot be read, or is not UTF-8.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = self.read(name, Path(folder))
            try:
                return path.read_text(encoding="utf-8") if path else None
            except (OSError, UnicodeDecodeError) as error:
                raise self._damaged(name, error) from None

    def table(self, name: Literal["history.csv", "layers.csv"]) -> list[dict[str, str]] | None:
        """Return the rows of a CSV file by column; None if the run has no such file."""
        text = self.text(name)
        return None if text is None else list(csv.DictReader(text.splitlines()))

    def spec(self) -> TrialSpec | None:
        """Return the content of spec.json; None if the run has no such file.

        Raises:
            StoreError: the file is damaged, or from another version of poolstudy.
        """
        text = self.text("spec.json")
        try:
            return None if text is None else TrialSpec.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged("spec.json", error) from None

    def history(self) -> tuple[EpochRecord, ...] | None:
        """Return its epochs from history.csv, which a trial with a result has; None if there is no such file.

        Raises:
            StoreError: the file is damaged.
        """
        rows = self.table("history.csv")
        try:
            return None if rows is None else tuple(EpochRecord.model_validate(row) for row in rows)
        except ValidationError as error:
            raise self._damaged("history.csv", error) from None

    def logged_epochs(self) -> tuple[EpochRecord, ...]:
        """Return its epochs from MLflow's metrics, which also a run without history.csv has."""
        epochs: dict[int, dict[str, float]] = {}
        for metric in (*EPOCH_METRICS, "epoch_seconds"):
            for point in self.client.get_metric_history(self.run_id, metric):
                epochs.setdefault(point.step, {"epoch": point.step})[metric.removeprefix("epoch_")] = point.value
        complete = [epochs[step] for step in sorted(epochs) if len(epochs[step]) == len(EpochRecord.model_fields)]
        return tuple(EpochRecord.model_validate(record) for record in complete)

    def _damaged(self, name: str, error: Exception) -> StoreError:
        if keys := isinstance(error, ValidationError) and unknown_keys(error):
            found = f"{name} of run {self.run_id} has {keys}, which this version does not know"
            return StoreError(found, "keys of this version", "a later version of poolstudy wrote it: update poolstudy")
        found = f"{name} of run {self.run_id} is damaged ({one_line(error)})"
        return StoreError(found, "the file as it was written", "restore it")

    def attempts(self) -> "list[StoredRun]":
        """Return all attempts at this trial's slot, including this one, oldest first."""
        slot = int(self.tags.get("poolstudy.trial", -1))
        return self._search("trial", f" and tags.`poolstudy.trial` = '{slot}'")

    def reproductions(self) -> "list[StoredRun]":
        """Return the reproductions of this run, oldest first."""
        return self._search("reproduction", f" and tags.`poolstudy.reproduces` = '{self.run_id}'")

    def trials(self) -> "list[StoredRun]":
        """Return all trial runs of its study, oldest first."""
        return self._search("trial")

    def objective(self) -> str:
        """Return the metric that the study optimises; for a study's own run."""
        return self.params.get("objective", "best_val_accuracy")

    def best(self) -> "StoredRun | None":
        """Return the study's best complete trial, on a tie that of the lowest slot; for a study's own run."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> "list[StoredRun]":
        """Return the study's complete trials, best first; for a study's own run."""
        metric = self.objective()
        direction = "ASC" if metric == "best_val_loss" else "DESC"  # config.Objective allows nothing else
        order = (f"metrics.`{metric}` {direction}", "attributes.run_name")
        return self._search("trial", " and tags.`poolstudy.state` = 'complete'", order)

    def _search(
        self, kind: str, condition: str = "", order: Sequence[str] = ("attributes.start_time",)
    ) -> "list[StoredRun]":
        query = f"tags.`poolstudy.kind` = '{kind}'{condition}"
        runs = search(self.client, [self.experiment_id], query, order)
        return [StoredRun.of(self.client, run) for run in runs]


def tags_of(spec: TrialSpec) -> dict[str, str]:
    """Return the tags that identify a run's spec."""
    return {
        "poolstudy.trial": str(spec.slot),
        "poolstudy.spec_digest": spec.digest,
        "poolstudy.data_digest": spec.data.digest,
    }


def params_of(spec: TrialSpec) -> dict[str, str]:
    """Return the params of a run."""
    training = {"epochs": spec.training.epochs, "patience": spec.training.patience, "seed": spec.seed}
    return {key: str(value) for key, value in (spec.hyperparameters.flat() | training).items()}


def spec_text(spec: TrialSpec) -> str:
    """Return the content of spec.json."""
    return json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"


def _printable(texts: Mapping[str, str]) -> dict[str, str]:
    """Replace terminal control codes: the store may be someone else's."""
    return {printable(key): printable(value) for key, value in texts.items()}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
