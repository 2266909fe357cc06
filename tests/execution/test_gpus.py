"""GPU behaviour that can be tested without a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from poolstudy.data.loading import load_search_data
from poolstudy.errors import DeviceError
from poolstudy.execution import EpochEnded, Finished
from poolstudy.execution.gpu import tensorflow
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.load import load_config
from poolstudy.spec.records import TrainingSettings, TrialSpec
from poolstudy.spec.space import HyperParameters
from poolstudy.trial import tasks


def test_a_missing_gpu_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"\d+ GPUs; expected GPU:99 among them"):
        tensorflow.use_device("GPU:99", 1)


def test_only_a_build_for_cuda_has_a_cuda_version() -> None:
    build = tensorflow.build()
    assert ("cuda_version" in build) == build["is_cuda_build"]


@pytest.mark.parametrize("error", [tf.errors.InternalError, tf.errors.UnknownError, tf.errors.UnavailableError])
def test_a_gpu_error_is_not_blamed_on_the_trial(error: type[tf.errors.OpError]) -> None:
    raised = error(None, None, "CUDA_ERROR_ECC\nUNCORRECTABLE")
    with pytest.raises(DeviceError, match="GPU:1 failed: CUDA_ERROR_ECC UNCORRECTABLE"), tensorflow.blamed_on("GPU:1"):
        raise raised
    with pytest.raises(error), tensorflow.blamed_on("CPU:0"):
        raise raised


def test_a_trials_own_error_is_not_blamed_on_the_gpu() -> None:
    for error in (tf.errors.InvalidArgumentError(None, None, "shapes"), ValueError("no number")):
        with pytest.raises(type(error)), tensorflow.blamed_on("GPU:0"):
            raise error


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_card_that_computes_wrong_results_is_refused(jit_compile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow._use(jit_compile=jit_compile)
    monkeypatch.setattr(tf, "ones", tf.zeros)
    with pytest.raises(RuntimeError, match="a sum of ones is 0 instead of 64"):
        tensorflow._use(jit_compile=jit_compile)


_LOADED = f"""
import importlib
for name in {tasks.PRELOAD!r}:
    importlib.import_module(name)
from tensorflow.python.eager import context
print(context.context()._physical_devices, context.context()._initialized)
print(*(line.split()[-1] for line in open("/proc/self/maps") if "libcuda.so" in line))
"""


@pytest.mark.slow
def test_the_server_of_workers_has_not_started_cuda() -> None:
    """Fail if preloading lists devices: that starts CUDA, and a process that has started CUDA cannot be forked."""
    process = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-2:] == ["None False", ""]


def play(engine: LocalEngine) -> str:
    """Wait for the end of a trial; return the digests of its initial and best weights."""
    while True:
        for event in engine.events(timeout=1):
            if isinstance(event, EpochEnded):
                engine.answer(event.key, False)
                continue
            assert isinstance(event, Finished), event
            return event.result.untrained_digest + event.result.weights_digest


@pytest.mark.slow
def test_trials_in_one_process_give_the_same_bits_as_in_processes_of_their_own(project: Path) -> None:
    data = load_search_data(load_config("tiny", [], project).data, project)
    folder = data.save(project / "cache")
    shapes = [("max", (3, 4), 0.2), ("average", (2, 2), 0.5), ("max", (2, 3), 0.0), ("average", (3, 4), 0.3)]
    specs = [
        TrialSpec(
            study="s",
            slot=slot,
            seed=slot,
            hyperparameters=HyperParameters(pooling=pooling, pool_size=2, filters=filters, dropout=dropout),  # type: ignore[arg-type]
            training=TrainingSettings(epochs=2, dense_units=8),
            data=data.identity,
        )
        for slot, (pooling, filters, dropout) in enumerate(shapes)
    ]

    def digests(order: list[TrialSpec], tasks_per_worker: int, reuse_key: str) -> dict[int, str]:
        engine = LocalEngine(tasks.run_task, tasks.PRELOAD, project / "log", 1, tasks_per_worker)
        by_slot = {}
        for spec in order:
            task = tasks.TrainTask(spec, folder, project / f"{reuse_key}-{spec.slot}", "CPU:0", 1, {})
            engine.start(("train", spec.slot), task, reuse_key=reuse_key)
            by_slot[spec.slot] = play(engine)
        assert len(engine._idle) == (0 if tasks_per_worker == 1 else 1)
        engine.close()
        return by_slot

    alone = digests(specs, 1, "")
    assert len(set(alone.values())) == 4
    assert digests(specs, 99, "forwards") == alone
    assert digests(specs[::-1], 99, "backwards") == alone
