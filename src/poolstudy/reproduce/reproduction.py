"""Making a run again from what it says of itself, and saying whether it came out the same.

No configuration of today is consulted but where runs are tracked. The original run is only read.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolstudy.data.loading import load_search_data, resolved
from poolstudy.errors import (
    ConfigurationError,
    DataError,
    RecordTampered,
    RunNotFound,
    StoreError,
    TrialLost,
    one_line,
    printable,
)
from poolstudy.execution import EpochEnded, Failed, Finished, Lost
from poolstudy.execution.devices import find_gpus, hardware
from poolstudy.execution.local import LocalEngine
from poolstudy.reproduce.verdict import (
    METRICS,
    RunRecord,
    TrialOutcome,
    Verdict,
    data_differences,
    differences,
    judge,
    not_deterministic,
)
from poolstudy.spec.config import TrackingSection
from poolstudy.spec.datasets import DigitsData, IdxData
from poolstudy.spec.load import load_tracking
from poolstudy.spec.records import Device, EpochRecord, State, TrialSpec, digest_of
from poolstudy.system import logs
from poolstudy.system.files import replacing, writing_to
from poolstudy.terminal.progress import DownloadProgress
from poolstudy.tracking import MLFLOW_ERRORS, StoredRun, Tracker, find_run, reading_mlflow, resolved_uri
from poolstudy.trial import provenance, tasks

_KEY = ("reproduce", 0)


@dataclass(frozen=True)
class Reproduction:
    """What came of a reproduction: its verdict, the claim it was held against, what it reached, its own run."""

    verdict: Verdict
    original: RunRecord
    reached: TrialOutcome
    run_id: str


def reproduce(
    which: str, root: Path, console: Console, *, threads: int | None = None, data: Path | None = None
) -> Reproduction:
    """Trains a run's spec again and compares; the reproduction is a run of its own.

    Args:
        which: a run, as `find_run` takes it, or the path of a best.json.
        root: the project's folder.
        threads: of one operation; the original's, if left out.
        data: folder of the data's files, if not where the original found them.

    Raises:
        RunNotFound, StoreError, DataError: it cannot be read, or the data are not here.
        ClaimBroken: what the run says of itself does not fit together.
        TrialLost: the process that trained it died.
    """
    tracking = load_tracking(root)
    original = read_record(which, root, tracking)
    network = original.spec.hyperparameters.title()
    what = f"{original.name} of study {original.spec.study}, {network}, run {original.run_id}"
    console.print(f"Reproducing {printable(what)}", soft_wrap=True, markup=False)
    with DownloadProgress(console) as progress:
        found = load_search_data(_source(original, root, data), root, progress)
    log = root / "mlruns" / "logs" / "reproduce.log"
    threads = threads or original.threads
    with contextlib.closing(LocalEngine(tasks.run_task, tasks.PRELOAD, log, threads)) as engine:
        gpus = find_gpus(engine).gpus
        logs.redirect_logging(log)
        device = _device(original, gpus)
        tracker = Tracker(tracking.uri, tracking.artifacts, original.spec.study, root, restore=False)
        about = provenance.provenance(original.source) | hardware(device)
        try:
            run_id = tracker.open_reproduction(
                original.spec, f"{original.name}-reproduction", original.run_id, provenance.patch()
            )
            folder = root / "mlruns" / "staging" / "_reproductions" / run_id
            with _closing(tracker, run_id, folder) as close:
                parts = data_differences(original.spec.data, found.identity)
                if parts:  # other data: there is nothing to train
                    reasons = tuple(str(part) for part in parts)
                    verdict = Verdict(word="different", reasons=reasons, differences=parts)
                    reached = TrialOutcome()
                else:
                    saved = found.save(root / "mlruns" / "cache" / found.identity.digest[:16])
                    task = tasks.TrainTask(original.spec, saved, folder, device.name, threads, about)
                    reached = _trained(
                        engine, task, original, lambda one: _log(tracker, run_id, one, original, console)
                    )
                    now = json.loads((folder / "files" / "environment.json").read_text())
                    now.pop("data_source")  # where the data lay does not matter: what they are has been compared
                    loose = not_deterministic(
                        original.spec, (original.device, device.name), max(original.threads, threads)
                    )
                    verdict = judge(original.reached, reached, differences(original.environment, now), loose)
                outcome = Reproduction(verdict, original, reached, run_id)
                close(outcome)
        except (OSError, *MLFLOW_ERRORS) as error:
            found_text = f"a store or folder failed ({one_line(error)})"
            raise StoreError(found_text, "ones that can be written", "mend it, then try again") from None
    return outcome


def freeze(which: str, root: Path) -> Path:
    """Writes a run's claim to experiments/<study>/best.json, for git; the file's path.

    Raises:
        RunNotFound, StoreError, ClaimBroken: as for `reproduce`.
    """
    original = read_record(which, root, load_tracking(root))
    path = root / "experiments" / original.spec.study / "best.json"
    with writing_to(path), replacing(path) as file:
        file.write_text(original.to_json())
    return path


# The claim


def read_record(which: str, root: Path, tracking: TrackingSection) -> RunRecord:
    """What a run, or a best.json, says of itself, if it fits together."""
    if not which.endswith(".json"):
        uri = resolved_uri(tracking.uri, root)
        run = find_run(uri, which)
        with reading_mlflow(uri):
            return record_of(run)
    try:
        text = Path(which).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not there, no text, no name that a file can have
        raise ConfigurationError(
            f"{which}: {one_line(error)}", "a file that `poolstudy freeze` wrote", "name it"
        ) from None
    return RunRecord.from_json(text, which)


def record_of(run: StoredRun) -> RunRecord:
    """What a run says of itself.

    Raises:
        RunNotFound: it is no trial that reached an end.
        ClaimBroken: its files and what MLflow has of it contradict each other.
        StoreError: its files are not there.
    """
    spec, environment = _checked_spec(run), run.text("environment.json")
    if environment is None:
        raise StoreError(f"run {run.run_id} has no environment.json", "it among its artifacts", "restore the artifacts")
    try:
        content = json.loads(environment)
        original = RunRecord(
            run_id=run.run_id,
            name=run.name,
            spec=spec,
            reached=_reached(run),
            source=content.pop("data_source"),
            environment=content,
        )
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        reason = one_line(error)
        raise RecordTampered(f"environment.json of run {run.run_id}: {reason}", "it as written", "restore it") from None
    return original


def _checked_spec(run: StoredRun) -> TrialSpec:
    if run.kind != "trial":
        what = f"run {run.run_id} is a {run.kind or 'run of another program'}"
        raise RunNotFound(what, "a trial", "see its study's trials: poolstudy show ID")
    if run.state not in ("complete", "pruned", "failed"):
        raise RunNotFound(
            f"run {run.run_id} ({run.name}) is {run.standing}", "a complete, pruned or failed trial", "choose another"
        )
    text, spec = run.text("spec.json"), run.spec()
    if text is None or spec is None:
        raise StoreError(f"run {run.run_id} has no spec.json", "it among its artifacts", "restore the artifacts")
    tag, digest = run.tags.get("poolstudy.spec_digest", ""), digest_of(json.loads(text))
    if digest != tag:
        found = f"spec.json of run {run.run_id} has digest {digest[:16]}…"
        raise RecordTampered(found, f"{tag[:16]}…, which it was started with: it was changed", "restore it")
    return spec


def _reached(run: StoredRun) -> TrialOutcome:
    history, logged = run.history() or (), run.logged_epochs()
    for row, point in zip(history, logged, strict=False):
        for metric in METRICS:
            if getattr(row, metric) != getattr(point, metric):
                found = f"history.csv of run {run.run_id}: {metric} {getattr(row, metric)} in epoch {row.epoch}"
                raise RecordTampered(found, f"{getattr(point, metric)}, which was logged: it was changed", "restore it")
    if history and len(history) != len(logged):
        found = f"history.csv of run {run.run_id} has {len(history)} epochs"
        raise RecordTampered(found, f"{len(logged)}, which were logged: it was changed", "restore it")
    reached = TrialOutcome.model_validate(
        {
            "history": history,
            "stop_reason": run.tags.get("poolstudy.stop_reason", "failed"),
            "weights_digest": run.tags.get("poolstudy.weights_digest", ""),
            "untrained_digest": run.tags.get("poolstudy.untrained_digest", ""),
            "failure": run.tags.get("poolstudy.reason", ""),
        }
    )
    best = run.metrics.get("best_epoch")
    if best is not None and best != reached.best_epoch:
        found = f"run {run.run_id}: history.csv is {'not there' if not history else 'of another best epoch'}"
        raise RecordTampered(found, f"one whose best epoch is {best:g}", "restore the artifacts")
    return reached


def _source(original: RunRecord, root: Path, data: Path | None) -> IdxData | DigitsData:
    """Where to look for the data: where the original found them, if that is here.

    What is downloaded goes into the project's own folder, whatever the claim says: it may be a stranger's.
    """
    source = original.source
    if source.format == "digits":
        return source
    there = source.path if source.path and _is_here(source.path, root) else None
    search = (f"data/{source.name}", *source.search)
    return source.model_copy(update={"path": str(data) if data else there, "search": search})


def _is_here(folder: str, root: Path) -> bool:
    try:
        return resolved(folder, root).is_dir()
    except DataError:
        return False


# Training it again


def _device(original: RunRecord, gpus: Sequence[Device]) -> Device:
    """The original's device if it is here, else one of its kind, else the CPU."""
    if not (gpus and original.device.startswith("GPU")):
        return Device()
    return next((gpu for gpu in gpus if gpu.name == original.device), gpus[0])


def _trained(
    engine: LocalEngine, task: tasks.TrainTask, original: RunRecord, note: Callable[[EpochRecord], None]
) -> TrialOutcome:
    """What the spec reaches now, pruned where the original was."""
    pruned_after = len(original.reached.history) if original.reached.stop_reason == "pruned" else None
    engine.start(_KEY, task)
    try:
        while True:
            for event in engine.events(timeout=0.5):
                match event:
                    case EpochEnded(_, record):
                        note(record)
                        engine.answer(_KEY, record.epoch == pruned_after)
                    case Finished(_, result):
                        return TrialOutcome.of(result)
                    case Failed(_, reason):
                        return TrialOutcome(failure=reason[:500])  # as much as a run's tag has
                    case Lost(_, reason):
                        found = f"the reproduction was lost: {reason}"
                        raise TrialLost(found, "it trained", f"try again (see {engine.log})")
    finally:
        engine.stop(_KEY)  # before its folder goes


def _log(tracker: Tracker, run_id: str, record: EpochRecord, original: RunRecord, console: Console) -> None:
    tracker.log_epoch(run_id, record)
    before = original.reached.history[record.epoch - 1 : record.epoch]
    same = bool(before) and all(getattr(before[0], metric) == getattr(record, metric) for metric in METRICS)
    said = "as before" if same else "not as before"
    values = f"val_loss {record.val_loss:.6f}  val_accuracy {record.val_accuracy:.4f}"
    console.print(f"epoch {record.epoch}  {values}  {said}", soft_wrap=True)


@contextlib.contextmanager
def _closing(tracker: Tracker, run_id: str, folder: Path) -> Iterator[Callable[[Reproduction], None]]:
    """Closes the reproduction's run however the block ends."""
    state: State = "interrupted"
    verdict = ""

    def close(outcome: Reproduction) -> None:
        nonlocal state, verdict
        files = folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        content = {
            "verdict": outcome.verdict.model_dump(mode="json"),
            "then": outcome.original.reached.model_dump(mode="json"),
            "now": outcome.reached.model_dump(mode="json"),
        }
        (files / "comparison.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        with (files / "comparison.txt").open("w", encoding="utf-8") as file:
            print_outcome(outcome, Console(file=file, width=100))
        tracker.log_files(run_id, files)
        state, verdict = "complete", outcome.verdict.word

    try:
        yield close
    finally:
        tracker.close_reproduction(run_id, state, verdict)
        shutil.rmtree(folder, ignore_errors=True)


# Saying it

_MEANINGS = {
    "identical": "bit for bit: every metric of every epoch, and the weights",
    "equivalent": "within the tolerances, where other hardware, another library or what is not deterministic computed",
    "different": "not the same",
}
_STYLES = {"identical": "bold green", "equivalent": "bold yellow", "different": "bold red"}
_SAID = 12  # reasons and differences each; comparison.json has them all


def print_outcome(outcome: Reproduction, console: Console) -> None:
    """The verdict: epoch by epoch, what differs, and the word for it."""
    then, now, verdict = outcome.original.reached, outcome.reached, outcome.verdict
    if then.history or now.history:
        console.print(_epochs(then, now))
    sections = (
        ("It differs in:", verdict.reasons),
        ("Not as it was:", tuple(map(str, verdict.differences))),
        ("Not deterministic without training.deterministic=true:", verdict.not_deterministic),
    )
    for title, lines in sections:
        if lines:
            console.print(title)
            for line in lines[:_SAID]:
                console.print(f"  {printable(line)}", soft_wrap=True, markup=False)
            if len(lines) > _SAID:
                console.print(f"  and {len(lines) - _SAID} more, in comparison.json")
    said = Text.assemble((verdict.word, _STYLES[verdict.word]), f": {_MEANINGS[verdict.word]}")
    console.print(said, soft_wrap=True)


def _epochs(then: TrialOutcome, now: TrialOutcome) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("epoch", "val_loss then", "now", "val_accuracy then", "now", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for number in range(max(len(then.history), len(now.history))):
        pair = [one.history[number] if number < len(one.history) else None for one in (then, now)]
        loss = [f"{record.val_loss:.8f}" if record else "-" for record in pair]
        accuracy = [f"{record.val_accuracy:.6f}" if record else "-" for record in pair]
        old, new = pair
        same = old and new and all(getattr(old, metric) == getattr(new, metric) for metric in METRICS)
        best = "*" if then.best_epoch == number + 1 else " "
        table.add_row(f"{best}{number + 1}", *loss, *accuracy, "=" if same else "differs")
    table.caption = "* the best epoch; = every metric bit for bit"
    table.caption_justify = "left"
    return table
