"""Hyperparameters that version 0.1.0 did not have, in a whole study: sampled, logged, shown, saved, reproduced."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from books import artifact, check_agreement, images_of, runs, trials
from conftest import Command, make_project

from poolstudy.data.loading import load_search_data, scaled
from poolstudy.spec.load import load_config

pytestmark = pytest.mark.slow

SPACE = ("space.kernel_size=[1,5]", "space.batch_normalization=[true,false]", "space.dense_units=[4,6]")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, poolstudy: Command) -> tuple[Path, str]:
    root = make_project(tmp_path_factory.mktemp("new") / "project")
    ended = poolstudy(root, "run", "tiny", "study.trials=8", "sampler=grid", "execution.workers=2", *SPACE)
    assert ended.returncode == 0, ended.stderr
    return root, ended.stdout


def settings(run: Any) -> tuple[str, ...]:
    return tuple(run.data.params[name] for name in ("kernel_size", "batch_normalization", "dense_units"))


def test_they_are_sampled_and_logged_and_their_runs_are_whole(study: tuple[Path, str], poolstudy: Command) -> None:
    root, said = study
    check_agreement(root)
    found = runs(root)
    for place, values in enumerate(({"1", "5"}, {"True", "False"}, {"4", "6"})):
        assert {settings(run)[place] for run in found} == values
    assert {type(trial.params["batch_normalization"]) for trial in trials(root)} == {bool}
    assert "kernel size 5" in said
    assert "batch normalization" in said
    assert poolstudy(root, "doctor").stdout == "1 study: nothing disagrees\n"
    keys = {frozenset(images_of(root, run)) for run in found}
    assert len(keys) == 1  # the same pictures of every network, so that they lie side by side
    view = json.loads(
        next(value for key, value in experiment_tags(root).items() if key.startswith("mlflow.sharedViewState"))
    )
    assert {"params.`kernel_size`", "params.`batch_normalization`", "params.`dense_units`"} <= set(
        view["selectedColumns"]
    )


def experiment_tags(root: Path) -> dict[str, str]:
    from books import store
    from mlflow import MlflowClient

    experiment = MlflowClient(store(root)).get_experiment_by_name("tiny")
    assert experiment
    return dict(experiment.tags)


def test_plain_keras_gives_the_logged_number_of_correct_images(study: tuple[Path, str]) -> None:
    import keras

    root, _ = study
    data = load_search_data(load_config("tiny", [], root).data, root)
    for run in runs(root):
        model = keras.models.load_model(artifact(root, run, "model.keras"), safe_mode=True)
        right = model.predict(scaled(data.validation_images), verbose=0).argmax(axis=1) == data.validation_labels
        assert right.sum() == round(run.data.metrics["best_val_accuracy"] * len(data.validation_labels))
        names = [layer.name for layer in model.layers]
        assert ("batch_norm_1" in names) == (run.data.params["batch_normalization"] == "True")
        assert model.get_layer("conv_1").kernel_size == (int(run.data.params["kernel_size"]),) * 2
        assert model.get_layer("dense_1").units == int(run.data.params["dense_units"])
        assert model.count_params() == run.data.metrics["parameter_count"]
        weights = np.load(artifact(root, run, "untrained.npz")).files
        assert ("batch_norm_2/moving_variance" in weights) == ("batch_norm_1" in names)
        assert f"({int(run.data.params['kernel_size'])}, " in artifact(root, run, "layers.csv").read_text()
        assert ("batch_norm_1" in artifact(root, run, "summary.txt").read_text()) == ("batch_norm_1" in names)


def test_each_kind_is_reproduced_bit_for_bit_shown_compared_and_reported(
    study: tuple[Path, str], poolstudy: Command
) -> None:
    root, _ = study
    kinds = {settings(run)[:2]: run for run in runs(root)}
    assert len(kinds) > 2
    for run in kinds.values():
        again = poolstudy(root, "reproduce", run.info.run_id, "--strict")
        assert "identical: bit for bit" in again.stdout, again.stdout
    normalized = next(run for key, run in kinds.items() if key[1] == "True")
    shown = poolstudy(root, "show", normalized.info.run_id).stdout
    assert "batch_normalization True" in " ".join(shown.split())
    assert "batch_norm_1/moving_mean" in shown
    compared = poolstudy(root, "compare", *(run.info.run_id for run in kinds.values()))
    assert compared.returncode == 0, compared.stderr
    assert compared.stderr == ""
    page = (root / compared.stdout.splitlines()[0]).read_text()
    assert "kernel_size" in page
    assert "batch normalization" in page
    reported = poolstudy(root, "report")
    assert reported.returncode == 0, reported.stderr
    assert "batch_normalization" in (root / reported.stdout.splitlines()[0]).read_text()


def test_the_study_goes_on_and_with_another_space_it_is_refused(study: tuple[Path, str], poolstudy: Command) -> None:
    root, _ = study
    same = poolstudy(root, "run", "tiny", "study.trials=8", "sampler=grid", *SPACE)
    assert same.returncode == 0
    assert "Best run: " in same.stdout
    other = poolstudy(root, "run", "tiny", "study.trials=8", "sampler=grid", *SPACE[1:])
    assert other.returncode == 2
    assert "space.kernel_size.choices is [1, 5], asked for nothing" in other.stderr
