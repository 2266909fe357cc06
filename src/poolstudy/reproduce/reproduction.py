"""Training a run again from its record; of today's configuration, only the tracking settings are read."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from poolstudy.data.loading import SearchData, load_search_data, resolved
from poolstudy.errors import DataError, StoreError, TrialLost, one_line, printable
from poolstudy.execution import EpochEnded, Failed, Finished, Lost
from poolstudy.execution.devices import find_gpus, hardware
from poolstudy.execution.local import LocalEngine
from poolstudy.reproduce import verdict
from poolstudy.reproduce.printing import print_outcome
from poolstudy.reproduce.record import RunRecord, TrialOutcome, read_record
from poolstudy.reproduce.verdict import Reproduction, Verdict
from poolstudy.spec.datasets import DataSettings
from poolstudy.spec.load import load_tracking
from poolstudy.spec.records import Device, EpochRecord
from poolstudy.system import logs
from poolstudy.system.files import replacing, writing_to
from poolstudy.terminal.progress import DownloadProgress
from poolstudy.tracking import MLFLOW_ERRORS, Tracker
from poolstudy.trial import provenance, tasks

_KEY = ("reproduce", 0)


def reproduce(
    which: str, root: Path, console: Console, *, threads: int | None = None, data: Path | None = None
) -> Reproduction:
    """Train a run's spec again and compare; the reproduction is a run of its own.

    Args:
        which: a run, as `find_run` takes it, or the path of a best.json.
        threads: of one operation; those of the original by default.
        data: folder of the data's files, if not where the original found them.

    Raises:
        RunNotFound, ConfigurationError, StoreError, DataError: the run or its data cannot be read.
        RecordTampered: the run's record was changed.
        TrialLost: the worker process died.
    """
    tracking = load_tracking(root)
    original = read_record(which, root, tracking)
    network = original.spec.hyperparameters.title()
    title = f"{original.name} of study {original.spec.study}, {network}, run {original.run_id}"
    console.print(f"Reproducing {printable(title)}", soft_wrap=True, markup=False)
    with DownloadProgress(console) as progress:
        search_data = load_search_data(_source(original, root, data), root, progress)
    log = root / "mlruns" / "logs" / "reproduce.log"
    threads = threads or original.threads
    with contextlib.closing(LocalEngine(tasks.run_task, tasks.PRELOAD, log, threads)) as engine:
        device = _device(original, find_gpus(engine).gpus)
        logs.redirect_logging(log)
        tracker = Tracker(tracking.uri, tracking.artifacts, original.spec.study, root, restore=False)
        try:
            return _Reproducer(original, search_data, root, engine, device, threads, tracker, console).reproduce()
        except (OSError, *MLFLOW_ERRORS) as error:
            found = f"a store or folder failed ({one_line(error)})"
            raise StoreError(found, "ones that can be written", "fix it, then try again") from None


def freeze(which: str, root: Path) -> Path:
    """Write a run's record to experiments/<study>/best.json, for git; return the path. Raises as `read_record`."""
    original = read_record(which, root, load_tracking(root))
    path = root / "experiments" / original.spec.study / "best.json"
    with writing_to(path), replacing(path) as file:
        file.write_text(original.to_json())
    return path


def _source(original: RunRecord, root: Path, data: Path | None) -> DataSettings:
    """Return where to look for the data: where the original found them, if that folder exists here.

    Downloads go into the project's own folder, because the record may be someone else's.
    """
    source, path = original.source, None
    if source.format == "digits":
        return source
    with contextlib.suppress(DataError):  # the home folder of a user who is unknown here
        path = source.path if source.path and resolved(source.path, root).is_dir() else None
    search = (f"data/{source.name}", *source.search)
    return source.model_copy(update={"path": str(data) if data else path, "search": search})


def _device(original: RunRecord, gpus: Sequence[Device]) -> Device:
    """Return the original's device if it is here, else one of its kind, else the CPU."""
    if not (gpus and original.device.startswith("GPU")):
        return Device()
    return next((gpu for gpu in gpus if gpu.name == original.device), gpus[0])


@dataclass(frozen=True)
class _Reproducer:
    original: RunRecord
    data: SearchData
    root: Path
    engine: LocalEngine
    device: Device
    threads: int
    tracker: Tracker
    console: Console

    def reproduce(self) -> Reproduction:
        """Open the reproduction's run, train, compare, and close the run in any case."""
        name = f"{self.original.name}-reproduction"
        run_id = self.tracker.open_reproduction(self.original.spec, name, self.original.run_id, provenance.patch())
        folder = self.root / "mlruns" / "staging" / "_reproductions" / run_id
        word = ""
        try:
            outcome = self._compare(run_id, folder)
            self._upload(outcome, folder)
            word = outcome.verdict.word
            return outcome
        finally:
            self.tracker.close_reproduction(run_id, "complete" if word else "interrupted", word)
            shutil.rmtree(folder, ignore_errors=True)

    def _compare(self, run_id: str, folder: Path) -> Reproduction:
        original, spec = self.original, self.original.spec
        changed = verdict.data_differences(spec.data, self.data.identity)
        if changed:  # other data: nothing to train
            different = Verdict(word="different", reasons=tuple(map(str, changed)), differences=changed)
            return Reproduction(different, original, TrialOutcome(), run_id)
        saved = self.data.save(self.root / "mlruns" / "cache" / self.data.identity.digest[:16])
        about = provenance.provenance(original.source) | hardware(self.device)
        reached = self._train(run_id, tasks.TrainTask(spec, saved, folder, self.device.name, self.threads, about))
        environment = json.loads((folder / "files" / "environment.json").read_text())
        environment.pop("data_source")  # the data themselves have been compared
        differences = verdict.differences(original.environment, environment)
        devices, threads = (original.device, self.device.name), max(original.threads, self.threads)
        nondeterministic = verdict.not_deterministic(spec, devices, threads)
        judged = verdict.judge(original.reached, reached, differences, nondeterministic)
        return Reproduction(judged, original, reached, run_id)

    def _train(self, run_id: str, task: tasks.TrainTask) -> TrialOutcome:
        """Train the spec, pruned where the original was."""
        before = self.original.reached
        pruned_after = len(before.history) if before.stop_reason == "pruned" else None
        self.engine.start(_KEY, task)
        try:
            while True:
                for event in self.engine.events(timeout=0.5):
                    match event:
                        case EpochEnded(_, record):
                            self._log(run_id, record)
                            self.engine.answer(_KEY, record.epoch == pruned_after)
                        case Finished(_, result):
                            return TrialOutcome.of(result)
                        case Failed(_, reason):
                            return TrialOutcome(failure=reason[:500])  # the length of a run's tag
                        case Lost(_, reason):
                            found = f"the reproduction was lost: {reason}"
                            raise TrialLost(found, "it trained", f"try again (see {self.engine.log})")
        finally:
            self.engine.stop(_KEY)  # before its folder is removed

    def _log(self, run_id: str, record: EpochRecord) -> None:
        self.tracker.log_epoch(run_id, record)
        before = self.original.reached.history[record.epoch - 1 : record.epoch]
        mark = "as before" if before and verdict.same_metrics(before[0], record) else "not as before"
        values = f"val_loss {record.val_loss:.6f}  val_accuracy {record.val_accuracy:.4f}"
        self.console.print(f"epoch {record.epoch}  {values}  {mark}", soft_wrap=True)

    def _upload(self, outcome: Reproduction, folder: Path) -> None:
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
        self.tracker.log_files(outcome.run_id, files)
