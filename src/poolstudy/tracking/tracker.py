"""Writing: the runs of a study as it goes on. One process writes."""

import getpass
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from PIL import Image

from poolstudy.errors import StoreError, cause
from poolstudy.spec.colours import shade
from poolstudy.spec.records import EpochRecord, State, TrialResult, TrialSpec
from poolstudy.tracking.run import search
from poolstudy.tracking.store import (
    MLFLOW_ERRORS,
    SQLITE,
    ArtifactFolder,
    check_in_place,
    checked,
    is_away,
    is_own,
    make_database,
    no_retries,
    resolved_uri,
)

Kind = Literal["study", "trial", "reproduction"]
STATUS: dict[State, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "lost": "FAILED",
    "interrupted": "KILLED",
}
"""MLflow's status of a run by its `poolstudy.state`."""
_BATCH = 1000  # metrics that MLflow takes in one call


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow has it; `slot` and `retry` are -1 where it is no trial."""

    run_id: str
    slot: int
    retry: int
    state: State | None
    metrics: Mapping[str, float]


class Tracker:
    """The runs of one study.

    Args:
        uri: MLflow's tracking URI; an SQLite path in it is relative to `root`, and its database is made
            when it is not there.
        artifacts: folder of artifacts of SQLite stores, relative to `root`.
        study: name of the study, and of its MLflow experiment.
        restore: bring the experiment back, with all its runs, if it was deleted.

    Attributes:
        artifacts: the folder of this study's artifacts; None where a server keeps them.
        study_uid: the ID that Optuna's study has, and its runs: two projects may run a study of one name on one server.
            Empty: runs of every such study are taken for this one's.

    Raises:
        StoreError: the store cannot be used, or has the study's files where the project was before it was moved.
    """

    def __init__(self, uri: str, artifacts: str, study: str, root: Path, *, restore: bool = True) -> None:
        self.uri = resolved_uri(uri, root)
        self.study_uid = ""
        self._study = study
        try:
            folder = (root / artifacts).resolve()
            local = self.uri.startswith(SQLITE)
            if local:
                make_database(self.uri, folder)
            self._client = MlflowClient(self.uri)
            self.experiment_id = self._experiment(folder / study if local else None, is_own(self.uri, root), restore)
            self.artifacts = ArtifactFolder(folder / study) if local else None
        except (OSError, ImportError, *MLFLOW_ERRORS) as error:
            raise StoreError(
                f"MLflow's store {uri} cannot be used ({cause(error)})",
                "a store that can be written",
                "start or mend it, or name another by tracking.uri",
            ) from None

    def is_away(self, error: Exception) -> bool:
        """Whether the store may answer otherwise in a while, or has a folder to make anew that was deleted under it."""
        return is_away(self.uri, error) or (self.artifacts is not None and self.artifacts.lost(error))

    def _experiment(self, folder: Path | None, own: bool, restore: bool) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            return self._client.create_experiment(self._study, artifact_location=folder.as_uri() if folder else None)
        if folder and own:
            check_in_place(self._study, found.artifact_location, folder)
        if found.lifecycle_stage == "deleted":
            if not restore:
                what = f"experiment {self._study} was deleted in MLflow"
                raise StoreError(what, "it there", f"restore it: mlflow experiments restore -x {found.experiment_id}")
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def open_study(self, params: Mapping[str, object], config: Mapping[str, Any]) -> str:
        """The study's own run: a new one, or the one it had, going on. Returns its ID."""
        known = next(self.runs("study", condition=_having(self._of_study())), None)
        run_id = known.run_id if known else self._create("study", self._study, self._of_study())
        self._client.update_run(run_id, status="RUNNING")
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        self._client.log_dict(run_id, dict(config), "config.json")
        return run_id

    def create_trial(self, spec: TrialSpec, name: str, retry: int, began_at: int | None = None) -> str:
        """A new run for an attempt that began at this millisecond, or now. Returns its ID."""
        return self._create("trial", name, self._of_attempt(spec, retry) | _colour(spec), began_at)

    def find_trial(self, spec: TrialSpec, retry: int) -> str | None:
        """The open run of an attempt whose creation was never answered; None where there is none."""
        return next(self._open_runs(spec, retry), None)

    def delete_doubles(self, run_id: str, spec: TrialSpec, retry: int) -> None:
        """Deletes every other open run of an attempt."""
        for other in list(self._open_runs(spec, retry)):
            if other != run_id:
                self._client.delete_run(other)

    def _open_runs(self, spec: TrialSpec, retry: int) -> Iterator[str]:
        own = _having(self._of_attempt(spec, retry))
        return (run.run_id for run in self.runs("trial", running=True, condition=own))

    def _of_attempt(self, spec: TrialSpec, retry: int) -> dict[str, str]:
        return tags_of(spec) | {"poolstudy.attempt": str(retry)} | self._of_study()

    def _of_study(self) -> dict[str, str]:
        return {"poolstudy.book": self.study_uid} if self.study_uid else {}

    def open_reproduction(self, spec: TrialSpec, name: str, original: str, patch: str = "") -> str:
        """A new run that is to be compared with the run `original`. Returns its ID."""
        tags = tags_of(spec) | {"poolstudy.reproduces": original, **_colour(spec)}
        run_id = self._create("reproduction", name, tags)
        self.describe(run_id, spec, patch)
        return run_id

    def describe(self, run_id: str, spec: TrialSpec, patch: str = "") -> None:
        """Writes what a run is about to train. Like everything here but a new run, it may be done twice."""
        self._client.log_batch(run_id, params=[Param(key, value) for key, value in params_of(spec).items()])
        self._client.log_text(run_id, spec_text(spec), "spec.json")
        if patch:
            self._client.log_text(run_id, patch, "code.patch")

    def _create(self, kind: Kind, name: str, tags: Mapping[str, str], began_at: int | None = None) -> str:
        common = {
            "poolstudy.kind": kind,
            "poolstudy.study": self._study,
            "poolstudy.process": str(os.getpid()),
            "mlflow.user": _user(),
            "mlflow.source.name": "poolstudy",
        }
        tags = {**common, **tags}
        with no_retries():
            run = self._client.create_run(self.experiment_id, start_time=began_at, tags=tags, run_name=name)
        return checked(run.info.run_id)

    def log_epoch(self, run_id: str, record: EpochRecord) -> None:
        """The metrics of an epoch that has just ended; the step is the epoch."""
        self.log_epochs(run_id, [(_now(), record, {})])

    def log_epochs(self, run_id: str, epochs: Sequence[tuple[int, EpochRecord, Mapping[str, float]]]) -> None:
        """The metrics of epochs and the milliseconds at which they ended; the same again is no second point."""
        points = []
        for ended_at, record, system in epochs:
            values = record.model_dump(exclude={"epoch"})
            values["epoch_seconds"] = values.pop("seconds")
            values |= system
            points += [Metric(key, value, ended_at, record.epoch) for key, value in values.items()]
        for first in range(0, len(points), _BATCH):
            self._client.log_batch(run_id, metrics=points[first : first + _BATCH])

    def log_files(self, run_id: str, folder: Path, pattern: str = "*") -> None:
        """The files at the root of a trial's folder that fit the pattern."""
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith("."):  # what a process that died was writing
                self._client.log_artifact(run_id, str(path))

    def log_images(self, run_id: str, images: Path, drawn_at: int) -> None:
        """The pictures <key>.png in a folder, by their keys, for the grids of the chart view.

        As MLflow's `log_image`, which gives every call a file name of its own: here the same picture has the same one.
        """
        paths = sorted(images.glob("**/[!.]*.png"))
        if not paths:
            return
        with tempfile.TemporaryDirectory() as folder:
            for path in paths:
                key = path.relative_to(images).with_suffix("").as_posix()
                unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{run_id} {key}")
                stem = f"{key.replace('/', '~')}+step+0+timestamp+{drawn_at}+{unique}"
                shutil.copyfile(path, Path(folder) / f"{stem}.png")
                with Image.open(path) as image:
                    compress_image_size(image).save(Path(folder) / f"{stem}+compressed.webp")
            self._client.log_artifacts(run_id, folder, "images")
        self._client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True)

    def close_trial(
        self,
        run_id: str,
        state: State,
        *,
        result: TrialResult | None = None,
        reason: str = "",
        pictures: str = "",
        ended_at: int | None = None,
    ) -> None:
        """Ends a run: its state is its last word, so a run that has one has everything else.

        Args:
            result: what it reached; a failed trial's best values are no metrics, so that none ranks by them.
            reason: why it ended so.
            pictures: why it has none, if it should.
            ended_at: the millisecond at which it did; now, if left out.
        """
        ended_at = ended_at or _now()
        tags: dict[str, str] = {"poolstudy.state": state}
        if pictures:
            tags["poolstudy.pictures"] = pictures[:500]
        if result is not None:
            if state in ("complete", "pruned"):
                self._log_metrics(run_id, result.metrics(), ended_at)
            tags["poolstudy.stop_reason"] = result.stop_reason
            tags["poolstudy.weights_digest"] = result.weights_digest
            tags["poolstudy.untrained_digest"] = result.untrained_digest
        if reason:
            tags["poolstudy.reason"] = reason[:500]
        self._close(run_id, STATUS[state], tags, ended_at)

    def close_reproduction(self, run_id: str, state: State, verdict: str) -> None:
        """Ends a reproduction with its verdict: "identical", "equivalent", "different", or none."""
        tags = {"poolstudy.state": state} | ({"poolstudy.verdict": verdict} if verdict else {})
        self._close(run_id, STATUS[state], tags)

    def close_study(self, run_id: str, state: State, metrics: Mapping[str, float]) -> None:
        """Ends the study's own run, until it goes on."""
        self._log_metrics(run_id, metrics, _now())
        self._close(run_id, STATUS[state], {"poolstudy.state": state})

    def _close(self, run_id: str, status: str, tags: Mapping[str, str], ended_at: int | None = None) -> None:
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._client.set_terminated(run_id, status, ended_at)

    def _log_metrics(self, run_id: str, values: Mapping[str, float], at: int) -> None:
        self._client.log_batch(run_id, metrics=[Metric(key, value, at, 0) for key, value in values.items()])

    def runs(self, kind: Kind, running: bool = False, condition: str = "") -> Iterator[TrackedRun]:
        """The study's runs of a kind, oldest first; with `running` only those not ended.

        Args:
            condition: a further one, " and …", in MLflow's words.
        """
        which = f"tags.`poolstudy.kind` = '{kind}'" + (" and attributes.status = 'RUNNING'" if running else "")
        found = search(self._client, [self.experiment_id], which + condition, ["attributes.start_time"])
        return (_tracked(run) for run in found)

    def get(self, run_id: str) -> TrackedRun | None:
        """A run, or None where MLflow has none of this ID, or has it deleted."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return _tracked(run) if run.info.lifecycle_stage == "active" else None

    def share_view(self, key: str, view: Mapping[str, Any]) -> None:
        """Stores a view of the experiment's page, to be opened with `viewStateShareKey=key`.

        MLflow does not document this; a browser test holds it.
        """
        self._client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{key}", json.dumps(view))

    def annotate(self, note: str) -> None:
        """The experiment's description, in Markdown; one that is there stays, since a person may have written it."""
        if "mlflow.note.content" not in self._client.get_experiment(self.experiment_id).tags:
            self._client.set_experiment_tag(self.experiment_id, "mlflow.note.content", note)


def tags_of(spec: TrialSpec) -> dict[str, str]:
    """The tags of a run that tell its spec."""
    return {
        "poolstudy.trial": str(spec.slot),
        "poolstudy.spec_digest": spec.digest,
        "poolstudy.data_digest": spec.data.digest,
    }


def _having(tags: Mapping[str, str]) -> str:
    """The condition, for `Tracker.runs`, that a run has these tags."""
    return "".join(f" and tags.`{key}` = '{value}'" for key, value in tags.items())


def _colour(spec: TrialSpec) -> dict[str, str]:
    """The colour that the pages give a run; a user may choose another."""
    return {"mlflow.runColor": shade(spec.hyperparameters.pooling, spec.slot)}


def params_of(spec: TrialSpec) -> dict[str, str]:
    """The params of a run: read from the spec that trains."""
    training = {"epochs": spec.training.epochs, "patience": spec.training.patience, "seed": spec.seed}
    return {key: str(value) for key, value in (spec.hyperparameters.flat() | training).items()}


def spec_text(spec: TrialSpec) -> str:
    """The content of spec.json."""
    return json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"


def _now() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _tracked(run: Run) -> TrackedRun:
    tags = run.data.tags
    slot, retry = (int(tags.get(f"poolstudy.{name}", -1)) for name in ("trial", "attempt"))
    state = cast("State | None", tags.get("poolstudy.state"))
    return TrackedRun(run.info.run_id, slot, retry, state, run.data.metrics)
