"""Real parts on small real data: scikit-learn's digits as IDX files, SQLite in a temporary folder."""

import gzip
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolstudy.spec.records import DataIdentity, EpochRecord, TrainingSettings, TrialResult, TrialSpec
from poolstudy.spec.space import HyperParameters

if TYPE_CHECKING:  # it takes seconds to import
    from poolstudy.tracking import Tracker

REPOSITORY = Path(__file__).parents[1]

EXPERIMENT = """\
defaults:
  - data: tiny
  - space: tiny
  - sampler: random
  - pruner: none
  - training: short
  - execution: local
  - tracking: local
  - _self_
study:
  name: tiny
  trials: 5
  timeout: null
  seed: 7
  objective: {metric: best_val_accuracy, direction: maximize}
"""


def write_idx(path: Path, array: NDArray[np.uint8]) -> str:
    """Writes an IDX file, gzipped; returns its SHA-256."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small_images(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first digits, (count, 8, 8) and (count,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images[:count] * 15).astype(np.uint8), digits.target[:count].astype(np.uint8)


def write_data(folder: Path, conf: Path, count: int = 250) -> None:
    """A tiny data set in IDX files, and its group file conf/data/tiny.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = small_images(count)
    images_sha = write_idx(folder / "images.gz", images)
    labels_sha = write_idx(folder / "labels.gz", labels)
    (conf / "data" / "tiny.yaml").write_text(
        f"""\
name: tiny
format: idx
path: {folder}
search: []
mirrors: []
images: {{file: images.gz, sha256: {images_sha}}}
labels: {{file: labels.gz, sha256: {labels_sha}}}
image_shape: [8, 8, 1]
class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
validation_fraction: 0.2
split_seed: 42
train_limit: null
"""
    )


def make_project(root: Path) -> Path:
    """A project folder of its own, with the real conf/ and a tiny experiment."""
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    (root / "experiments" / "tiny").mkdir(parents=True)
    (root / "experiments" / "tiny" / "experiment.yaml").write_text(EXPERIMENT)
    (root / "conf" / "space" / "tiny.yaml").write_text(
        "pooling: [average, max]\npool_size: 2\nfilters: [[2, 3], [2, 3]]\ndropout: [0.0, 0.25]\n"
        "learning_rate: null\nbatch_size: null\n"
    )
    write_data(root / "images", root / "conf")
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, the working directory."""
    for name in ("POOLSTUDY_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def make_result(losses: list[float], best: int | None = None) -> TrialResult:
    """A result with these validation losses; the accuracy of epoch n is 0.5 + n / 10."""
    history = tuple(
        EpochRecord(epoch=n, loss=loss + 0.1, accuracy=0.5, val_loss=loss, val_accuracy=0.5 + n / 10, seconds=2)
        for n, loss in enumerate(losses, start=1)
    )
    return TrialResult(
        history=history,
        best_epoch=best or losses.index(min(losses)) + 1,
        stop_reason="epochs",
        parameter_count=12,
        weights_digest="w",
        untrained_digest="u",
        train_seconds=2,
        images_per_second=2,
    )


def make_identity(digest: str = "d") -> DataIdentity:
    """200 training and 50 validation images of ten digits, 8 x 8 pixels."""
    return DataIdentity(
        name="tiny",
        digest=digest,
        parts={},
        image_shape=(8, 8, 1),
        class_names=tuple("0123456789"),
        train_images=200,
        validation_images=50,
        validation_fraction=0.2,
        split_seed=42,
    )


def make_spec(study: str = "s", slot: int = 7) -> TrialSpec:
    """A trial of max pooling, 3 and 4 filters, up to 3 epochs."""
    few = {"class_names": ("0", "1"), "train_images": 4, "validation_images": 1}
    data = make_identity("d" * 64).model_copy(update=few)
    hyperparameters = HyperParameters(pooling="max", pool_size=2, filters=(3, 4), dropout=0.25)
    training = TrainingSettings(epochs=3)
    return TrialSpec(study=study, slot=slot, seed=99, hyperparameters=hyperparameters, training=training, data=data)


def open_trial(tracker: "Tracker", spec: TrialSpec, name: str, retry: int) -> str:
    """A run for an attempt, as the delivery opens it. Returns its ID."""
    run_id = tracker.create_trial(spec, name, retry)
    tracker.describe(run_id, spec)
    return run_id


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def poolstudy() -> Command:
    """Runs the program as a user does: poolstudy(root, "run", "tiny", "study.trials=2")."""

    def call(root: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "poolstudy", *arguments],
            cwd=root,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return call


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in {"POOLSTUDY_DATA", "MLFLOW_TRACKING_URI"}}


def start(root: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command `run tiny`, going on."""
    return subprocess.Popen(
        [sys.executable, "-m", "poolstudy", "run", "tiny", *arguments],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", *texts: str) -> None:
    """Waits until the command has said each of the texts, in any order."""
    assert process.stdout is not None
    unsaid = set(texts)
    for line in process.stdout:
        unsaid -= {text for text in unsaid if text in line}
        if not unsaid:
            return
    raise AssertionError(f"ended without saying {unsaid}: {process.stderr.read() if process.stderr else ''}")


def kill_at(root: Path, text: str, *arguments: str) -> None:
    """A study of two workers that is killed when it says the text."""
    with start(root, "execution.workers=2", *arguments) as study:
        wait_for(study, text)
        os.kill(study.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, poolstudy: Command) -> tuple[Path, Any]:
    """A finished study of five trials with two workers, and what the program said."""
    root = make_project(tmp_path_factory.mktemp("finished") / "project")
    return root, poolstudy(root, "run", "tiny", "execution.workers=2")
