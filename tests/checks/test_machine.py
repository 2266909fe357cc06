"""The checks of the machine: each of something real, or of something really missing."""

import io
import json
import os
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import REPOSITORY, Command, make_spec, open_trial
from rich.console import Console

from poolstudy.checks import machine
from poolstudy.checks.finding import Finding
from poolstudy.checks.machine import software, storage
from poolstudy.checks.machine.gpus import asking_tensorflow, reason, tensorflow
from poolstudy.errors import ConfigurationError
from poolstudy.execution.gpu.diagnosis import Sight
from poolstudy.execution.gpu.nvidia import Card
from poolstudy.spec.config import ExecutionSection, StudyConfig
from poolstudy.spec.datasets import IdxData
from poolstudy.spec.load import load_config
from poolstudy.tracking import Tracker

# What TensorFlow 2.21 prints to stderr: an ordinary notice, the absence of a driver, and missing libraries.
NOTICE = "I0000 00:00:1795443266.492663    5560 port.cc:153] oneDNN custom operations are on."
NO_DRIVER = (
    "I0000 00:00:1795443266.493645    5560 cudart_stub.cc:31] "
    "Could not find cuda drivers on your machine, GPU will not be used."
)
CU_INIT = (
    "E0000 00:00:1795443279.857933    5560 cuda_platform.cc:52] "
    "failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
)
DLOPEN = (
    "2026-01-01 10:00:00.123456: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2342] "
    "Cannot dlopen some GPU libraries. Skipping registering GPU devices..."
)

# A machine without a driver, one whose driver has no card, one with a card.
NOTHING = Sight(driver="no NVIDIA driver here")
LOST = Sight()
CARD = Sight(cards=(Card("NVIDIA H200", "0000:17:00.0", "GPU-aa11", "9.0", 150_000, 149_000, "550.54.15", "12.4"),))


@pytest.mark.slow
def test_the_whole_command_on_this_machine(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "check", "tiny")
    lines = said.stdout.splitlines()
    assert (said.returncode, said.stderr) == (0, ""), said.stdout
    assert [line.split()[1] for line in lines] == [
        "Python", "packages", "dot", "data", "MLflow", "Optuna", "disk", "TensorFlow",
    ]  # fmt: skip
    assert {line[0] for line in lines} <= {"✓", "!"}
    # 250 images, a fifth of them for validation.
    assert lines[3] == (
        f"✓ data        tiny in {project}/images, checksums right: 200 training and 50 validation images"
    )
    assert lines[4] == f"✓ MLflow      {project}/mlruns/mlflow.db is not made yet: the first study makes it"
    assert "tensorflow 2.21" in lines[1]
    assert "No GPU" not in lines[7]
    assert "training on the CPU" in lines[7] or "Found GPU at: /device:GPU:0" in lines[7]
    assert sorted(path.name for path in project.iterdir()) == ["conf", "experiments", "images"]


@pytest.mark.slow
def test_overrides_are_read_and_an_error_ends_with_code_3(project: Path, poolstudy: Command) -> None:
    (project / "images" / "labels.gz").write_bytes(b"damaged")
    said = poolstudy(project, "check", "tiny", "study.trials=1", PYTHONIOENCODING="ascii")
    assert (said.returncode, said.stderr) == (3, "")
    assert re.search(r"^x data        .*labels\.gz has SHA-256", said.stdout, re.MULTILINE)
    assert "ok disk" in said.stdout
    assert "; 1 trial takes up to 2 MB" in said.stdout
    assert said.stdout.isascii()


@pytest.mark.parametrize("arguments", [["study.trials=0"], ["pooling", "study.trials=0"], ["nothing"]])
def test_a_configuration_error_is_one_line_with_code_2(poolstudy: Command, arguments: list[str]) -> None:
    said = poolstudy(REPOSITORY, "check", *arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.count("\n") == 1


def test_packages_are_held_against_what_the_installed_package_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "asking-1.0.dist-info"
    info.mkdir()
    required = ["rich>=1", "packaging<1", "no-such-package>=3", "no-such-extra; extra == 'dev'"]
    lines = ["Metadata-Version: 2.1", "Name: asking", "Version: 1.0", *(f"Requires-Dist: {one}" for one in required)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = list(software.packages("asking"))
    assert [finding.mark for finding in found] == ["error", "error", "ok"]
    assert re.fullmatch(r"packaging [\d.]+; expected <1", found[0].found)
    assert found[1].found == "no no-such-package; expected >=3"
    assert re.fullmatch(r"rich [\d.]+", found[2].found)
    assert found[1].remedy == "run: make setup"
    (unknown,) = software.packages("never-installed")
    assert unknown.mark == "warning"


def test_a_program_that_is_missing_or_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.program_dot() == Finding(
        "error", "dot", "no such program; Graphviz draws the diagrams", "install graphviz, or run: make setup"
    )
    (tmp_path / "dot").write_text(f"#!{sys.executable}\nimport sys\nsys.exit(4)\n")
    (tmp_path / "dot").chmod(0o755)
    assert software.program_dot().mark == "error"


# Data


@pytest.fixture
def config(project: Path) -> StudyConfig:
    return load_config("tiny", [], project)


def test_data_that_is_missing_is_reported_and_not_downloaded(project: Path, config: StudyConfig) -> None:
    assert config.data.format == "idx"
    values = config.data.model_dump() | {"path": None, "search": ["here"], "mirrors": ["http://127.0.0.1:9/data"]}
    found = storage.data(IdxData(**values), project)
    assert found.mark == "warning"
    assert found.found == "tiny is not in here: would be downloaded from http://127.0.0.1:9/data"
    assert found.remedy == "without a network: put images.gz and labels.gz into here"
    assert storage.data(IdxData(**values | {"mirrors": []}), project).mark == "error"
    assert storage.data(IdxData(**values | {"path": "nowhere"}), project).mark == "error"
    assert not (project / "here").exists()


def test_data_of_scikit_learn_is_always_here(project: Path) -> None:
    config = load_config("tiny", ["data=digits"], project)
    # 1,797 digits, a fifth of them, rounded up, for validation.
    images = "1,437 training and 360 validation images"
    assert storage.data(config.data, project) == Finding("ok", "data", f"digits, part of scikit-learn: {images}")
    config = load_config("tiny", ["data=digits", "data.train_limit=1438"], project)
    with pytest.raises(ConfigurationError, match="at most 1437"):
        storage.data(config.data, project)


# Stores


def test_stores_are_counted(tmp_path: Path) -> None:
    tracker = Tracker("sqlite:///mlflow.db", "artifacts", "s", tmp_path)
    assert storage.tracking_store("sqlite:///mlflow.db", tmp_path).found.endswith(": 0 studies, 0 other runs")
    tracker.open_study({}, {})
    open_trial(tracker, make_spec(), "trial-0007", 0)
    found = storage.tracking_store("sqlite:///mlflow.db", tmp_path)
    assert found == Finding("ok", "MLflow", f"{tmp_path}/mlflow.db: 1 study, 1 other run")
    database = f"sqlite:///{tmp_path}/optuna.db"
    for name, trials in (("a", 1), ("b", 2)):
        study = optuna.create_study(storage=database, study_name=name)
        for _ in range(trials):
            study.ask()
    found = storage.optuna_store(tmp_path / "optuna.db")
    assert found == Finding("ok", "Optuna", f"{tmp_path}/optuna.db: 2 studies, 3 trials")


def test_stores_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    for name in ("mlflow.db", "optuna.db"):
        (tmp_path / name).write_text("no database" * 100)
    assert storage.tracking_store("sqlite:///mlflow.db", tmp_path).mark == "error"
    assert storage.optuna_store(tmp_path / "optuna.db").mark == "error"
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE version_info (x)")
    assert storage.optuna_store(tmp_path / "other.db").mark == "error"


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    found = storage.tracking_store("http://me:secret@127.0.0.1:9", tmp_path)
    assert found.mark == "error"
    assert found.found.startswith("http://127.0.0.1:9 does not answer")
    assert "secret" not in found.found


@pytest.mark.parametrize(
    ("free", "trials", "mark", "room"),
    [
        (2_000_000_000, 20, "ok", "2.0 GB free at {}; 20 trials take up to 153 MB"),
        (1_999_000_000, 1, "warning", "2.0 GB free at {}; 1 trial takes up to 8 MB"),
        (4_000_000_000, 1000, "warning", "4.0 GB free at {}; 1000 trials take up to 7.6 GB"),
    ],
)
def test_room_is_for_the_trials_and_never_below_two_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, trials: int, mark: str, room: str
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # The largest network: (9 + 1) 64 + (9 x 64 + 1) 64 + (49 x 64 + 1) 100 + (100 + 1) 10 = 352,278 parameters, each
    # 4 bytes, kept four times (untrained, trained and Adam's two moments); 2 MB of pictures: 7,636,448 bytes.
    config = load_config("pooling", [f"study.trials={trials}"], REPOSITORY)
    found = storage.disk_space(tmp_path / "mlruns", config)
    assert (found.mark, found.found) == (mark, room.format(tmp_path))


# TensorFlow


def asked(script: str, trying: str = "", **execution: Any) -> list[Finding]:
    with asking_tensorflow(script) as process:
        return list(tensorflow(process, ExecutionSection(**execution), trying))


def printing(answer: Any, *lines: str) -> str:
    """Return a script that prints lines to stderr, and then this answer."""
    stderr = "\n".join(lines)
    return f"import sys\nprint({stderr!r}, file=sys.stderr)\nprint({json.dumps(answer)!r})"


BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"}
LISTED = [{"name": f"GPU:{number}", "description": "NVIDIA H200", "compute_capability": "9.0"} for number in (0, 1)]
# The script that tries one of them; the second fails.
FIRST_WORKS = """
import json
device = dict(name={name!r}, description="NVIDIA H200", compute_capability="9.0")
if device["name"] == "GPU:1":
    device["problem"] = "CUDA_ERROR_OUT_OF_MEMORY"
print(json.dumps(device))
"""


def test_gpus_are_named_as_tensorflow_names_them() -> None:
    works, broken = asked(printing({"gpus": LISTED, "build": BUILD}, NOTICE), FIRST_WORKS, require_gpu=True)
    assert works.mark == "ok"
    assert works.found == (
        "Found GPU at: /device:GPU:0 (NVIDIA H200), compute capability 9.0, built with CUDA 12.5.1, built with cuDNN 9"
    )
    assert broken.mark == "warning"  # the other one does
    assert broken.found == "GPU at /device:GPU:1 (NVIDIA H200) cannot be used: CUDA_ERROR_OUT_OF_MEMORY"
    assert broken.remedy.startswith("see what nvidia-smi")


def test_gpus_that_all_fail_are_errors_where_one_is_required() -> None:
    listed = printing({"gpus": LISTED, "build": BUILD})
    dies = "import os; os.abort()  # {name}"
    assert [finding.mark for finding in asked(listed, dies, require_gpu=True)] == ["error", "error"]
    found = asked(listed, dies)
    assert [finding.mark for finding in found] == ["warning", "warning"]
    assert "cannot be used: a process that imports it was ended by SIGABRT" in found[0].found


@pytest.mark.parametrize(
    ("sight", "required", "mark", "says"),
    [
        (NOTHING, False, "ok", "no NVIDIA driver here: training on the CPU (6 cores, 3 workers of 2 threads)"),
        (NOTHING, True, "error", "no NVIDIA driver here, and execution.require_gpu=true"),
        (LOST, False, "warning", "no card: training on the CPU (6 cores, 3 workers of 2 threads)"),
        (LOST, True, "error", "no card, and execution.require_gpu=true"),
        (CARD, False, "warning", "finds no GPU (Cannot dlopen some GPU libraries. Skipping"),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, sight: Sight, required: bool, mark: str, says: str
) -> None:
    monkeypatch.setattr("poolstudy.checks.machine.gpus.cores", lambda: 6)
    monkeypatch.setattr("poolstudy.checks.machine.gpus.inspect_machine", lambda _: sight)
    answer = printing({"gpus": [], "build": BUILD}, NOTICE, DLOPEN)
    (found,) = asked(answer, require_gpu=required, threads_per_worker=2)
    assert found.mark == mark
    assert says in found.found
    assert bool(found.remedy) is (mark != "ok")


def test_the_reason_is_the_last_of_the_most_severe_messages_about_gpus() -> None:
    assert reason(f"{NOTICE}\n{CU_INIT}\n{NO_DRIVER}\n{DLOPEN}").startswith("failed call to cuInit")
    assert reason(f"{NOTICE}\n{NO_DRIVER}") == "Could not find cuda drivers on your machine, GPU will not be used."
    assert reason(NOTICE) == reason("") == ""


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import os; os.abort()", "was ended by SIGABRT: it printed no error"),
        ("import not_there", "ended with exit code 1: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_tensorflow_that_crashes_is_a_line(script: str, says: str) -> None:
    (found,) = asked(script)
    assert (found.mark, found.subject) == ("error", "TensorFlow")
    assert found.found == f"a process that imports it {says}"


# Printing


def test_on_a_terminal_lines_fold_beside_their_marks() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    machine.print_finding(
        Finding("warning", "disk", "1.0 GB free at /a/folder", "free space, or lower study.trials"), console
    )
    assert isinstance(console.file, io.StringIO)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "! disk       1.0 GB free at /a/folder;",
        "             free space, or lower",
        "             study.trials",
    ]


def test_this_python_is_supported() -> None:
    assert software.python().mark == "ok"
    assert os.fspath(sys.version.split()[0]) in software.python().found
