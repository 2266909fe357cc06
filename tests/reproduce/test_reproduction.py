"""Reproductions of a study with a complete, a pruned and a failed trial, on the command line."""

import contextlib
import gzip
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from books import artifact, runs, store
from conftest import REPOSITORY, Command, make_project, write_idx
from damage import FAILED, GOOD, PRUNED, study_of_three
from mlflow import MlflowClient
from mlflow.entities import Run

from poolstudy.errors import PoolstudyError, RecordTampered
from poolstudy.network.build import weights_of
from poolstudy.network.weights import weights_digest
from poolstudy.reproduce.record import record_of
from poolstudy.reproduce.reproduction import _source
from poolstudy.reproduce.verdict import judge
from poolstudy.spec.records import TrialSpec
from poolstudy.tracking import find_run

pytestmark = pytest.mark.slow  # test_record.py and test_verdict.py are fast


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, poolstudy: Command) -> Path:
    return study_of_three(tmp_path_factory.mktemp("reproduced") / "project", poolstudy)


def reproductions(root: Path, run: Run) -> list[Run]:
    found = runs(root, kind="reproduction")
    return [again for again in found if again.data.tags["poolstudy.reproduces"] == run.info.run_id]


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Change a text file for the duration of the block."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(text)


def state_of(root: Path, run: Run) -> tuple[Any, ...]:
    """Return everything that the store and the disk have of a run."""
    with contextlib.closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
        tables = ("runs", "tags", "params", "metrics", "latest_metrics")
        query = "select * from {} where run_uuid = ?"
        rows = [database.execute(query.format(table), (run.info.run_id,)).fetchall() for table in tables]
    files = {path: path.read_bytes() for path in artifact(root, run, "").rglob("*") if path.is_file()}
    return rows, files


def test_a_run_comes_out_bit_for_bit_as_a_run_of_its_own(study: Path, poolstudy: Command) -> None:
    original = runs(study)[GOOD]
    before = state_of(study, original)
    said = poolstudy(study, "reproduce", original.info.run_id[:8], "--strict")
    assert (said.returncode, said.stderr) == (0, "")
    assert "identical: bit for bit" in said.stdout
    assert said.stdout.count("as before") == 3
    assert "Changed since the original" not in said.stdout
    assert state_of(study, original) == before
    (again,) = reproductions(study, original)
    assert again.info.run_id in said.stdout
    assert (again.info.run_name, again.info.status) == ("trial-0001-reproduction", "FINISHED")
    assert again.data.tags["poolstudy.verdict"] == "identical"
    assert again.data.params == original.data.params
    comparison = json.loads(artifact(study, again, "comparison.json").read_text())
    assert comparison["verdict"]["word"] == "identical"
    assert comparison["then"]["weights_digest"] == original.data.tags["poolstudy.weights_digest"]
    assert {**comparison["then"], "history": 0} == {**comparison["now"], "history": 0}
    assert "identical: bit for bit" in artifact(study, again, "comparison.txt").read_text()
    shown = poolstudy(study, "show", original.info.run_id)
    assert again.info.run_id in shown.stdout
    assert "identical" in shown.stdout


@pytest.mark.parametrize("which", [PRUNED, FAILED])
def test_pruned_and_failed_runs_come_out_the_same(study: Path, poolstudy: Command, which: int) -> None:
    original = runs(study)[which]
    said = poolstudy(study, "reproduce", original.info.run_id, "--strict")
    assert (said.returncode, said.stderr) == (0, ""), said.stdout
    comparison = json.loads(artifact(study, reproductions(study, original)[0], "comparison.json").read_text())
    assert comparison["now"]["stop_reason"] == ("pruned" if which == PRUNED else "failed")
    assert len(comparison["now"]["history"]) == (2 if which == PRUNED else 0)
    assert comparison["now"]["failure"] == original.data.tags.get("poolstudy.reason", "")


def test_other_threads_are_named(study: Path, poolstudy: Command) -> None:
    said = poolstudy(study, "reproduce", runs(study)[GOOD].info.run_id, "--threads", "2")
    assert "threads is 2, was 1" in said.stdout
    # So small a network may come out the same; if it does not, the threads are named.
    assert ("identical: " in said.stdout) is ("sums that up to 2 threads share on the CPU" not in said.stdout)
    assert said.returncode == ("different: " in said.stdout)


def test_another_seed_is_different_from_the_first_epoch_on(study: Path, poolstudy: Command) -> None:
    original = runs(study)[GOOD]
    path = artifact(study, original, "spec.json")
    spec = TrialSpec.model_validate_json(path.read_text())
    changed = spec.model_copy(update={"seed": spec.seed + 1})
    client = MlflowClient(store(study))
    with edited(path, f'"seed": {spec.seed}', f'"seed": {changed.seed}'):
        client.set_tag(original.info.run_id, "poolstudy.spec_digest", changed.digest)
        said = poolstudy(study, "reproduce", original.info.run_id)
        client.set_tag(original.info.run_id, "poolstudy.spec_digest", spec.digest)
    assert said.returncode == 1
    assert "The results differ in:\n  epoch 1: loss is" in said.stdout
    assert "different: not the same" in said.stdout
    assert reproductions(study, original)[-1].data.tags["poolstudy.verdict"] == "different"


def test_a_package_of_another_version_and_an_edited_source_file_are_named(
    study: Path, poolstudy: Command, tmp_path: Path
) -> None:
    original = runs(study)[GOOD]
    environment = artifact(study, original, "environment.json")
    version = json.loads(environment.read_text())["packages"]["keras"]
    shutil.copytree(REPOSITORY / "src", tmp_path / "src")
    with (tmp_path / "src" / "poolstudy" / "errors.py").open("a") as file:
        file.write("# a comment\n")
    with edited(environment, f'"keras": "{version}"', '"keras": "3.0.0"'):
        said = poolstudy(study, "reproduce", original.info.run_id, PYTHONPATH=str(tmp_path / "src"))
    assert said.returncode == 0, said.stderr
    assert f"packages.keras is {version}, was 3.0.0" in said.stdout
    assert "code.source_digest is " in said.stdout
    assert "identical: bit for bit" in said.stdout


def test_a_changed_pixel_with_a_matching_checksum_is_caught_before_training(study: Path, poolstudy: Command) -> None:
    original = runs(study)[GOOD]
    file = study / "images" / "images.gz"
    kept = file.read_bytes()
    images = np.frombuffer(gzip.decompress(kept), np.uint8, offset=16).reshape(250, 8, 8).copy()
    images[0, 4, 4] ^= 1
    try:
        changed = write_idx(file, images)
        with edited(artifact(study, original, "environment.json"), hashlib.sha256(kept).hexdigest(), changed):
            said = poolstudy(study, "reproduce", original.info.run_id)
    finally:
        file.write_bytes(kept)
    assert said.returncode == 1
    assert "data.parts.train_images is" in said.stdout or "data.parts.validation_images is" in said.stdout
    assert "labels" not in said.stdout
    assert "epoch 1" not in said.stdout
    assert "different: not the same" in said.stdout


def test_a_frozen_run_is_reproduced_without_its_mlruns(study: Path, poolstudy: Command, tmp_path: Path) -> None:
    frozen = poolstudy(study, "freeze", "best")
    assert frozen.returncode == 0, frozen.stderr
    best = study / "experiments" / "tiny" / "best.json"
    assert best.stat().st_size < 20_000
    elsewhere = make_project(tmp_path / "elsewhere")
    shutil.copy(best, elsewhere / "best.json")
    said = poolstudy(elsewhere, "reproduce", "best.json", "--strict", "--data", "images")
    assert (said.returncode, said.stderr) == (0, ""), said.stdout
    assert "identical: bit for bit" in said.stdout
    (again,) = runs(elsewhere, kind="reproduction")
    assert again.data.tags["poolstudy.reproduces"] == json.loads(best.read_text())["run_id"]
    (elsewhere / "best.json").write_text(best.read_text().replace('"epoch": 1', '"epoch": 2', 1))
    broken = poolstudy(elsewhere, "reproduce", "best.json")
    assert broken.returncode == 1
    assert "it was changed" in broken.stderr


def test_a_flipped_bit_of_one_weight_is_different(study: Path) -> None:
    original = record_of(find_run(store(study), "best"))
    model = keras.models.load_model(artifact(study, runs(study)[GOOD], "model.keras"), safe_mode=True)
    weights = {name: array.copy() for name, array in weights_of(model).items()}
    same = original.reached.model_copy(update={"weights_digest": weights_digest(weights)})
    assert judge(original.reached, same, []).word == "identical"
    weights["conv_2/kernel"].view(np.uint32)[1, 2, 0, 1] ^= 1
    flipped = original.reached.model_copy(update={"weights_digest": weights_digest(weights)})
    verdict = judge(original.reached, flipped, [])
    assert verdict.word == "different"
    assert verdict.reasons[0].startswith("the trained weights: ")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("spec.json", '"dropout": 0.2', '"dropout": 0.3', "which it was started with: it was changed"),
        ("history.csv", "\n2,", "\n2,1", "which was logged: it was changed"),
        ("environment.json", '"format": "idx"', '"format": "pickle"', "environment.json of run"),
        ("environment.json", "{", "[", "environment.json of run"),
    ],
)
def test_a_file_that_was_changed_is_refused(study: Path, file: str, old: str, new: str, message: str) -> None:
    with edited(artifact(study, runs(study)[GOOD], file), old, new), pytest.raises(RecordTampered) as caught:
        record_of(find_run(store(study), "best"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("spec.json", "has no spec.json"),
        ("environment.json", "has no environment.json"),
        ("history.csv", "history.csv is not there"),
    ],
)
def test_deleted_artifacts_are_named(study: Path, file: str, message: str) -> None:
    path = artifact(study, runs(study)[GOOD], file)
    hidden = path.with_name("hidden")
    path.rename(hidden)
    try:
        with pytest.raises(PoolstudyError, match=message):
            record_of(find_run(store(study), "best"))
    finally:
        hidden.rename(path)


def test_data_are_found_where_they_were_and_downloaded_into_the_project_only(study: Path, tmp_path: Path) -> None:
    original = record_of(find_run(store(study), "best"))
    found = _source(original, study, None)
    assert found.format == "idx"
    assert found.path == str(study / "images")
    for path in ("/nowhere", "~nobody-of-this-machine/x"):
        elsewhere = original.source.model_copy(update={"path": path, "search": ("~/.config/autostart",)})
        other = _source(original.model_copy(update={"source": elsewhere}), tmp_path, None)
        assert other.format == "idx"
        assert (other.path, other.search[0]) == (None, "data/tiny")


def test_a_run_that_cannot_be_reproduced_is_refused_in_one_line(study: Path, poolstudy: Command) -> None:
    (own,) = runs(study, kind="study")
    with pytest.raises(PoolstudyError, match="is a study; expected a trial"):
        record_of(find_run(store(study), own.info.run_id))
    original = runs(study)[GOOD]
    client = MlflowClient(store(study))
    client.delete_tag(original.info.run_id, "poolstudy.state")
    client.update_run(original.info.run_id, status="RUNNING")
    try:
        with pytest.raises(PoolstudyError, match="is running; expected a complete, pruned or failed trial"):
            record_of(find_run(store(study), original.info.run_id))
    finally:
        client.set_tag(original.info.run_id, "poolstudy.state", "complete")
        client.update_run(original.info.run_id, status="FINISHED")
    said = poolstudy(study, "reproduce", "nothing.json")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert poolstudy(study, "reproduce", "feedfacefeedface").returncode == 2
