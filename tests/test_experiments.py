"""The experiments that come with the project: what is frozen in git is reproduced."""

import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY, Command

from poolstudy.reproduce.record import RunRecord
from poolstudy.spec.load import load_config

EXPERIMENTS = sorted(path.parent.name for path in (REPOSITORY / "experiments").glob("*/experiment.yaml"))
FROZEN = sorted((REPOSITORY / "experiments").glob("*/best.json"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_run_and_is_described(name: str) -> None:
    assert load_config(name, [], REPOSITORY).study.name == name
    command = {"pooling": "make study", "smoke": "make smoke"}.get(name, f"poolstudy run {name}")
    assert command in (REPOSITORY / "experiments" / name / "README.md").read_text()


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.parent.name)
def test_every_frozen_run_is_whole(path: Path) -> None:
    claim = RunRecord.from_json(path.read_text(), path.name)
    assert claim.spec.study == path.parent.name
    assert claim.reached.stop_reason in ("epochs", "early_stopping")


@pytest.mark.slow
def test_the_frozen_run_of_the_digits_comes_out_again(tmp_path: Path, poolstudy: Command) -> None:
    for folder in ("conf", "experiments"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    said = poolstudy(tmp_path, "reproduce", "experiments/digits/best.json")
    # Bit for bit on the machine it was frozen on; on another processor within the tolerances.
    assert said.returncode == 0, said.stdout + said.stderr
