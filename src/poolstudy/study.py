"""Running a study: one coordinator asks Optuna, feeds the workers and writes MLflow.

Optuna's book is written first, MLflow's follows: an attempt that has ended lies whole in its folder, is told to
Optuna, and then delivered to MLflow (`delivery.py`). `_Coordinator._recover` reads from that whenever one died.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from poolstudy import chatter, dashboard, provenance, worker
from poolstudy.config import StudyConfig
from poolstudy.data import load_search_data
from poolstudy.delivery import JOB as DRAW
from poolstudy.delivery import Delivery, Parcel
from poolstudy.devices import cores, find_gpus, nvidia_note, places
from poolstudy.display import Display
from poolstudy.errors import ProgramMissing, StoreError, StudyStopped, one_line
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.lock import study_lock
from poolstudy.outlook import Outlook, Room, look_ahead, measure
from poolstudy.progress import DownloadProgress
from poolstudy.records import Ended, State

if TYPE_CHECKING:  # they take seconds to import: run_study does it while the server of workers starts
    from poolstudy.search import Attempt, Search
    from poolstudy.tracking import Tracker
    from poolstudy.training import Device


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


def run_study(config: StudyConfig, root: Path, console: Console, *, quiet: bool = False) -> Outcome:
    """Runs a study until its trials are done, or goes on with one that was stopped.

    Args:
        root: the project's folder; its mlruns/ holds all that is written.
        quiet: say failures only.

    Raises:
        PoolstudyError: something is missing, or too many trials fail; what was done is kept.
    """
    if shutil.which("dot") is None:
        raise ProgramMissing("no program `dot`", "Graphviz, which draws the diagrams", "install graphviz (make setup)")
    mlruns = root / "mlruns"
    with study_lock(mlruns / "locks", config.study.name):
        with DownloadProgress(console, quiet=quiet) as progress:
            data = load_search_data(config.data, root, progress)
        log = mlruns / "logs" / f"{config.study.name}.log"
        execution = config.execution
        with contextlib.closing(
            LocalEngine(worker.run_task, worker.PRELOAD, log, execution.threads_per_worker)
        ) as engine:
            from poolstudy import tracking
            from poolstudy.search import STORE_ERRORS, Search

            chatter.keep_in(log)
            gpus = find_gpus(engine, execution.require_gpu)
            devices = places(execution, gpus)
            search = Search(mlruns / "optuna.db", config, data.identity)
            saved = data.save(mlruns / "cache" / data.identity.digest[:16])
            with ThreadPoolExecutor(1, "outlook") as beside:  # MLflow's store takes seconds to open
                measuring = (
                    None if search.ended() else beside.submit(measure, config, data.identity, saved, engine, devices[0])
                )
                tracker = tracking.Tracker(config.tracking.uri, config.tracking.artifacts, config.study.name, root)
            measured = measuring.result() if measuring else None
            outlook = look_ahead(config, data.identity, len(devices), search.ended(), tracker, measured)
            coordinator = _Coordinator(
                config, mlruns, saved, engine, gpus, devices, tracker, search, outlook, console, quiet=quiet
            )
            try:
                return coordinator.run()
            except (OSError, *tracking.STORE_ERRORS, *STORE_ERRORS) as error:
                raise StoreError(
                    f"a store or folder of the study failed ({one_line(error)})",
                    "stores that can be written",
                    "mend it; the same command then goes on",
                ) from None


@dataclass(frozen=True)
class _Running:
    """An attempt that is being trained, its run and its device."""

    attempt: "Attempt"
    run_id: str
    device: str


_TRAIN = "train"
_PATIENCE = 8.0  # seconds that pictures may take after a first Ctrl-C


class _Coordinator:
    """The loop: start what there is room for, hear what happens, write it down."""

    def __init__(
        self,
        config: StudyConfig,
        mlruns: Path,
        data: Path,
        engine: LocalEngine,
        gpus: "list[Device]",
        devices: list[str],
        tracker: "Tracker",
        search: "Search",
        outlook: Outlook,
        console: Console,
        *,
        quiet: bool,
    ) -> None:
        self._config = config
        self._engine, self._tracker, self._search = engine, tracker, search
        self._staging = mlruns / "staging" / config.study.name
        self._data, self._outlook, self._mlruns = data, outlook, mlruns
        self._running: dict[int, _Running] = {}
        self._gpus = gpus
        self._about = provenance.provenance(config.data)
        self._patch = provenance.patch()
        self._free = list(devices)
        self._delivery = Delivery(engine, tracker, self._staging, self._data, config.tracking.figures, at_once=cores())
        self._failures_in_a_row = 0
        self._last_reason = ""
        self._exhausted = False
        self._signal: int | None = None
        self._began = time.monotonic()
        self._display = Display(
            console,
            config.study.trials,
            config.training.epochs,
            config.study.objective.metric,
            os.path.relpath(engine.log),
            quiet=quiet,
            forecast=outlook.forecast(),
        )

    def run(self) -> Outcome:
        config = self._config
        study_run = self._tracker.open_study(_study_params(config), config.model_dump(mode="json"))
        link = self._share_dashboard()
        state: State = "interrupted"
        with self._signals():
            try:
                with contextlib.ExitStack() as last:
                    last.callback(self._interrupt_running)
                    self._recover()
                    with self._display:
                        self._say_devices()
                        self._say_outlook()
                        self._display.began(self._search.ended())
                        self._loop()
                self._check_failures()
                done = len(self._search.ended()) >= config.study.trials or self._exhausted
                state = "complete" if done else "interrupted"
            except StudyStopped:
                state = "failed"
                raise
            finally:
                self._close_study(study_run, state)
        return Outcome(self._search.ended(), self._exhausted, self._signal, link)

    # Before

    def _recover(self) -> None:
        """Settles in both books what a coordinator that died left open.

        What was trained to the end counts and is delivered now; the rest is tried again.
        """
        open_runs = {(run.slot, run.retry): run.run_id for run in self._tracker.runs("trial", running=True)}
        for attempt, known_run in self._search.unfinished():
            known = known_run or open_runs.get((attempt.slot, attempt.retry))
            # Killed before it had a run, or the run was deleted: it gets one, so that the books agree.
            run = self._tracker.get(known) if known else None
            run_id = run.run_id if run else self._open_run(attempt)
            self._search.opened_run(attempt, run_id)
            self._end(attempt.number, run_id, "interrupted")
        settled = self._search.settled()
        for run in list(self._tracker.runs("trial", running=True)):
            if run.run_id in settled:
                attempt, state, reason = settled[run.run_id]
                self._delivery.add(Parcel(attempt.number, run.run_id, attempt.spec, state, reason))
        self._delivery.keep_only_pending()

    def _end(self, number: int, run_id: str, state: State, reason: str = "") -> tuple[State, str]:
        """Ends an attempt in Optuna: as its result says, or in `state` where it left none. Returns how, and why."""
        result = worker.trained_result(self._staging / run_id)
        if result:
            state, reason = result.state, result.failure
        objective = self._search.objective(result) if result and state != "failed" else None
        self._search.end(number, state, objective=objective, reason=reason)
        return state, reason

    def _open_run(self, attempt: "Attempt") -> str:
        return self._tracker.open_trial(attempt.spec, attempt.name, attempt.retry, self._patch)

    def _share_dashboard(self) -> str:
        from poolstudy.tracking import dashboard_link

        objective = self._config.study.objective
        params = list(self._config.space.dimensions())
        convolutions = [f"conv_{number}" for number in range(1, len(self._config.space.filters) + 1)]
        images = ["curves/learning", "kernels/conv_1", *(f"weights/{layer}" for layer in convolutions)]
        images += [
            f"feature_maps/{kind}_{number}" for number, _ in enumerate(convolutions, 1) for kind in ("conv", "pool")
        ]
        images += ["confusion/validation", "confusion/most_wrong", "model/diagram"]
        view = dashboard.view(objective.metric, objective.direction == "maximize", params, images)
        self._tracker.share_view(dashboard.VIEW_KEY, view)
        server = self._tracker.uri if self._tracker.uri.startswith("http") else dashboard.LOCAL_SERVER
        return dashboard_link(server, self._tracker.experiment_id, dashboard.VIEW_KEY)

    def _say_devices(self) -> None:
        for gpu in self._gpus:
            self._display.say(f"Found GPU at: /device:{gpu.name} ({gpu.description})")
        if not self._gpus:
            self._display.say(f"No GPU that TensorFlow can use{nvidia_note()}: training on the CPU.")

    def _say_outlook(self) -> None:
        free = Room.of(self._mlruns)
        for line in self._outlook.lines(free):
            self._display.say(line)
        for line in self._outlook.warnings(free):
            self._display.warn(line)

    # The loop

    def _loop(self) -> None:
        while self._signal is None:
            self._fill()
            if not self._engine.running() and not self._delivery.pending():
                return
            self._wait()
            self._display.drawing(self._delivery.pending())
            self._check_failures_in_a_row()

    def _wait(self) -> None:
        """Hears what happens within half a second."""
        for event in self._engine.events(timeout=0.5) if self._engine.running() else ():
            self._hear(event)
        self._delivery.check(timeout=0 if self._engine.running() else 0.5)

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
        task = worker.Training(
            spec=attempt.spec,
            data=self._data,
            folder=self._staging / run_id,
            device=device,
            threads=self._config.execution.threads_per_worker,
            about=self._about,
        )
        self._running[attempt.number] = _Running(attempt, run_id, device)
        self._display.started(attempt.number, attempt.name, attempt.spec.hyperparameters)
        self._engine.start((_TRAIN, attempt.number), task, self._config.execution.trial_timeout)

    def _hear(self, event: Event) -> None:
        job, number = event.key
        match event:
            case _ if job == DRAW:
                self._delivery.hear(event)
            case EpochEnded(key, record):
                prune = self._search.report(number, record)
                # Logged before it goes on: a trial that is trained to its end has all its epochs in both books.
                self._tracker.log_epoch(self._running[number].run_id, record)
                self._engine.answer(key, prune)
                self._display.epoch(number, record)
            case Finished(_, result):
                self._close(number, result.state)
            case Failed(_, reason):
                self._close(number, "failed", reason)
            case Lost(_, reason):
                self._close(number, "lost", reason)

    def _close(self, number: int, state: State, reason: str = "") -> None:
        """An attempt has ended: its place is free at once, its pictures are drawn while others train."""
        running = self._running.pop(number)
        self._free.append(running.device)
        state, reason = self._end(number, running.run_id, state, reason)
        self._display.ended(number, state, self._search.ended(), reason)
        self._delivery.add(Parcel(number, running.run_id, running.attempt.spec, state, reason))
        if state in ("complete", "pruned"):
            self._failures_in_a_row = 0
        elif not self._search.tries_again(running.attempt.slot, self._config.execution.retries):
            self._failures_in_a_row += 1
            self._last_reason = reason

    def _check_failures_in_a_row(self) -> None:
        if self._failures_in_a_row >= self._config.execution.max_failures_in_a_row:
            raise StudyStopped(
                f"{self._failures_in_a_row} trials failed in a row, the last because {self._last_reason}",
                "trials that train",
                f"change the configuration, or raise execution.max_failures_in_a_row (see {self._engine.log})",
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
        """Ends what trains; what is being drawn gets some seconds, and waits for the next start otherwise."""
        with contextlib.ExitStack() as last:  # all of it is done, whichever of it fails
            last.callback(self._remove_staging)
            last.callback(self._search.close)
            last.callback(self._delivery.close)
            last.callback(self._engine.close)
            while self._running:
                number, running = self._running.popitem()
                self._engine.stop((_TRAIN, number))
                state, reason = self._end(number, running.run_id, "interrupted")
                self._delivery.add(Parcel(number, running.run_id, running.attempt.spec, state, reason))
            until = time.monotonic() + _PATIENCE
            while self._delivery.pending() and time.monotonic() < until:
                self._wait()

    def _remove_staging(self) -> None:
        with contextlib.suppress(OSError):  # what was not delivered stays
            self._staging.rmdir()

    def _close_study(self, run_id: str, state: State) -> None:
        ended = self._search.ended()
        metrics = {"trials": float(len(ended))}
        if ended and ended[0].state == "complete":
            metrics[self._config.study.objective.metric] = ended[0].objective
        self._tracker.close_study(run_id, state, metrics)

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
