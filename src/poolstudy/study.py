"""Running a study: one coordinator asks Optuna, feeds the workers and writes MLflow.

The order of writing makes the two books agree whenever the coordinator dies: an attempt is opened in
Optuna, then in MLflow; it is closed in MLflow, then in Optuna. `_Coordinator._recover` reads from that.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from poolstudy import dashboard, worker
from poolstudy.config import StudyConfig
from poolstudy.data import SearchData, load_search_data
from poolstudy.devices import find_gpus, nvidia_note, places
from poolstudy.display import Display
from poolstudy.errors import ProgramMissing, StoreError, StudyStopped, one_line
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.lock import study_lock
from poolstudy.records import Ended, State, TrialResult, trial_name

if TYPE_CHECKING:  # they take seconds to import: run_study does it while the server of workers starts
    from poolstudy.search import Attempt, Search
    from poolstudy.tracking import Tracker
    from poolstudy.training import Device

UI_SERVER = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Outcome:
    """How a study stands when `run_study` returns.

    Attributes:
        ended: the trials that count, best first.
        exhausted: the space held no configuration that had not been tried.
        interrupted: the signal that stopped it, or None.
        dashboard: its address, once `poolstudy ui` runs.
    """

    ended: list[Ended]
    exhausted: bool
    interrupted: int | None
    dashboard: str


def run_study(config: StudyConfig, root: Path, console: Console) -> Outcome:
    """Runs a study until its trials are done, or goes on with one that was stopped.

    Args:
        root: the project's folder; its mlruns/ holds all that is written.

    Raises:
        PoolstudyError: something is missing, or too many trials fail; what was done is kept.
    """
    if shutil.which("dot") is None:
        raise ProgramMissing("no program `dot`", "Graphviz, which draws the diagrams", "install graphviz (make setup)")
    mlruns = root / "mlruns"
    with study_lock(mlruns / "locks", config.study.name):
        data = load_search_data(config.data, root, _DownloadProgress(console))
        log = mlruns / "logs" / f"{config.study.name}.log"
        execution = config.execution
        with contextlib.closing(
            LocalEngine(worker.run_task, worker.PRELOAD, log, execution.threads_per_worker, execution.trial_timeout)
        ) as engine:
            from poolstudy import tracking
            from poolstudy.search import STORE_ERRORS, Search

            gpus = find_gpus(engine, execution.require_gpu)
            tracker = tracking.Tracker(config.tracking.uri, config.tracking.artifacts, config.study.name, root)
            search = Search(mlruns / "optuna.db", config, data.identity)
            coordinator = _Coordinator(config, mlruns, data, engine, gpus, tracker, search, console)
            try:
                return coordinator.run()
            except (OSError, *tracking.STORE_ERRORS, *STORE_ERRORS) as error:
                raise StoreError(
                    f"a store or folder of the study failed ({one_line(error)})",
                    "stores that can be written",
                    "mend it; the same command then goes on",
                ) from None


class _DownloadProgress:
    """Says how far a download is, at every tenth of the file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, int] = {}

    def __call__(self, file: str, done: int, total: int | None) -> None:
        tenth = done * 10 // total if total else done >> 22
        if self._said.get(file) != tenth:
            self._said[file] = tenth
            share = f"{done * 100 // total} %" if total else f"{done >> 20} MiB"
            self._console.print(f"downloading {file}: {share}", highlight=False)


@dataclass(frozen=True)
class _Running:
    """An attempt that is being trained, its run and its device."""

    attempt: "Attempt"
    run_id: str
    device: str


class _Coordinator:
    """The loop: start what there is room for, hear what happens, write it down."""

    def __init__(
        self,
        config: StudyConfig,
        mlruns: Path,
        data: SearchData,
        engine: LocalEngine,
        gpus: "list[Device]",
        tracker: "Tracker",
        search: "Search",
        console: Console,
    ) -> None:
        self._config = config
        self._engine, self._tracker, self._search = engine, tracker, search
        self._staging = mlruns / "staging" / config.study.name
        shutil.rmtree(self._staging, ignore_errors=True)
        self._data = data.save(mlruns / "cache" / data.identity.digest[:16])
        self._running: dict[int, _Running] = {}
        self._gpus = gpus
        self._free = places(config.execution, gpus)
        self._failures_in_a_row = 0
        self._last_reason = ""
        self._exhausted = False
        self._signal: int | None = None
        self._began = time.monotonic()
        self._display = Display(console, config.study.trials, config.training.epochs)

    def run(self) -> Outcome:
        config = self._config
        self._recover()
        study_run = self._tracker.open_study(_study_params(config), config.model_dump(mode="json"))
        link = self._share_dashboard()
        state: State = "interrupted"
        with self._signals():
            try:
                with self._display:
                    self._say_devices()
                    self._display.began(len(self._search.ended()), self._best())
                    self._loop()
                self._check_failures()
                done = len(self._search.ended()) >= config.study.trials or self._exhausted
                state = "complete" if done else "interrupted"
            except StudyStopped:
                state = "failed"
                raise
            finally:
                self._interrupt_running()
                self._close_study(study_run, state)
        return Outcome(self._search.ended(), self._exhausted, self._signal, link)

    # Before

    def _recover(self) -> None:
        """Closes in both books what a coordinator that died left open; its slots are tried again."""
        open_runs = {(run.slot, run.retry): run.run_id for run in self._tracker.runs("trial", running=True)}
        for attempt, known_run in self._search.unfinished():
            known = known_run or open_runs.get((attempt.slot, attempt.retry))
            # Killed before it had a run, or the run was deleted: it gets one, so that the books agree.
            run = (self._tracker.get(known) if known else None) or self._tracker.get(self._open_run(attempt))
            assert run is not None
            self._search.opened_run(attempt, run.run_id)
            # A run that has a state has everything else: it had ended, and Optuna was not told.
            state: State = run.state or "interrupted"
            self._tracker.close_trial(run.run_id, state)
            self._search.end(attempt.number, state, objective=run.metrics.get(self._config.study.objective.metric))

    def _open_run(self, attempt: "Attempt") -> str:
        return self._tracker.open_trial(attempt.spec, attempt.name, attempt.retry)

    def _share_dashboard(self) -> str:
        from poolstudy.tracking import dashboard_link

        objective = self._config.study.objective
        params = list(self._config.space.dimensions())
        convolutions = [f"conv_{number}" for number in range(1, len(self._config.space.filters) + 1)]
        images = ["curves/learning", *(f"weights/{layer}" for layer in convolutions), "model/diagram"]
        view = dashboard.view(objective.metric, objective.direction == "maximize", params, images)
        self._tracker.share_view(dashboard.VIEW_KEY, view)
        server = self._tracker.uri if self._tracker.uri.startswith("http") else UI_SERVER
        return dashboard_link(server, self._tracker.experiment_id, dashboard.VIEW_KEY)

    def _say_devices(self) -> None:
        for gpu in self._gpus:
            self._display.say(f"Found GPU at: /device:{gpu.name} ({gpu.description})")
        if not self._gpus:
            self._display.say(f"No GPU that TensorFlow can use{nvidia_note()}: training on the CPU.")

    # The loop

    def _loop(self) -> None:
        while self._signal is None:
            self._fill()
            if not self._engine.running():
                return
            for event in self._engine.events(timeout=0.5):
                self._hear(event)
            self._check_failures_in_a_row()

    def _fill(self) -> None:
        """Starts attempts while there is a free place and something left to do."""
        study = self._config.study
        while self._free and self._signal is None:
            wanted = study.trials - len(self._search.ended()) - len(self._running)
            over = study.timeout is not None and time.monotonic() - self._began > study.timeout
            if wanted <= 0 or over:
                return
            attempt = self._search.next_attempt(self._config.execution.retries)
            if attempt is None:
                self._exhausted = not self._running  # one of those may yet be lost, and tried again
                return
            self._start(attempt)

    def _start(self, attempt: "Attempt") -> None:
        run_id = self._open_run(attempt)
        self._search.opened_run(attempt, run_id)
        device = self._free.pop(0)
        task = worker.Task(
            spec=attempt.spec,
            data=self._data,
            folder=self._staging / run_id,
            device=device,
            threads=self._config.execution.threads_per_worker,
            diagram_dpi=self._config.tracking.diagram_dpi,
        )
        self._running[attempt.number] = _Running(attempt, run_id, device)
        self._display.started(attempt.number, attempt.name, attempt.spec.hyperparameters)
        self._engine.start(attempt.number, task)

    def _hear(self, event: Event) -> None:
        match event:
            case EpochEnded(key, record):
                prune = self._search.report(key, record)
                self._engine.answer(key, prune)
                self._tracker.log_epoch(self._running[key].run_id, record)
                self._display.epoch(key, record)
            case Finished(key, result):
                self._close(key, "pruned" if result.stop_reason == "pruned" else "complete", result=result)
            case Failed(key, reason):
                self._close(key, "failed", reason=reason)
            case Lost(key, reason):
                self._close(key, "lost", reason=reason)

    def _close(self, key: int, state: State, *, result: TrialResult | None = None, reason: str = "") -> None:
        """Ends an attempt in MLflow, then in Optuna; only then is it no longer running."""
        running = self._running[key]
        folder = self._staging / running.run_id
        if result:
            self._tracker.log_files(running.run_id, folder)
            self._tracker.log_images(running.run_id, folder / "images")
        else:
            self._tracker.log_files(running.run_id, folder, "*.json")  # others may be half written
        self._tracker.close_trial(running.run_id, state, result=result, reason=reason)
        objective = self._search.objective(result) if result else None
        self._search.end(key, state, objective=objective, reason=reason)
        del self._running[key]
        self._free.append(running.device)
        shutil.rmtree(folder, ignore_errors=True)
        self._display.ended(key, state, len(self._search.ended()), self._best(), reason)
        if result:
            self._failures_in_a_row = 0
        elif not self._search.tries_again(running.attempt.slot, self._config.execution.retries):
            self._failures_in_a_row += 1
            self._last_reason = reason

    def _check_failures_in_a_row(self) -> None:
        if self._failures_in_a_row >= self._config.execution.max_failures_in_a_row:
            raise StudyStopped(
                f"{self._failures_in_a_row} trials failed in a row, the last because {self._last_reason}",
                "trials that train",
                "change the configuration, or raise execution.max_failures_in_a_row",
            )

    def _check_failures(self) -> None:
        """A space that holds nothing new is an end, but not a good one where configurations failed."""
        failed, ended = self._search.failed(), len(self._search.ended())
        if self._exhausted and failed:
            raise StudyStopped(
                f"{ended} trials done and {failed[0]} failed, the last because {failed[1]}",
                f"{self._config.study.trials}, and the space holds no other configuration",
                f"change the configuration, under another study.name ({self._engine.log})",
            )

    # After

    def _interrupt_running(self) -> None:
        self._engine.close()
        for number, running in self._running.items():
            self._tracker.close_trial(running.run_id, "interrupted")
            self._search.end(number, "interrupted")
        self._running.clear()
        self._search.close()
        shutil.rmtree(self._staging, ignore_errors=True)

    def _close_study(self, run_id: str, state: State) -> None:
        ended = self._search.ended()
        metrics = {"trials": float(len(ended))}
        if best := self._best():
            metrics[self._config.study.objective.metric] = best[0]
        self._tracker.close_study(run_id, state, metrics)

    def _best(self) -> tuple[float, str] | None:
        ended = self._search.ended()
        complete = next((one for one in ended if one.state == "complete"), None)
        return (complete.objective, trial_name(complete.slot)) if complete else None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """A first Ctrl-C or SIGTERM stops in good order, a second one at once."""

        def note(number: int, _: FrameType | None) -> None:
            if self._signal is not None:
                os._exit(128 + number)
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _study_params(config: StudyConfig) -> dict[str, object]:
    return {
        "seed": config.study.seed,
        "sampler": config.sampler.name,
        "pruner": config.pruner.name,
        "objective": config.study.objective.metric,
        "data": config.data.name,
    }
