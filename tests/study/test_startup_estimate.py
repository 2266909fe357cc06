import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import REPOSITORY, make_spec

from poolstudy.execution.local import LocalEngine
from poolstudy.spec.load import load_config
from poolstudy.spec.records import CountedTrial
from poolstudy.study import measurement
from poolstudy.study.forecast import FinishedTrial, Timing
from poolstudy.study.measurement import Measured
from poolstudy.study.startup_estimate import FreeResources, StartupEstimate, estimate_startup, measure, trial_bytes
from poolstudy.trial import tasks

ROOMY = FreeResources(disk=10**12, memory=10**12)
DATA = make_spec().data.model_copy(update={"image_shape": (28, 28, 1), "train_images": 1000})


class Engine:
    """Answers as an engine that was asked to measure: so many seconds an epoch, whatever the network."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.networks: list[Any] = []

    def call(self, task: Callable[[], Any], timeout: float | None = None) -> Measured:
        self.timeout = timeout
        if self.seconds is None:
            raise ChildProcessError("its process was ended by SIGKILL")
        self.networks = [spec.hyperparameters for spec in task.args[0]]  # type: ignore[attr-defined]  # a partial
        timings = tuple(Timing(one, self.seconds) for one in self.networks)
        return Measured(timings, start=0.0, worker=10**9, server=10**9)


def looked(
    engine: Engine, *overrides: str, ended: tuple[CountedTrial, ...] = (), runs: tuple[Any, ...] = ()
) -> StartupEstimate:
    config = load_config("pooling", overrides, REPOSITORY)
    tracker: Any = SimpleNamespace(runs=lambda _: runs)
    anything: Any = engine
    measured = None if ended else measure(config, DATA, Path("unused"), anything, "CPU:0")
    return estimate_startup(config, DATA, 2, ended, tracker, measured)


def trial(slot: int) -> CountedTrial:
    network = make_spec().hyperparameters
    return CountedTrial(slot=slot, state="complete", objective=0.9, run_id=f"r{slot}", hyperparameters=network)


def run(slot: int, train_seconds: float, images_per_second: float) -> Any:
    metrics = {"train_seconds": train_seconds, "images_per_second": images_per_second}
    return SimpleNamespace(run_id=f"r{slot}", metrics=metrics)


def test_the_cheapest_and_the_dearest_network_are_measured_and_the_most_is_said() -> None:
    engine = Engine(seconds=6)
    estimate = looked(engine)
    assert [one.title() for one in engine.networks] == [
        "max 3x3 · 16-16 filters · dropout 0",
        "max 2x2 · 64-64 filters · dropout 0",
    ]
    time, needs = estimate.lines(ROOMY)
    # 20 trials of 10 epochs of 6 s and 2 s of drawing over two places, and half a trial more: 651 s.
    assert time == "At most 11 min (20 trials of up to 10 epochs, 2 at a time)."
    assert needs.startswith("Needs up to ")
    assert "GB of memory (1000 GB free)." in needs
    assert estimate.warnings(ROOMY) == []


def test_what_trials_took_that_have_ended_is_what_counts() -> None:
    engine = Engine(seconds=6)
    # 1000 images at 500 a second are 2 s an epoch; 8 s are four of them.
    estimate = looked(engine, ended=(trial(1), trial(2)), runs=(run(1, 8, 500), run(9, 1, 1)))
    assert estimate.finished == (FinishedTrial(make_spec().hyperparameters, 4, 2.0),)
    # 18 trials of 20 and 2 s over two places, and half a trial more.
    assert estimate.lines(ROOMY)[0] == "At most 3 min 29 s (18 trials of up to 10 epochs, 2 at a time)."


def test_a_study_that_is_done_says_nothing() -> None:
    assert looked(Engine(seconds=6), "study.trials=1", ended=(trial(1),)).lines(ROOMY) == []


def test_a_measurement_that_fails_leaves_the_time_open() -> None:
    estimate = looked(Engine(seconds=None))
    assert estimate.lines(ROOMY) == []
    assert estimate.forecast().left() is None


@pytest.mark.parametrize(("overrides", "seconds"), [((), 600), (("execution.trial_timeout=60",), 60)])
def test_a_measurement_has_the_time_of_a_trial_and_never_for_ever(overrides: tuple[str, ...], seconds: float) -> None:
    engine = Engine(seconds=6)
    looked(engine, *overrides)
    assert engine.timeout == seconds


def hang(*_: object) -> None:
    time.sleep(60)


def test_a_measurement_that_hangs_does_not_hold_up_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "measure_networks", hang)  # a driver may
    config = load_config("pooling", ["execution.trial_timeout=1"], REPOSITORY)
    with contextlib.closing(LocalEngine(tasks.run_task, [], tmp_path / "log", 1)) as engine:
        began = time.monotonic()
        assert measure(config, DATA, tmp_path, engine, "CPU:0") is None
        assert time.monotonic() - began < 30


def test_a_budget_beyond_the_space_is_the_space() -> None:
    estimate = looked(Engine(6), "space.filters=[16,16]", "space.dropout=0.1", "study.trials=50")
    assert estimate.workload.trials == 4  # two poolings, two windows


def test_a_space_of_one_configuration_is_one_trial() -> None:
    one = ("space.pooling=max", "space.pool_size=2", "space.filters=[16,16]", "space.dropout=0.1")
    engine = Engine(seconds=6)
    estimate = looked(engine, *one)
    assert len(engine.networks) == 1
    assert estimate.lines(ROOMY)[0] == "At most 1 min 2 s (1 trial of up to 10 epochs, 1 at a time)."


def test_pictures_that_are_not_drawn_take_no_time() -> None:
    estimate = looked(Engine(seconds=0.2), "study.trials=2", "tracking.figures.of=[]")
    # Two trials of 2 s over two places, and half a trial more.
    assert estimate.lines(ROOMY)[0] == "At most 3 s (2 trials of up to 10 epochs, 2 at a time)."


def test_too_little_room_is_a_warning_that_says_what_to_do() -> None:
    disk, memory = looked(Engine(6)).warnings(FreeResources(disk=10**6, memory=2 * 10**9))
    assert disk.startswith("Warning, too little disk: 1 MB free in mlruns/, the study needs up to ")
    assert disk.endswith("; make room.")
    assert "start fewer workers (execution.workers)." in memory


def test_the_room_of_a_folder_is_some(tmp_path: Path) -> None:
    room = FreeResources.of(tmp_path)
    assert room.disk > 0
    assert room.memory > 0


def test_where_networks_differ_the_space_on_average_is_said_too() -> None:
    class Steep(Engine):
        def call(self, task: Callable[[], Any], timeout: float | None = None) -> Measured:
            measured = super().call(task, timeout)
            cheap, dear = (one.network for one in measured.timings)
            return Measured((Timing(cheap, 1), Timing(dear, 60)), 0.0, 1, 1)

    line, _ = looked(Steep(0)).lines(ROOMY)
    assert line.startswith("At most 51 min, about 17 min with networks of the space's mean cost (20 trials of ")


def test_disk_is_the_model_with_its_optimizer_the_predictions_and_the_pictures() -> None:
    space = ("space.pool_size=2", "space.filters=[16,64]")
    # (9 + 1) 16 + (9 x 16 + 1) 64 + (49 x 64 + 1) 100 + (100 + 1) 10 = 324,150 parameters; 10 classes.
    each = 4 * 4 * 324_150 + 4 * 1000 * 10
    without = load_config("pooling", [*space, "tracking.figures.of=[]"], REPOSITORY)
    assert trial_bytes(without, validation_images=1000) == each
    assert trial_bytes(load_config("pooling", space, REPOSITORY), validation_images=1000) > each + 1_000_000
