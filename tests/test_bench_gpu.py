"""The GPU benchmark's table and what it says below it, on rows made up by hand; one small run on the CPU."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, clean_environment
from rich.console import Console

from benchmarks import gpu
from benchmarks.gpu import Row
from poolstudy.errors import DeviceError
from poolstudy.execution.devices import Found
from poolstudy.execution.placement import best_measured
from poolstudy.spec.records import Device

FIT = Row("Keras fit", epochs=[6.0, 5.0, 7.0], accuracies=[0.92], rate=60.0, load=(12.0, 900.0))
ALONE = Row("1 at once", epochs=[0.5, 0.4], accuracies=[0.91, 0.93], digests=["a", "a"], rate=600, load=(50.4, 1000))
FOUR = Row("4 at once", 4, epochs=[0.5], accuracies=[0.9], digests=["a", "b", "c", "d"], rate=1800, load=(None, 4000))
SIXTEEN = Row("16 at once", 16, note="not done: 1.0 GB of memory for each, 1.2 are needed")
LEGEND = "Keras fit: as one would write it, one after another. The others: trials of a study, so many at once."


def printed(rows: list[Row]) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    gpu._print(rows, console)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_every_row_is_held_against_keras_fit_and_what_is_missing_is_said() -> None:
    assert printed([FIT, ALONE, FOUR, SIXTEEN]) == [
        "s/epoch trials/h x fit GPU busy GPU MB val_accuracy",
        "Keras fit 6.00 60 1.0 12 % 900 0.9200",
        "1 at once 0.45 600 10.0 50 % 1,000 0.9200",
        "4 at once 0.50 1,800 30.0 - 4,000 0.9000",
        "16 at once - - - - - -",
        LEGEND,
        "1 at once: two runs of one spec are identical, bit for bit",
        "16 at once: not done: 1.0 GB of memory for each, 1.2 are needed",
    ]


def test_two_runs_that_differ_and_a_card_that_tells_nothing_are_said() -> None:
    differing = Row("1 at once", epochs=[1.0], digests=["a", "b"], rate=1)
    said = printed([Row("Keras fit", note="stopped after 5 s"), differing])
    assert said[-3] == "Keras fit: stopped after 5 s"
    assert said[-2] == "1 at once: two runs of one spec are not identical"
    assert said[-1].startswith("Load and memory of a GPU: not measured (")


def test_the_best_number_is_kept_for_cards_of_this_name(tmp_path: Path) -> None:
    device, console = Device(name="GPU:0", description="NVIDIA H200"), Console(file=io.StringIO())
    deterministic = Row("1, deterministic", rate=9999)
    gpu._keep_best([FIT, ALONE, FOUR, SIXTEEN, deterministic], device, tmp_path, console)
    assert best_measured(tmp_path / "mlruns" / "cache", "NVIDIA H200") == 4


def test_the_best_number_is_saved_per_card(tmp_path: Path) -> None:
    assert best_measured(tmp_path, "NVIDIA H200") is None
    gpu.note_measured(tmp_path, "NVIDIA H200", 8)
    gpu.note_measured(tmp_path, "NVIDIA L4", 2)
    assert best_measured(tmp_path, "NVIDIA H200") == 8
    assert best_measured(tmp_path, "NVIDIA L4") == 2


def test_the_fewest_workers_within_five_percent_of_the_highest_rate_are_best() -> None:
    assert gpu.best_sharing({1: 100.0, 2: 190.0, 4: 360.0, 8: 380.0, 16: 370.0}) == 8  # 361 would do, 360 does not
    assert gpu.best_sharing({1: 100.0, 2: 190.0, 4: 361.0, 8: 380.0}) == 4
    assert gpu.best_sharing({1: 10.0}) == 1


def test_without_a_gpu_it_says_why_and_how_to_prove_it() -> None:
    with pytest.raises(DeviceError, match="^no NVIDIA driver; install it; expected a GPU; --cpu proves"):
        gpu._gpu(Found(lines=("no NVIDIA driver; install it",)))
    assert gpu._gpu(Found(gpus=(Device(name="GPU:3"),))) == Device(name="GPU:3")


@pytest.mark.slow
def test_a_small_run_on_the_cpu_ends_with_the_table(project: Path) -> None:
    (project / "experiments" / "pooling").symlink_to(REPOSITORY / "experiments" / "pooling")
    command = [sys.executable, "-m", "benchmarks.gpu", "--cpu", "--epochs", "2", "--crowds", "1", "2"]
    environment = clean_environment() | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
    digits = ["data=digits", "space.pool_size=2"]
    said = subprocess.run(
        [*command[:3], *digits, *command[3:]], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].startswith("CPU:0; ")
    names = ["Keras fit", "1 at once", "2 at once", "1, deterministic"]
    assert [line[: len(name)] for line, name in zip(lines[2:6], names, strict=True)] == names
    assert sum("two runs of one spec are identical, bit for bit" in line for line in lines) == 2
