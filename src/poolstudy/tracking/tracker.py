"""The tracker writes the runs of a study. Only one process writes."""

import getpass
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from PIL import Image

from poolstudy.errors import StoreError, cause
from poolstudy.spec.colours import shade
from poolstudy.spec.records import EpochRecord, State, TrialResult, TrialSpec
from poolstudy.system.formats import now_ms
from poolstudy.tracking import store
from poolstudy.tracking.run import STATUS, StoredRun, params_of, spec_text, tags_of

Kind = Literal["study", "trial", "reproduction"]
_BATCH = 1000  # metrics that MLflow takes in one call


class Tracker:
    """The runs of one study.

    Args:
        uri: MLflow's tracking URI; an SQLite path is relative to `root`, and a missing database is created.
        artifacts: folder of artifacts of SQLite stores, relative to `root`.
        study: name of the study, and of its MLflow experiment.
        restore: restore the experiment, with all its runs, if it was deleted.

    Attributes:
        artifacts: the folder of this study's artifacts; None if a server keeps them.
        study_uid: unique ID of Optuna's study, a tag of its runs: several projects may run a study of the same name on
            one server. If empty, the runs of all of them are taken.

    Raises:
        StoreError: the store cannot be used, or the project was moved and MLflow still uses the old folder.
    """

    def __init__(self, uri: str, artifacts: str, study: str, root: Path, *, restore: bool = True) -> None:
        self.uri = store.resolved_uri(uri, root)
        self.study_uid = ""
        self._study = study
        try:
            folder = (root / artifacts).resolve()
            local = store.database_of(self.uri) is not None
            if local:
                store.make_database(self.uri, folder)
            self._client = MlflowClient(self.uri)
            own = store.is_own(self.uri, root)
            self.experiment_id = self._experiment(folder / study if local else None, own, restore)
            self.artifacts = store.ArtifactFolder(folder / study) if local else None
        except (OSError, ImportError, *store.MLFLOW_ERRORS) as error:
            found = f"MLflow's store {uri} cannot be used ({cause(error)})"
            remedy = "start or repair it, or set another with tracking.uri"
            raise StoreError(found, "a store that can be written", remedy) from None

    def is_away(self, error: Exception) -> bool:
        """Return whether an upload may succeed later: the error is temporary, or the artifact folder was deleted."""
        return store.is_away(self.uri, error) or (self.artifacts is not None and self.artifacts.lost(error))

    def _experiment(self, folder: Path | None, own: bool, restore: bool) -> str:
        experiment = self._client.get_experiment_by_name(self._study)
        if experiment is None:
            return self._client.create_experiment(self._study, artifact_location=folder.as_uri() if folder else None)
        if folder and own:
            store.check_in_place(self._study, experiment.artifact_location, folder)
        experiment_id = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            if not restore:
                found = f"experiment {self._study} was deleted in MLflow"
                raise StoreError(found, "the experiment", f"restore it: mlflow experiments restore -x {experiment_id}")
            self._client.restore_experiment(experiment_id)
        return experiment_id

    def open_study(self, params: Mapping[str, object], config: Mapping[str, Any]) -> str:
        """Create or resume the study's own run; return its ID."""
        known = next(self.runs("study", condition=_tag_condition(self._study_tags())), None)
        run_id = known.run_id if known else self._create("study", self._study, self._study_tags())
        self._client.update_run(run_id, status="RUNNING")
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        self._client.log_dict(run_id, dict(config), "config.json")
        return run_id

    def create_trial(self, spec: TrialSpec, name: str, retry: int, began_at: int | None = None) -> str:
        """Create a run for an attempt that began at this Unix time in milliseconds, or now; return its ID."""
        return self._create("trial", name, self._attempt_tags(spec, retry) | _colour_tag(spec), began_at)

    def find_trial(self, spec: TrialSpec, retry: int) -> str | None:
        """Return the open run of an attempt whose creation got no reply; None if there is none."""
        return next(self._open_runs(spec, retry), None)

    def delete_doubles(self, run_id: str, spec: TrialSpec, retry: int) -> None:
        """Delete all other open runs of an attempt."""
        for other in list(self._open_runs(spec, retry)):
            if other != run_id:
                self._client.delete_run(other)

    def _open_runs(self, spec: TrialSpec, retry: int) -> Iterator[str]:
        condition = _tag_condition(self._attempt_tags(spec, retry))
        return (run.run_id for run in self.runs("trial", running=True, condition=condition))

    def _attempt_tags(self, spec: TrialSpec, retry: int) -> dict[str, str]:
        return tags_of(spec) | {"poolstudy.attempt": str(retry)} | self._study_tags()

    def _study_tags(self) -> dict[str, str]:
        return {"poolstudy.book": self.study_uid} if self.study_uid else {}

    def open_reproduction(self, spec: TrialSpec, name: str, original: str, patch: str = "") -> str:
        """Create a run that will be compared with the run `original`; return its ID."""
        tags = tags_of(spec) | _colour_tag(spec) | {"poolstudy.reproduces": original}
        run_id = self._create("reproduction", name, tags)
        self.describe(run_id, spec, patch)
        return run_id

    def describe(self, run_id: str, spec: TrialSpec, patch: str = "") -> None:
        """Write the spec of a run. It may be repeated, like all calls here that create no run."""
        self._client.log_batch(run_id, params=[Param(key, value) for key, value in params_of(spec).items()])
        self._client.log_text(run_id, spec_text(spec), "spec.json")
        if patch:
            self._client.log_text(run_id, patch, "code.patch")

    def _create(self, kind: Kind, name: str, tags: Mapping[str, str], began_at: int | None = None) -> str:
        tags = {
            "poolstudy.kind": kind,
            "poolstudy.study": self._study,
            "poolstudy.process": str(os.getpid()),
            "mlflow.user": _user(),
            "mlflow.source.name": "poolstudy",
            **tags,
        }
        retries, os.environ[store.RETRIES] = os.environ[store.RETRIES], "0"  # a retried creation can create two runs
        try:
            run = self._client.create_run(self.experiment_id, start_time=began_at, tags=tags, run_name=name)
        finally:
            os.environ[store.RETRIES] = retries
        return store.checked(run.info.run_id)

    def log_epoch(self, run_id: str, record: EpochRecord) -> None:
        """Log the metrics of an epoch that has just ended; the step is the epoch."""
        self.log_epochs(run_id, [(now_ms(), record, {})])

    def log_epochs(self, run_id: str, epochs: Sequence[tuple[int, EpochRecord, Mapping[str, float]]]) -> None:
        """Log epochs: end (Unix time in milliseconds), record and system metrics. Repeating one adds no point."""
        points = []
        for ended_at, record, system in epochs:
            values = record.model_dump(exclude={"epoch"})
            values["epoch_seconds"] = values.pop("seconds")
            values |= system
            points += [Metric(key, value, ended_at, record.epoch) for key, value in values.items()]
        for first in range(0, len(points), _BATCH):
            self._client.log_batch(run_id, metrics=points[first : first + _BATCH])

    def log_files(self, run_id: str, folder: Path, pattern: str = "*") -> None:
        """Upload the files at the root of a trial's folder that match the pattern."""
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith("."):  # a dot file: left by a process that died
                self._client.log_artifact(run_id, str(path))

    def log_images(self, run_id: str, images: Path, drawn_at: int) -> None:
        """Upload the pictures <key>.png of a folder for the image grids.

        Unlike MLflow's `log_image`, it gives a picture the same file name every time, so a second upload replaces it.
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
        """End a trial's run. Its state is written last, so a run that has a state is complete.

        Args:
            result: logged as metrics only for a complete or pruned trial, so that a failed one is never ranked.
            reason: for this state.
            pictures: the reason why there are none, if there should be.
            ended_at: Unix time in milliseconds; now by default.
        """
        ended_at = ended_at or now_ms()
        tags = {f"poolstudy.{key}": text[:500] for key, text in (("pictures", pictures), ("reason", reason)) if text}
        if result is not None:
            if state in ("complete", "pruned"):
                self._log_metrics(run_id, result.metrics(), ended_at)
            for key in ("stop_reason", "weights_digest", "untrained_digest"):
                tags[f"poolstudy.{key}"] = getattr(result, key)
        self._close(run_id, state, tags, ended_at)

    def close_reproduction(self, run_id: str, state: State, verdict: str) -> None:
        """End a reproduction with its verdict: "identical", "equivalent", "different" or ""."""
        self._close(run_id, state, {"poolstudy.verdict": verdict} if verdict else {})

    def close_study(self, run_id: str, state: State, metrics: Mapping[str, float]) -> None:
        """End the study's own run until the study is resumed."""
        self._log_metrics(run_id, metrics, now_ms())
        self._close(run_id, state, {})

    def _close(self, run_id: str, state: State, tags: Mapping[str, str], ended_at: int | None = None) -> None:
        tags = {"poolstudy.state": state, **tags}
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._client.set_terminated(run_id, STATUS[state], ended_at)

    def _log_metrics(self, run_id: str, values: Mapping[str, float], at: int) -> None:
        self._client.log_batch(run_id, metrics=[Metric(key, value, at, 0) for key, value in values.items()])

    def runs(self, kind: Kind, running: bool = False, condition: str = "") -> Iterator[StoredRun]:
        """Yield the study's runs of a kind, oldest first; a further `condition` starts with " and "."""
        query = f"tags.`poolstudy.kind` = '{kind}'" + (" and attributes.status = 'RUNNING'" if running else "")
        runs = store.search(self._client, [self.experiment_id], query + condition, ["attributes.start_time"])
        return (StoredRun.of(self._client, run) for run in runs)

    def get(self, run_id: str) -> StoredRun | None:
        """Return a run; None if there is no such run, or it was deleted."""
        run = store.get_run(self._client, run_id)
        return StoredRun.of(self._client, run) if run and run.info.lifecycle_stage == "active" else None

    def share_view(self, key: str, view: Mapping[str, Any]) -> None:
        """Store a view of the experiment's page (undocumented in MLflow, so a browser test checks it)."""
        self._client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{key}", json.dumps(view))

    def annotate(self, note: str) -> None:
        """Set the experiment's description (Markdown), unless it has one: a person may have written it."""
        if "mlflow.note.content" not in self._client.get_experiment(self.experiment_id).tags:
            self._client.set_experiment_tag(self.experiment_id, "mlflow.note.content", note)


def _tag_condition(tags: Mapping[str, str]) -> str:
    """Return the condition for `Tracker.runs` that a run has these tags."""
    return "".join(f" and tags.`{key}` = '{value}'" for key, value in tags.items())


def _colour_tag(spec: TrialSpec) -> dict[str, str]:
    return {"mlflow.runColor": shade(spec.hyperparameters.pooling, spec.slot)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())
