"""Running a study: what it needs is put together, then the coordinator trains."""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from poolstudy.data.loading import SearchData, load_search_data
from poolstudy.errors import ProgramMissing, StoreError, StudyStopped, cause
from poolstudy.execution.devices import Found, cores, find_gpus
from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import Placement, plan, trials_per_process
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import CountedTrial, State
from poolstudy.study.coordinator import Coordinator, StudyContext
from poolstudy.study.forecast import Measured
from poolstudy.study.startup_estimate import FreeResources, StartupEstimate, estimate_startup, measure
from poolstudy.system import gc_tuning, logs
from poolstudy.system.locks import study_lock
from poolstudy.system.signals import Interrupt
from poolstudy.terminal.display import Display
from poolstudy.terminal.progress import DownloadProgress
from poolstudy.trial import provenance, tasks

if TYPE_CHECKING:  # they take seconds to import: run_study does it while the server of workers starts
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker


_SHOWN = 5  # of the best, at the end


@dataclass(frozen=True)
class StudyOutcome:
    """How a study stands when `run_study` returns.

    Attributes:
        done: how many trials count.
        best: the first of them, the best one first.
        best_run: of the best complete trial, as `show best` finds it; empty where there is none.
        exhausted: the space held no configuration that had not been tried.
        interrupted: the signal that stopped it, or None.
        dashboard: its address, once `poolstudy ui` runs.
    """

    done: int
    best: list[CountedTrial]
    best_run: str
    exhausted: bool
    interrupted: int | None
    dashboard: str


def run_study(config: StudyConfig, root: Path, console: Console, *, quiet: bool = False) -> StudyOutcome:
    """Runs a study until its trials are done, or goes on with one that was stopped.

    Args:
        root: the project's folder; its mlruns/ holds all that is written.
        quiet: say failures only.

    Raises:
        PoolstudyError: something is missing, or too many trials fail; what was done is kept.
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
            ready = _prepared(config, root, data, engine)
            gc_tuning.loaded()
            forecast, shown_log = ready.estimate.forecast(), os.path.relpath(log)
            display = Display(
                console,
                study.trials,
                config.training.epochs,
                study.objective.metric,
                shown_log,
                quiet=quiet,
                seconds_left=forecast.left,
            )
            context = StudyContext(
                staging=mlruns / "staging" / study.name,
                data=ready.resources.saved,
                placements=ready.resources.placements,
                about=provenance.provenance(config.data),
                patch=provenance.patch(),
            )
            interrupt.begin()
            coordinator = Coordinator(
                config, context, engine, ready.tracker, ready.search, display, (forecast, display), interrupt, cores()
            )
            _say_devices(display, ready.resources.found, ready.resources.sharing)
            _say_estimate(display, ready.estimate, FreeResources.of(mlruns))
            return _tracked(config, coordinator, ready.tracker, ready.search, interrupt)


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """What a store or a folder raises in the block becomes a StoreError."""
    from poolstudy import search, tracking

    try:
        yield
    except (OSError, *tracking.MLFLOW_ERRORS, *search.OPTUNA_ERRORS) as error:
        raise StoreError(
            f"a store or folder of the study failed ({cause(error)})",
            "stores that can be written",
            "mend it; the same command then goes on",
        ) from None


@dataclass(frozen=True)
class _Resources:
    """What a study trains on: `sharing` says how many trials share a GPU, `saved` is the folder of its data.

    Attributes:
        measured: by a short training, where the study is new.
    """

    found: Found
    placements: list[Placement]
    sharing: str
    saved: Path
    measured: Measured | None


def _probe(config: StudyConfig, mlruns: Path, data: SearchData, engine: LocalEngine) -> _Resources:
    """Finds the devices, and measures on one of them, which takes seconds."""
    from poolstudy.search import known

    found = find_gpus(engine, required=config.execution.require_gpu)
    placements, sharing = plan(config, data.identity, found.gpus, cores(), mlruns / "cache")
    saved = data.save(mlruns / "cache" / data.identity.digest[:16])
    goes_on = known(mlruns / "optuna.db", config.study.name)
    measured = None if goes_on else measure(config, data.identity, saved, engine, placements[0].device.name)
    return _Resources(found, placements, sharing, saved, measured)


@dataclass(frozen=True)
class _Prepared:
    """What a study begins with."""

    resources: _Resources
    tracker: "Tracker"
    search: "Search"
    estimate: StartupEstimate


def _prepared(config: StudyConfig, root: Path, data: SearchData, engine: LocalEngine) -> _Prepared:
    """Looks at the machine, opens the stores and looks ahead."""
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker

    mlruns = root / "mlruns"
    looking = _in_background(lambda: _probe(config, mlruns, data, engine))
    if config.execution.require_gpu:
        looking.result()  # without one nothing is begun
    tracker = Tracker(config.tracking.uri, config.tracking.artifacts, config.study.name, root)  # takes seconds too
    resources = looking.result()
    # Optuna's after MLflow's: a study whose store cannot be opened leaves nothing.
    search = Search(mlruns / "optuna.db", config, data.identity)
    tracker.study_uid = search.study_uid
    estimate = estimate_startup(
        config, data.identity, len(resources.placements), list(search.ended()), tracker, resources.measured
    )
    return _Prepared(resources, tracker, search, estimate)


def _in_background(look: Callable[[], _Resources]) -> "Future[_Resources]":
    """What is done in a thread that nobody waits for who is interrupted, as an executor's would be at the end."""
    found: Future[_Resources] = Future()

    def work() -> None:
        try:
            found.set_result(look())
        except BaseException as error:  # told to whoever asks for the result
            found.set_exception(error)

    threading.Thread(target=work, name="grounds", daemon=True).start()
    return found


def _tracked(
    config: StudyConfig, coordinator: Coordinator, tracker: "Tracker", search: "Search", interrupt: Interrupt
) -> StudyOutcome:
    """Trains, and keeps the study's own run."""
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
    return next((one.run_id for one in ended if one.state == "complete" and one.run_id), "")


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
    convolutions = [f"conv_{number}" for number in range(1, len(config.space.filters) + 1)]
    images = ["curves/learning", "kernels/conv_1", *(f"weights/{layer}" for layer in convolutions)]
    images += [f"feature_maps/{kind}_{number}" for number, _ in enumerate(convolutions, 1) for kind in ("conv", "pool")]
    images += ["confusion/validation", "confusion/most_wrong", "model/diagram"]
    maximize, trials = objective.direction == "maximize", config.study.trials
    view = dashboard.view(objective.metric, maximize, params, images, trials)
    tracker.share_view(dashboard.VIEW_KEY, view)
    tracker.annotate(dashboard.NOTE)
    server = tracker.uri if tracker.uri.startswith("http") else dashboard.LOCAL_SERVER
    return dashboard_link(server, tracker.experiment_id, dashboard.VIEW_KEY)


def _say_devices(display: Display, found: Found, sharing: str) -> None:
    for gpu in found.gpus:
        display.say(f"Found GPU at: /device:{gpu.name} ({gpu.description})")
    for line in found.lines:
        display.say(line)
    display.say(sharing or "No GPU that TensorFlow can use: training on the CPU.")


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
