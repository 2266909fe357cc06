"""Record of a run: everything that a reproduction needs and is compared with."""

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator

from poolstudy.errors import ConfigurationError, RecordTampered, RunNotFound, StoreError, one_line
from poolstudy.spec.config import TrackingSection
from poolstudy.spec.datasets import DataSettings
from poolstudy.spec.frozen import Frozen, unknown_keys
from poolstudy.spec.records import EPOCH_METRICS, EpochRecord, StopReason, TrialResult, TrialSpec, best_epoch, digest_of
from poolstudy.tracking import StoredRun, find_run, reading_mlflow, resolved_uri


class TrialOutcome(Frozen):
    """Outcome of a trial; one that failed in its first epoch has no history and empty digests."""

    history: tuple[EpochRecord, ...] = ()
    stop_reason: StopReason = "failed"
    weights_digest: str = ""
    untrained_digest: str = ""
    failure: str = ""

    @classmethod
    def of(cls, result: TrialResult) -> Self:
        return cls(**result.model_dump(include=set(cls.model_fields)))

    @property
    def best_epoch(self) -> int | None:
        return best_epoch(self.history) if self.history else None


class RunRecord(Frozen):
    """Record of a run, read from MLflow or from a best.json.

    Attributes:
        source: settings by which its data were found.
        environment: code, machine and software that computed it: its environment.json.
    """

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    name: str
    spec: TrialSpec
    reached: TrialOutcome
    source: DataSettings
    environment: dict[str, Any]

    @field_validator("environment")
    @classmethod
    def _threads_are_in_range(cls, environment: dict[str, Any]) -> dict[str, Any]:
        """Refuse more threads than a study may have: the record may be someone else's, and they are started."""
        threads = environment.get("threads", 1)
        if type(threads) is not int or not 1 <= threads <= 1024:
            raise ValueError(f"threads is {threads!r}, not a whole number from 1 to 1024")
        return environment

    @property
    def threads(self) -> int:
        return int(self.environment.get("threads", 1))

    @property
    def device(self) -> str:
        return str(self.environment.get("device", "CPU:0"))

    def to_json(self) -> str:
        """Return readable JSON that includes the record's SHA-256."""
        content = self.model_dump(mode="json")
        return json.dumps({"sha256": digest_of(content), **content}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """Read a record from the JSON of `to_json`.

        Raises:
            RecordTampered: it is not valid, or was changed.
            StoreError: a later version wrote it.
        """
        remedy = "restore the file, or freeze the run again"
        try:
            content = json.loads(text)
            expected = content.pop("sha256", "") if isinstance(content, dict) else ""
            digest = digest_of(content)
            if digest == expected:
                return cls.model_validate(content)
        except ValueError as error:
            if keys := isinstance(error, ValidationError) and unknown_keys(error):
                found, update = f"{name} has {keys}, which this version does not know", "update poolstudy"
                raise StoreError(found, "keys of this version", f"a later version wrote it: {update}") from None
            raise RecordTampered(f"{name}: {one_line(error)}", "a run that was frozen", remedy) from None
        expected = f"{expected[:16] or 'its own'}…: it was changed"
        raise RecordTampered(f"{name} has SHA-256 {digest[:16]}…", expected, remedy)


def read_record(which: str, root: Path, tracking: TrackingSection) -> RunRecord:
    """Return the record of a run, or of a best.json. Raises as `record_of` and `RunRecord.from_json`."""
    if not which.endswith(".json"):
        uri = resolved_uri(tracking.uri, root)
        run = find_run(uri, which)
        with reading_mlflow(uri):
            return record_of(run)
    try:
        text = Path(which).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # missing, not text, or not a valid file name
        found = f"{which}: {one_line(error)}"
        raise ConfigurationError(found, "a file that `poolstudy freeze` wrote", "name it") from None
    return RunRecord.from_json(text, which)


def record_of(run: StoredRun) -> RunRecord:
    """Return the record of a run.

    Raises:
        RunNotFound: it is not a complete, pruned or failed trial.
        RecordTampered: its files contradict MLflow.
        StoreError: its files are missing.
    """
    spec, environment = _checked_spec(run), run.text("environment.json")
    if environment is None:
        raise StoreError(f"run {run.run_id} has no environment.json", "it among its artifacts", "restore the artifacts")
    try:
        content = json.loads(environment)
        source, reached = content.pop("data_source"), _checked_outcome(run)
        named = {"run_id": run.run_id, "name": run.name}
        return RunRecord(**named, spec=spec, reached=reached, source=source, environment=content)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        reason = one_line(error)
        raise RecordTampered(f"environment.json of run {run.run_id}: {reason}", "it as written", "restore it") from None


def _checked_spec(run: StoredRun) -> TrialSpec:
    """Return the spec of an ended trial, after comparing its digest with the one that MLflow has."""
    if run.kind != "trial":
        found = f"run {run.run_id} is a {run.kind or 'run of another program'}"
        raise RunNotFound(found, "a trial", "see its study's trials: poolstudy show ID")
    if run.state not in ("complete", "pruned", "failed"):
        found = f"run {run.run_id} ({run.name}) is {run.standing}"
        raise RunNotFound(found, "a complete, pruned or failed trial", "choose another")
    text, spec = run.text("spec.json"), run.spec()
    if text is None or spec is None:
        raise StoreError(f"run {run.run_id} has no spec.json", "it among its artifacts", "restore the artifacts")
    tag, digest = run.tags.get("poolstudy.spec_digest", ""), digest_of(json.loads(text))
    if digest != tag:
        found = f"spec.json of run {run.run_id} has digest {digest[:16]}…"
        raise RecordTampered(found, f"{tag[:16]}…, which it was started with: it was changed", "restore it")
    return spec


def _checked_outcome(run: StoredRun) -> TrialOutcome:
    """Return the outcome of a run, after comparing its history.csv with the metrics that MLflow has."""
    history, logged = run.history() or (), run.logged_epochs()
    for row, point in zip(history, logged, strict=False):
        for metric in EPOCH_METRICS:
            value, expected = getattr(row, metric), getattr(point, metric)
            if value != expected:
                found = f"history.csv of run {run.run_id}: {metric} {value} in epoch {row.epoch}"
                raise RecordTampered(found, f"{expected}, which was logged: it was changed", "restore it")
    if history and len(history) != len(logged):
        found = f"history.csv of run {run.run_id} has {len(history)} epochs"
        raise RecordTampered(found, f"{len(logged)}, which were logged: it was changed", "restore it")
    values = {
        "history": history,
        "stop_reason": run.tags.get("poolstudy.stop_reason", "failed"),
        "weights_digest": run.tags.get("poolstudy.weights_digest", ""),
        "untrained_digest": run.tags.get("poolstudy.untrained_digest", ""),
        "failure": run.tags.get("poolstudy.reason", ""),
    }
    outcome = TrialOutcome.model_validate(values)
    best = run.metrics.get("best_epoch")
    if best is not None and best != outcome.best_epoch:
        found = f"run {run.run_id}: history.csv is {'of another best epoch' if history else 'not there'}"
        raise RecordTampered(found, f"one whose best epoch is {best:g}", "restore the artifacts")
    return outcome
