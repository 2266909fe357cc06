"""Whole studies on a machine that pretends to have two GPUs, one of which is lost: real workers and databases.

GPU:1 is this machine's CPU under another name. On GPU:0 every worker dies, as it does on a card that fell off its bus.
"""

import dataclasses
import io
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from books import check_agreement, runs
from rich.console import Console

from poolstudy.errors import DeviceError, StudyStopped
from poolstudy.execution import devices
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.load import load_config
from poolstudy.spec.records import Device, EpochRecord, TrialResult
from poolstudy.study import run_study
from poolstudy.trial import tasks

FIRST = Device(name="GPU:0", description="NVIDIA H200", compute_capability="9.0", bus="0000:17:00.0")
SECOND = Device(name="GPU:1", description="NVIDIA H200", compute_capability="9.0", bus="0000:3d:00.0")
LOST = FIRST.model_copy(update={"bus": "", "problem": "GPU is lost"})


def train(task: Any, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    if isinstance(task, tasks.TrainTask):
        if task.device == "GPU:0":
            os.kill(os.getpid(), signal.SIGKILL)
        task = dataclasses.replace(task, device="CPU:0")
    return tasks.run_task(task, on_epoch)


class TwoGpus(LocalEngine):
    """Engine whose GPUs are in the states `answers`, one for each time that it looks; the last one stays."""

    answers: ClassVar[list[list[Device]]] = []

    def __init__(self, _: Any, *rest: Any) -> None:
        super().__init__(train, *rest)

    def call(self, function: Callable[[], Any], timeout: float | None = None) -> Any:
        if function is not devices._list_gpus:  # the measurement of a short training
            raise ChildProcessError("no GPU")
        return [FIRST, SECOND], {"is_cuda_build": True}

    def call_each(self, functions: Sequence[Callable[[], Any]], timeout: float | None = None) -> list[Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def run(project: Path, monkeypatch: pytest.MonkeyPatch, *settings: str) -> tuple[Any, str]:
    """Run a study; return its outcome, or the DeviceError that ended it, and its output."""
    monkeypatch.setattr(run_study, "LocalEngine", TwoGpus)
    console = Console(file=io.StringIO(), width=200)
    config = load_config("tiny", ["execution.workers_per_gpu=1", *settings], project)
    outcome: Any
    try:
        outcome = run_study.run_study(config, project, console)
    except DeviceError as error:
        outcome = error
    assert isinstance(console.file, io.StringIO)
    return outcome, console.file.getvalue()


@pytest.mark.slow
def test_after_a_gpu_is_lost_the_others_go_on_and_its_trials_are_tried_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TwoGpus.answers = [[FIRST, SECOND], [LOST, SECOND]]
    outcome, said = run(project, monkeypatch, "study.trials=4", "execution.retries=1", "pruner=none")
    assert outcome.done == 4, said
    states = [run.data.tags["poolstudy.state"] for run in runs(project)]
    assert sorted(states) == ["complete"] * 4 + ["lost"]  # with one worker a GPU, only one attempt is lost
    check_agreement(project)
    assert "Found GPU at: /device:GPU:0 (NVIDIA H200)" in said
    assert "2 workers, 1 a GPU (execution.workers_per_gpu)" in said
    assert "GPU at /device:GPU:0 (NVIDIA H200) is gone" in said
    artifacts = runs(project)[-1].info.artifact_uri.removeprefix("file://")
    assert '"device_name": "NVIDIA H200"' in (Path(artifacts) / "environment.json").read_text()


@pytest.mark.slow
def test_when_no_gpu_is_left_the_study_stops_in_good_order_and_its_databases_agree(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = SECOND.model_copy(update={"bus": "", "problem": "GPU is lost"})
    TwoGpus.answers = [[FIRST, SECOND], [LOST, gone]]
    error, said = run(project, monkeypatch, "study.trials=3")
    assert isinstance(error, DeviceError)
    assert error.exit_code == 3
    assert str(error).startswith("a trial was lost on GPU:0 (NVIDIA H200), and no GPU works any more")
    assert "GPU:1 (NVIDIA H200) is gone" in said
    check_agreement(project)
    states = {run.data.tags["poolstudy.state"] for run in runs(project)}
    assert "lost" in states
    assert states <= {"lost", "interrupted", "complete"}
    (own,) = runs(project, kind="study")
    assert own.data.tags["poolstudy.state"] == "interrupted"


@pytest.mark.slow
def test_a_gpu_on_which_one_worker_died_and_which_still_works_is_used_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TwoGpus.answers = [[FIRST, SECOND]]
    settings = ["execution.workers=1", "execution.retries=1", "execution.max_failures_in_a_row=1"]
    with pytest.raises(StudyStopped, match="1 trials failed in a row"):
        run(project, monkeypatch, *settings)
    states = [run.data.tags["poolstudy.state"] for run in runs(project)]
    assert states == ["lost", "lost"]  # the only placement is on GPU:0, which still works: the slot is retried
    check_agreement(project)
