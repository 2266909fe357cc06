"""A run as it is read back: what MLflow knows of it, and its files."""

import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, cast, get_args

from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import ValidationError

from poolstudy.errors import StoreError, one_line, printable
from poolstudy.spec.records import EpochRecord, State, TrialSpec
from poolstudy.tracking.store import checked

TrainedFile = Literal[
    "history.csv",
    "summary.txt",
    "classification_report.json",
    "layers.csv",
    "model.keras",
    "untrained.npz",
    "validation.npz",
]
Picture = Literal[
    "diagram.png",
    "learning_curves.png",
    "weights_histogram.png",
    "kernels.png",
    "feature_maps.png",
    "confusion_matrix.png",
    "most_wrong.png",
]
FileName = Literal[
    "spec.json",
    "environment.json",
    TrainedFile,
    Picture,
    "config.json",
    "code.patch",
    "comparison.json",
    "comparison.txt",
]
"""The files that a run may have at its root: fixed words, so that no path is ever made of anything else."""

TRAINED_FILES: tuple[TrainedFile, ...] = get_args(TrainedFile)
"""What a trial has that ended at least one epoch in good order, beside `spec.json` and `environment.json`."""
PICTURES: tuple[Picture, ...] = get_args(Picture)
"""What it has if it was drawn."""

_PAGE = 1000
_RECORDED = {"epoch_seconds": "seconds"}  # the metrics of an epoch whose name in a record is another


@dataclass(frozen=True)
class StoredRun:
    """A run that is not deleted.

    Attributes:
        kind: "study", "trial", or what else `poolstudy.kind` says.
        state: as in the ledger; None while it runs.
        status: MLflow's own word: RUNNING, FINISHED, FAILED, KILLED.
        metrics: the last value of each.
        start, end: `end` is None while it runs.
        artifacts: where its files are, as a URI.
    """

    run_id: str
    name: str
    experiment_id: str
    study: str
    kind: str
    state: State | None
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start: datetime
    end: datetime | None
    artifacts: str
    client: MlflowClient = field(repr=False, compare=False)

    @classmethod
    def of(cls, client: MlflowClient, run: Run) -> Self:
        info, tags = run.info, _shown(run.data.tags)
        kind = tags.get("poolstudy.kind", "")
        # A study that goes on still has the state of its last end.
        goes_on = kind == "study" and info.status == "RUNNING"
        return cls(
            run_id=checked(info.run_id),
            name=printable(info.run_name or info.run_id),
            experiment_id=str(info.experiment_id),
            study=tags.get("poolstudy.study", ""),
            kind=kind,
            state=None if goes_on else cast("State | None", tags.get("poolstudy.state")),
            status=info.status,
            tags=tags,
            params=_shown(run.data.params),
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

    # Its files

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The names at its root, in order; a folder's ends with a slash."""
        return tuple(self.sizes)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each of `files`, where the store tells them; 0 of a folder."""
        items = self.client.list_artifacts(self.run_id)
        sizes = {f"{item.path}/" if item.is_dir else str(item.path): int(item.file_size or 0) for item in items}
        return {printable(name): sizes[name] for name in sorted(sizes)}

    def images(self) -> tuple[set[str], set[str]]:
        """The keyed images: keys of those that are whole, and of those that lack the small copy or the large one."""
        # MLflow writes <key, with ~ for />+step+0+….png and the same with +compressed.webp, which the grids show.
        names = [str(item.path).rpartition("/")[2] for item in self.client.list_artifacts(self.run_id, "images")]
        kinds = [
            {name.split("+step+")[0].replace("~", "/") for name in names if name.endswith(kind)}
            for kind in (".png", ".webp")
        ]
        return kinds[0] & kinds[1], kinds[0] ^ kinds[1]

    def read(self, name: FileName, folder: Path) -> Path | None:
        """Copies one of its files into a folder that exists; None where the run has no such file.

        Raises:
            ValueError: the name is none of the contract's.
            StoreError: the file cannot be had.
        """
        if name not in get_args(FileName):
            raise ValueError(f"{name!r} is no file of a run")
        if name not in self.files:
            return None
        try:
            return Path(self.client.download_artifacts(self.run_id, name, str(folder.resolve())))
        except Exception as error:  # each kind of artifact store has errors of its own
            found = f"{name} of run {self.run_id} cannot be read ({one_line(error)})"
            raise StoreError(found, "an artifact store that answers", "see where the run's artifacts lie") from None

    def text(self, name: FileName) -> str | None:
        """The text of one of its files; None where the run has no such file.

        Raises:
            StoreError: the file cannot be had, or is no text.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = self.read(name, Path(folder))
            try:
                return path.read_text(encoding="utf-8") if path else None
            except (OSError, UnicodeDecodeError) as error:
                raise self._damaged(name, error) from None

    def table(self, name: Literal["history.csv", "layers.csv"]) -> list[dict[str, str]] | None:
        """The rows of a CSV file by their columns; None where the run has no such file."""
        text = self.text(name)
        return None if text is None else list(csv.DictReader(text.splitlines()))

    def spec(self) -> TrialSpec | None:
        """What it takes to run the trial again; None where the run has no spec.json.

        Raises:
            StoreError: the file is damaged, or of another version of this program.
        """
        text = self.text("spec.json")
        try:
            return None if text is None else TrialSpec.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged("spec.json", error) from None

    def history(self) -> tuple[EpochRecord, ...] | None:
        """Its epochs; None where the run has no history.csv, which is written when a trial ends in good order.

        Raises:
            StoreError: the file is damaged.
        """
        rows = self.table("history.csv")
        try:
            return None if rows is None else tuple(EpochRecord.model_validate(row) for row in rows)
        except ValidationError as error:
            raise self._damaged("history.csv", error) from None

    def logged_points(self) -> dict[str, list[tuple[int, float]]]:
        """What was logged of every epoch, by the field of `EpochRecord`: each point's epoch and value."""
        points = {}
        for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds"):
            history = self.client.get_metric_history(self.run_id, metric)
            points[_RECORDED.get(metric, metric)] = [(point.step, point.value) for point in history]
        return points

    def logged_epochs(self) -> tuple[EpochRecord, ...]:
        """Its epochs from MLflow's metrics, which are written as each ends: of every run, however it ended."""
        values: dict[int, dict[str, float]] = {}
        for field_name, points in self.logged_points().items():
            for step, value in points:
                values.setdefault(step, {"epoch": step})[field_name] = value
        whole = len(EpochRecord.model_fields)
        return tuple(EpochRecord.model_validate(values[step]) for step in sorted(values) if len(values[step]) == whole)

    def _damaged(self, name: str, error: Exception) -> StoreError:
        reason = one_line(error)
        return StoreError(f"{name} of run {self.run_id} is damaged ({reason})", "it as it was written", "restore it")

    # Its fellows

    def attempts(self) -> "list[StoredRun]":
        """Every attempt at this trial's slot, this one among them, oldest first."""
        slot = int(self.tags.get("poolstudy.trial", -1))
        return self._trials(f" and tags.`poolstudy.trial` = '{slot}'", ["attributes.start_time"])

    def reproductions(self) -> "list[StoredRun]":
        """The runs that were to reproduce this one, oldest first."""
        condition = f"tags.`poolstudy.kind` = 'reproduction' and tags.`poolstudy.reproduces` = '{self.run_id}'"
        found = search(self.client, [self.experiment_id], condition, ["attributes.start_time"])
        return [StoredRun.of(self.client, run) for run in found]

    def trials(self) -> "list[StoredRun]":
        """Every trial run of its study, oldest first."""
        return self._trials("", ["attributes.start_time"])

    def objective(self) -> str:
        """The metric that a study's own run was to optimise."""
        return self.params.get("objective", "best_val_accuracy")

    def best(self) -> "StoredRun | None":
        """The best complete trial of a study, asked of the study's own run; of equals the one of the lowest slot."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> "list[StoredRun]":
        """Every complete trial of a study, best first, asked of the study's own run."""
        metric = self.objective()
        direction = "ASC" if metric == "best_val_loss" else "DESC"  # config.Objective allows nothing else
        order = [f"metrics.`{metric}` {direction}", "attributes.run_name"]
        return self._trials(" and tags.`poolstudy.state` = 'complete'", order)

    def _trials(self, condition: str, order: Sequence[str]) -> "list[StoredRun]":
        trial = f"tags.`poolstudy.kind` = 'trial'{condition}"
        return [StoredRun.of(self.client, run) for run in search(self.client, [self.experiment_id], trial, order)]


def search(
    client: MlflowClient, experiments: Sequence[str], condition: str, order: Sequence[str] = ()
) -> Iterator[Run]:
    """Every run that fits and is not deleted, page by page."""
    token: str | None = None
    while experiments:
        page = client.search_runs(
            list(experiments), condition, max_results=_PAGE, order_by=list(order) or None, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _shown(words: Mapping[str, str]) -> dict[str, str]:
    """What a store says, which may be a stranger's: nothing of it is to reach a terminal as a command."""
    return {printable(key): printable(value) for key, value in words.items()}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
