"""The command run: prepares a study, lets the coordinator train, and keeps the study's own run."""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from poolstudy.data.loading import SearchData, load_search_data
from poolstudy.errors import ProgramMissing, StoreError, StudyStopped, cause
from poolstudy.execution.devices import Found, cores, find_gpus
from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import Placement, plan, trials_per_process
from poolstudy.spec.candidates import candidate_layers
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import CountedTrial, State
from poolstudy.study.coordinator import Coordinator, StudyContext
from poolstudy.study.measurement import Measured
from poolstudy.study.startup_estimate import FreeResources, StartupEstimate, estimate_startup, measure
from poolstudy.system import gc_tuning, logs
from poolstudy.system.locks import study_lock
from poolstudy.system.signals import Interrupt
from poolstudy.terminal.display import Display
from poolstudy.terminal.progress import DownloadProgress
from poolstudy.trial import provenance, tasks

if TYPE_CHECKING:  # imported late, while the server of workers starts: they take seconds
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker

_SHOWN = 5  # best trials


@dataclass(frozen=True)
class StudyOutcome:
    """State of a study when `run_study` returns."""

    done: int  # trials that count
    best: list[CountedTrial]  # the first of them, best first
    best_run: str  # run ID of the best complete trial, as `show best` finds it; empty if there is none
    exhausted: bool  # the space holds no configuration that was not tried
    interrupted: int | None  # the signal that stopped it
    dashboard: str  # address, valid once `poolstudy ui` runs


def run_study(config: StudyConfig, root: Path, console: Console, *, quiet: bool = False) -> StudyOutcome:
    """Run a study until its trials are done, or continue one that was stopped.

    Args:
        root: the project's folder; everything is written to its mlruns/.
        quiet: print failures and warnings only.

    Raises:
        PoolstudyError: something is missing, or too many trials fail; finished trials are kept.
    """
    if shutil.which("dot") is None:
        raise ProgramMissing("no program `dot`", "Graphviz, which draws the diagrams", "install graphviz (make setup)")
    mlruns, study, execution = root / "mlruns", config.study, config.execution
    with contextlib.ExitStack() as last:
        interrupt = last.enter_context(Interrupt())
        last.enter_context(study_lock(mlruns / "locks", study.name))
        log = mlruns / "logs" / f"{study.name}.log"
        threads, each = execution.threads_per_worker, trials_per_process(execution)
        engine = LocalEngine(tasks.run_task, tasks.PRELOAD, log, threads, each)
        last.enter_context(contextlib.closing(engine))
        with DownloadProgress(console, quiet=quiet) as progress:  # while the server of workers loads TensorFlow
            data = load_search_data(config.data, root, progress)
        with _store_errors():
            logs.redirect_logging(log)
            resources, tracker, search, estimate = _prepare(config, root, data, engine)
            gc_tuning.loaded()
            forecast, epochs, metric = estimate.forecast(), config.training.epochs, study.objective.metric
            display = Display(
                console, study.trials, epochs, metric, os.path.relpath(log), quiet=quiet, seconds_left=forecast.left
            )
            about, patch = provenance.provenance(config.data), provenance.patch()
            staging = mlruns / "staging" / study.name
            context = StudyContext(staging, resources.saved, resources.placements, about, patch)
            interrupt.begin()
            coordinator = Coordinator(
                config, context, engine, tracker, search, display, (forecast, display), interrupt, cores()
            )
            _say_devices(display, resources)
            _say_estimate(display, estimate, FreeResources.of(mlruns))
            return _train(config, coordinator, tracker, search, interrupt)


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Turn errors of stores and folders in the block into a StoreError."""
    from poolstudy import search, tracking

    try:
        yield
    except (OSError, *tracking.MLFLOW_ERRORS, *search.OPTUNA_ERRORS) as error:
        raise StoreError(
            f"a store or folder of the study failed ({cause(error)})",
            "stores that can be written",
            "fix it; the same command then goes on",
        ) from None


class _Resources(NamedTuple):
    found: Found
    placements: list[Placement]
    sharing: str  # line on how many workers share a GPU
    saved: Path  # folder of the data
    measured: Measured | None  # by a short training; None if the study is not new


def _probe(config: StudyConfig, mlruns: Path, data: SearchData, engine: LocalEngine) -> _Resources:
    """Find the devices and measure on one of them, which takes seconds."""
    from poolstudy.search import known

    found = find_gpus(engine, required=config.execution.require_gpu)
    placements, sharing = plan(config, data.identity, found.gpus, cores(), mlruns / "cache")
    saved = data.save(mlruns / "cache" / data.identity.digest[:16])
    exists = known(mlruns / "optuna.db", config.study.name)
    measured = None if exists else measure(config, data.identity, saved, engine, placements[0].device.name)
    return _Resources(found, placements, sharing, saved, measured)


def _prepare(
    config: StudyConfig, root: Path, data: SearchData, engine: LocalEngine
) -> "tuple[_Resources, Tracker, Search, StartupEstimate]":
    """Probe the machine, open the stores and estimate the study's needs."""
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker

    mlruns = root / "mlruns"
    probe = _in_background(lambda: _probe(config, mlruns, data, engine))
    if config.execution.require_gpu:
        probe.result()  # without a GPU, fail before a store is opened
    tracker = Tracker(config.tracking.uri, config.tracking.artifacts, config.study.name, root)  # takes seconds too
    resources = probe.result()
    # Optuna's database after MLflow's: a study whose store cannot be opened leaves nothing.
    search = Search(mlruns / "optuna.db", config, data.identity)
    tracker.study_uid = search.study_uid
    estimate = estimate_startup(
        config, data.identity, len(resources.placements), list(search.ended()), tracker, resources.measured
    )
    return resources, tracker, search, estimate


def _in_background(function: Callable[[], _Resources]) -> "Future[_Resources]":
    """Call a function in a daemon thread; unlike an executor's, an interrupted program does not wait for it."""
    future: Future[_Resources] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised by `result`
            future.set_exception(error)

    threading.Thread(target=work, name="probe", daemon=True).start()
    return future


def _train(
    config: StudyConfig, coordinator: Coordinator, tracker: "Tracker", search: "Search", interrupt: Interrupt
) -> StudyOutcome:
    """Let the coordinator train; open and close the study's own run."""
    run_id = tracker.open_study(_study_params(config), config.recorded())
    link = _share_dashboard(config, tracker)
    state: State = "interrupted"
    try:
        coordinator.run()
        done = search.done >= config.study.trials or coordinator.exhausted
        state = "complete" if done else "interrupted"
    except StudyStopped:
        state = "failed"
        raise
    finally:
        metrics = _study_metrics(config, search)
        coordinator.finish(lambda: tracker.close_study(run_id, state, metrics))
    return StudyOutcome(
        done=search.done,
        best=list(islice(search.ended(), _SHOWN)),
        best_run=_best_run(search.ended()),
        exhausted=coordinator.exhausted,
        interrupted=interrupt.signal,
        dashboard=link,
    )


def _best_run(ended: Iterable[CountedTrial]) -> str:
    return next((trial.run_id for trial in ended if trial.state == "complete" and trial.run_id), "")


def _study_metrics(config: StudyConfig, search: "Search") -> dict[str, float]:
    best = next(search.ended(), None)
    metrics = {"trials": float(search.done)}
    if best and best.state == "complete":
        metrics[config.study.objective.metric] = best.objective
    return metrics


def _share_dashboard(config: StudyConfig, tracker: "Tracker") -> str:
    from poolstudy.tracking import dashboard, dashboard_link

    objective = config.study.objective
    params = list(config.space.dimensions())
    network = candidate_layers(config)[0]
    convolutions = [layer.name for layer in network if layer.kind == "convolution"]
    images = ["curves/learning", f"kernels/{convolutions[0]}", *(f"weights/{name}" for name in convolutions)]
    images += [f"feature_maps/{layer.maps}" for layer in network if layer.maps]
    images += ["confusion/validation", "confusion/most_wrong", "model/diagram"]
    maximize, trials = objective.direction == "maximize", config.study.trials
    view = dashboard.view(objective.metric, maximize, params, images, trials)
    tracker.share_view(dashboard.VIEW_KEY, view)
    tracker.annotate(dashboard.NOTE)
    server = tracker.uri if tracker.uri.startswith("http") else dashboard.LOCAL_SERVER
    return dashboard_link(server, tracker.experiment_id, dashboard.VIEW_KEY)


def _say_devices(display: Display, resources: _Resources) -> None:
    for gpu in resources.found.gpus:
        display.say(f"Found GPU at: /device:{gpu.name} ({gpu.description})")
    for line in resources.found.lines:
        display.say(line)
    display.say(resources.sharing or "No GPU that TensorFlow can use: training on the CPU.")


def _say_estimate(display: Display, estimate: StartupEstimate, free: FreeResources) -> None:
    for line in estimate.lines(free):
        display.say(line)
    for line in estimate.warnings(free):
        display.warn(line)


def _study_params(config: StudyConfig) -> dict[str, object]:
    return {
        "seed": config.study.seed,
        "sampler": config.sampler.name,
        "pruner": config.pruner.name,
        "objective": config.study.objective.metric,
        "data": config.data.name,
    }
