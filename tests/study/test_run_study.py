"""Whole studies as a user runs them: five small trials on real digits, two workers."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import pandas as pd
import pytest
from books import FILES, artifact, check_agreement, damaged_files, files_of, images_of, reached, runs, store, trials
from conftest import REPOSITORY, Command, kill_at, wait_for
from conftest import start as started
from damage import copied
from mlflow import MlflowClient

from benchmarks import forecast, overhead, pruning
from benchmarks.studies import read as read_study
from poolstudy.cli import main
from poolstudy.data.loading import SearchData, scaled
from poolstudy.network.build import build_model, weights_of
from poolstudy.network.weights import weights_digest
from poolstudy.spec.candidates import CandidateNetworks
from poolstudy.spec.load import load_config
from poolstudy.spec.records import TrialSpec

UNRENDERED = {name for name in FILES if not name.endswith(".png")}
IMAGES = {
    "model/diagram",
    "curves/learning",
    *(f"weights/{layer}" for layer in ("conv_1", "conv_2", "dense_1", "dense_2")),
    *(f"kernels/{layer}" for layer in ("conv_1", "conv_2")),
    *(f"feature_maps/{layer}" for layer in ("conv_1", "pool_1", "conv_2", "pool_2")),
    "confusion/validation",
    "confusion/most_wrong",
}


@pytest.fixture(scope="session")
def study(finished: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the finished study, since some tests continue it."""
    from damage import copied

    root, said = finished
    assert said.returncode == 0, said.stdout + said.stderr
    return copied(root, tmp_path_factory.mktemp("study") / "project")


def test_exactly_the_requested_trials_are_done(study: Path) -> None:
    assert Counter(run.data.tags["poolstudy.state"] for run in runs(study)) == {"complete": 5}
    assert sorted(int(run.data.tags["poolstudy.trial"]) for run in runs(study)) == [1, 2, 3, 4, 5]
    assert len({run.data.tags["poolstudy.spec_digest"] for run in runs(study)}) == 5
    check_agreement(study)


def test_params_are_those_of_the_spec_that_trained(study: Path) -> None:
    for run in runs(study):
        spec = TrialSpec.model_validate_json(artifact(study, run, "spec.json").read_text())
        values = spec.hyperparameters.flat() | {"epochs": 3, "patience": 2, "seed": spec.seed}
        assert run.data.params == {key: str(value) for key, value in values.items()}
        assert run.data.tags["poolstudy.spec_digest"] == spec.digest
        assert run.data.tags["poolstudy.data_digest"] == spec.data.digest


def test_every_run_has_the_files_and_images_of_the_contract(study: Path) -> None:
    for run in runs(study):
        assert files_of(study, run) == FILES
        assert images_of(study, run) == sorted(IMAGES)
        assert list(damaged_files(study, run)) == []
        assert "poolstudy.pictures" not in run.data.tags


def test_the_untrained_weights_of_a_run_are_those_its_trial_began_with(study: Path) -> None:
    for run in runs(study):
        untrained = dict(np.load(artifact(study, run, "untrained.npz")))
        assert weights_digest(untrained) == run.data.tags["poolstudy.untrained_digest"]
        spec = TrialSpec.model_validate_json(artifact(study, run, "spec.json").read_text())
        keras.utils.set_random_seed(spec.seed)
        model = build_model(spec.hyperparameters, spec.data.image_shape, 10, spec.training.dense_units)
        assert weights_digest(weights_of(model)) == run.data.tags["poolstudy.untrained_digest"]


def test_the_report_and_the_predictions_are_those_of_the_logged_accuracy(study: Path) -> None:
    for run in runs(study):
        report = json.loads(artifact(study, run, "classification_report.json").read_text())
        assert report["accuracy"] == pytest.approx(run.data.metrics["best_val_accuracy"], abs=1e-6)
        assert report["weighted avg"]["support"] == 50
        assert [str(digit) in report for digit in range(10)] == [True] * 10
        assert np.load(artifact(study, run, "validation.npz"))["probabilities"].shape == (50, 10)


def test_metrics_of_each_epoch_are_those_of_the_history(study: Path) -> None:
    client = MlflowClient(store(study))
    for run in runs(study):
        history = pd.read_csv(artifact(study, run, "history.csv"))
        for metric, column in {"loss": "loss", "val_accuracy": "val_accuracy", "epoch_seconds": "seconds"}.items():
            logged = client.get_metric_history(run.info.run_id, metric)
            assert [point.step for point in logged] == history["epoch"].tolist()
            assert [point.value for point in logged] == history[column].tolist()
        best = history.iloc[int(history["val_loss"].to_numpy().argmin())]
        assert run.data.metrics["best_epoch"] == best["epoch"]
        assert run.data.metrics["best_val_accuracy"] == best["val_accuracy"]
        assert run.data.metrics["best_val_loss"] == best["val_loss"]


def test_a_saved_model_gives_the_logged_number_of_correct_images_and_the_loss(study: Path) -> None:
    (cache,) = (study / "mlruns" / "cache").iterdir()
    data = SearchData.open(cache)
    for run in runs(study):
        model = keras.models.load_model(artifact(study, run, "model.keras"), safe_mode=True)
        loss, accuracy = model.evaluate(scaled(data.validation_images), data.validation_labels, verbose=0)
        assert round(accuracy * 50) == round(run.data.metrics["best_val_accuracy"] * 50)
        assert loss == pytest.approx(run.data.metrics["best_val_loss"], abs=1e-6)
        assert model.count_params() == run.data.metrics["parameter_count"]


def test_the_table_of_layers_is_that_of_the_weights_before_and_after(study: Path) -> None:
    for run in runs(study):
        untrained = dict(np.load(artifact(study, run, "untrained.npz")))
        trained = weights_of(keras.models.load_model(artifact(study, run, "model.keras"), safe_mode=True))
        table = pd.read_csv(artifact(study, run, "layers.csv"))
        assert (table["layer"] + "/" + table["weight"]).tolist() == list(untrained) == list(trained)
        assert table["shape"].tolist() == [str(array.shape) for array in trained.values()]
        for when, weights in (("untrained", untrained), ("trained", trained)):
            assert table[f"{when}_mean"].tolist() == pytest.approx([array.mean() for array in weights.values()])
            assert table[f"{when}_std"].tolist() == pytest.approx([array.std() for array in weights.values()])


def test_the_study_is_a_run_of_its_own(study: Path) -> None:
    (run,) = runs(study, kind="study")
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.metrics["trials"] == 5
    assert json.loads(artifact(study, run, "config.json").read_text())["study"]["seed"] == 7


def test_no_other_files_are_left(study: Path) -> None:
    assert sorted(path.name for path in (study / "mlruns").iterdir()) == [
        "artifacts",
        "cache",
        "locks",
        "logs",
        "mlflow.db",
        "optuna.db",
        "staging",
    ]
    assert list((study / "mlruns" / "staging").iterdir()) == []


def test_the_program_reports_its_work(finished: tuple[Path, Any]) -> None:
    _, said = finished
    assert re.search(r"^At most .* \(5 trials of up to 3 epochs, 2 at a time", said.stdout, re.MULTILINE)
    assert re.search(
        r"^Needs up to \d+ MB of disk \(.* free\) and .* of memory \(.* free\)\.$", said.stdout, re.MULTILINE
    )
    assert "No GPU that TensorFlow can use: training on the CPU." in said.stdout or "Found GPU at" in said.stdout
    assert "5 of 5 trials done" in said.stdout
    assert "Best run: " in said.stdout
    assert "viewStateShareKey=poolstudy" in said.stdout
    assert said.stderr == ""
    assert max(len(line) for line in said.stdout.splitlines() if "http" not in line and "trial-" not in line) <= 80


def test_the_doctor_finds_nothing_wrong_and_writes_nothing(study: Path) -> None:
    from damage import content, examined

    before = content(study)
    assert examined(study) == (True, "1 study: nothing disagrees\n")
    assert examined(study, fix=True) == (True, "1 study: nothing disagrees\n")
    assert content(study) == before


def test_the_doctor_knows_runs_that_were_noted_at_the_study(study: Path, tmp_path: Path) -> None:
    import damage

    root = damage.copied(study, tmp_path / "copy")
    first, second, *_ = runs(root)
    damage.run_is_noted_late(root, first)
    damage.run_is_noted_late(root, second, instead="0" * 32)  # the later note counts
    assert damage.examined(root) == (True, "1 study: nothing disagrees\n")
    check_agreement(root)


def test_the_doctor_fixes_many_things_at_once(study: Path, tmp_path: Path) -> None:
    import damage

    root = damage.copied(study, tmp_path / "copy")
    first, second, third, fourth, last = runs(root)
    damage.run_is_open(root, first)
    damage.wrong_state(root, second)
    damage.spec_is_gone(root, third)
    damage.wrong_status(root, fourth)
    damage.open_attempt(root, last)
    healthy, said = damage.examined(root)
    assert not healthy
    assert "\n5 disagreements\n" in said
    healthy, said = damage.examined(root, fix=True)
    assert healthy, said
    assert said.count("✓ fixed") == 4  # one fix ends all that is left open
    assert [run.data.tags["poolstudy.state"] for run in runs(root)] == ["complete"] * 4 + ["interrupted"]
    check_agreement(root)


def test_the_benchmarks_read_its_times(study: Path) -> None:
    told = read_study(study, "tiny")
    assert (len(told.trials), told.pruner, told.places) == (5, "none", 2)
    for one in told.trials:
        assert one.asked < one.epochs[0][0] < one.ended
        assert [record.epoch for _, record in one.epochs] == [1, 2, 3]
        assert one.training < one.life
    assert overhead.lines(told)[0].startswith("tiny: 5 trials, 2 at a time, ")
    assert "| none | 5 | 0 | 15 |" in pruning.table([told])


def test_of_a_finished_study_the_forecast_ends_with_nothing_left(study: Path) -> None:
    told = read_study(study, "tiny")
    candidates = CandidateNetworks.of(load_config("tiny", [], study))
    said = list(forecast.told_again(told, candidates))
    assert [one.done for one in said] == [1, 2, 3, 4, 5]
    assert said[-1].left == 0
    assert said[-1].total == pytest.approx(told.seconds)


@pytest.mark.slow
def test_a_hundred_simulated_trials_go_through_the_real_coordinator(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--trials", "100", "--keep", str(tmp_path / "scale")]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300)
    assert said.stdout.splitlines()[-1].startswith("| 100 | ")
    assert len(runs(tmp_path / "scale", "scale")) == 100


@pytest.mark.slow
def test_the_same_command_does_no_work_twice_and_asking_for_more_trials_continues(
    study: Path, poolstudy: Command, tmp_path: Path
) -> None:
    before = {run.info.run_id for run in runs(study)}
    again = poolstudy(study, "run", "tiny")
    assert again.returncode == 0, again.stderr
    assert {run.info.run_id for run in runs(study)} == before
    more = poolstudy(
        study, "run", "tiny", "study.trials=40", "study.name=small", "space.dropout=0.0", "pruner=median_short"
    )
    assert more.returncode == 0, more.stderr
    assert "The space holds no other configuration: ended with 8 trials." in more.stdout
    check_agreement(study, "small")


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        pytest.param(
            ["training.epochs=9"],
            2,
            "study tiny exists with other settings (training.epochs is 3, asked for 9)",
            marks=pytest.mark.slow,
        ),
        (["data.path=nowhere"], 3, "no images.gz in"),
        pytest.param(
            ["study.name=new", "tracking.uri=sqlite:////proc/nowhere/mlflow.db"],
            3,
            "MLflow's store",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["study.name=gpu", "execution.require_gpu=true"],
            3,
            "no GPU that TensorFlow can use",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_impossible_study_is_refused_in_one_line_and_leaves_nothing(
    study: Path, poolstudy: Command, overrides: list[str], code: int, message: str
) -> None:
    before = len(trials(study)), len(runs(study))
    said = poolstudy(study, "run", "tiny", *overrides)
    assert (said.returncode, said.stdout) == (code, "")
    assert said.stderr.startswith("poolstudy: ")
    assert said.stderr.count("\n") == 1
    assert message in said.stderr
    assert (len(trials(study)), len(runs(study))) == before
    names = optuna.get_all_study_names(f"sqlite:///{study / 'mlruns' / 'optuna.db'}")
    assert not {"new", "gpu"} & set(names)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compare", "report"])
def test_pages_are_written_and_their_paths_printed(
    study: Path, poolstudy: Command, tmp_path: Path, command: str
) -> None:
    from damage import copied

    root = copied(study, tmp_path / "copy")
    named = ["tiny"] if command == "report" else [run.info.run_id for run in runs(root)[:2]]
    said = poolstudy(root, command, *named)
    assert (said.returncode, said.stderr) == (0, "")
    page, beside, where = said.stdout.splitlines()
    (run,) = runs(root, kind="study")
    assert where == f"and as {command}/ of run {run.info.run_id}"
    assert (root / page).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (root / beside).stat().st_size > 0
    assert (artifact(root, run, command) / Path(page).name).exists()


@pytest.mark.slow
def test_a_study_that_its_timeout_ended_can_be_continued(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "run", "tiny", "study.trials=2", "study.timeout=0.001")
    assert (said.returncode, said.stderr) == (0, "")
    assert "study.timeout ended it with 0 of 2 trials. The same command goes on from here.\n" in said.stdout
    again = poolstudy(project, "run", "tiny", "study.trials=2")
    assert (again.returncode, again.stderr) == (0, "")
    assert [run.data.tags["poolstudy.state"] for run in runs(project)] == ["complete"] * 2
    check_agreement(project)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run", "tiny"], ["reproduce"], ["compare"], ["report"], ["ui"]])
def test_a_log_that_cannot_be_written_is_named(
    command: list[str],
    study: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "project"
    copied(study, root)
    shutil.rmtree(logs := root / "mlruns" / "logs")
    logs.write_text("in the way")
    monkeypatch.chdir(root)
    assert main(command) == 3
    log = {"run": "tiny"}.get(command[0], command[0])
    expected = "expected a folder that can be written; fix its permissions"
    assert capfd.readouterr().err == f"poolstudy: {logs / log}.log: File exists; {expected}\n"


def start(root: Path, *arguments: str) -> "subprocess.Popen[str]":
    return started(root, "execution.workers=2", *arguments)


@pytest.mark.slow
def test_ctrl_c_stops_a_study_in_good_order_and_a_second_start_is_refused_before(
    project: Path, poolstudy: Command
) -> None:
    long = ["training.epochs=4000", "training.patience=4000"]
    with start(project, *long) as first:
        wait_for(first, "epoch 1/4000")
        second = poolstudy(project, "run", "tiny", *long)
        assert second.returncode == 3
        assert f"study tiny is being run by process {first.pid}" in second.stderr
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "The same command goes on from here." in out
    assert err == ""
    states = Counter(run.data.tags["poolstudy.state"] for run in runs(project))
    assert states["interrupted"] >= 1
    check_agreement(project)


@pytest.mark.slow
def test_a_killed_study_continues_with_the_same_results(project: Path, study: Path, poolstudy: Command) -> None:
    kill_at(project, "trial-0002  epoch 1/3")
    assert [run for run in runs(project) if run.info.status == "RUNNING"]
    again = poolstudy(project, "run", "tiny")
    assert again.returncode == 0, again.stderr
    states = Counter(run.data.tags["poolstudy.state"] for run in runs(project))
    assert states["complete"] == 5
    assert states["interrupted"] >= 1
    assert not [run for run in runs(project) if run.info.status == "RUNNING"]
    assert reached(project) == reached(study)
    check_agreement(project)


def children(process: int) -> list[int]:
    """Return the living child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if int(parent) == process and state != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        (signal.SIGKILL, "its process was ended by SIGKILL"),
        (signal.SIGSEGV, "its process was ended by SIGSEGV"),
        (signal.SIGSTOP, "hung for more than 60 s"),
    ],
)
def test_a_trial_whose_process_is_killed_or_hangs_is_tried_again_in_its_slot(
    project: Path, sign: signal.Signals, reason: str
) -> None:
    settings = ["study.trials=2", "training.epochs=400", "training.patience=400", "execution.trial_timeout=60"]
    with start(project, "execution.workers=1", *settings) as study:
        wait_for(study, "trial-0001  epoch 2/400")
        workers = [worker for child in children(study.pid) for worker in children(child)]
        assert len(workers) == 1
        os.kill(workers[0], sign)
        out, err = study.communicate(timeout=240)
    assert (study.returncode, err) == (0, "")
    assert "trial-0001  lost" in out
    assert reason in out
    names = [(run.info.run_name, run.data.tags["poolstudy.state"]) for run in runs(project)]
    assert names == [("trial-0001", "lost"), ("trial-0001-retry-1", "complete"), ("trial-0002", "complete")]
    lost, retried, _ = runs(project)
    assert lost.data.tags["poolstudy.spec_digest"] == retried.data.tags["poolstudy.spec_digest"]
    check_agreement(project)


@pytest.mark.slow
def test_a_study_outlives_the_server_of_its_workers(project: Path) -> None:
    with start(project, "study.trials=3") as study:
        wait_for(study, "  epoch 1/3")
        (server,) = [child for child in children(study.pid) if children(child)]
        os.kill(server, signal.SIGKILL)
        out, err = study.communicate(timeout=240)
    assert (study.returncode, err) == (0, "")
    assert "3 of 3 trials done" in out
    check_agreement(project)


@pytest.mark.slow
def test_a_study_whose_only_listed_trial_fails_is_no_success(project: Path, poolstudy: Command) -> None:
    listed = "sampler.trials=[{pooling: max, pool_size: 2, filters: [2], dropout: 0.1, learning_rate: 1e30}]"
    for _ in range(2):
        said = poolstudy(project, "run", "tiny", "sampler=list", listed, "study.trials=1")
        assert said.returncode == 1
        assert "0 trials done and 1 failed, the last because" in said.stderr
    check_agreement(project)


@pytest.mark.slow
def test_a_trial_that_fails_late_keeps_its_epochs_and_figures_but_has_no_rank(
    project: Path, poolstudy: Command
) -> None:
    # One step an epoch; the weights grow by 1e8 a step until their product passes the greatest float.
    listed = "sampler.trials=[{pooling: max, pool_size: 2, filters: [3, 4], dropout: 0.2, learning_rate: 1e8}]"
    few = ["data.train_limit=32", "training.epochs=60", "training.patience=60", "study.trials=1"]
    said = poolstudy(project, "run", "tiny", "sampler=list", listed, *few)
    assert said.returncode == 1
    (run,) = runs(project)
    assert run.data.tags["poolstudy.state"] == "failed"
    assert run.data.tags["poolstudy.reason"].startswith("loss is nan in epoch ")
    assert files_of(project, run) == FILES
    assert images_of(project, run) == sorted(IMAGES)
    assert "best_val_accuracy" not in run.data.metrics
    assert f"({run.data.tags['poolstudy.reason']}; see mlruns/logs/tiny.log)" in said.stdout


@pytest.mark.slow
def test_figures_are_rendered_of_the_configured_states_only(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "run", "tiny", "study.trials=1", "tracking.figures.of=[pruned]")
    assert said.returncode == 0, said.stderr
    (run,) = runs(project)
    assert files_of(project, run) == UNRENDERED
    assert images_of(project, run) == []


@pytest.mark.slow
def test_a_trial_survives_a_figure_that_cannot_be_rendered(project: Path, poolstudy: Command, tmp_path: Path) -> None:
    dot = tmp_path / "bin" / "dot"  # Graphviz as it is when its libraries are missing
    dot.parent.mkdir()
    dot.write_text("#!/bin/sh\nexit 1\n")
    dot.chmod(0o755)
    said = poolstudy(project, "run", "tiny", "study.trials=1", PATH=f"{dot.parent}:{os.environ['PATH']}")
    assert said.returncode == 0, said.stderr
    (run,) = runs(project)
    assert run.data.tags["poolstudy.state"] == "complete"
    assert run.data.tags["poolstudy.pictures"].startswith("not drawn: ")
    assert files_of(project, run) >= UNRENDERED
    check_agreement(project)


@pytest.mark.slow
def test_a_trial_that_was_trained_when_the_study_was_killed_counts_and_is_rendered_later(
    project: Path, poolstudy: Command
) -> None:
    kill_at(project, "trial-0001  complete", "study.trials=1")
    (open_run,) = runs(project)
    assert open_run.info.status == "RUNNING"
    (trial,) = trials(project)
    assert trial.state.name == "COMPLETE"
    again = poolstudy(project, "run", "tiny", "study.trials=1")
    assert again.returncode == 0, again.stderr
    (run,) = runs(project)
    assert (run.info.run_id, run.info.status) == (open_run.info.run_id, "FINISHED")
    assert files_of(project, run) == FILES
    assert images_of(project, run) == sorted(IMAGES)
    check_agreement(project)


@pytest.mark.slow
def test_quiet_prints_the_best_run_and_nothing_else(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "run", "--quiet", "tiny", "study.trials=1")
    (run,) = runs(project)
    assert (said.returncode, said.stdout, said.stderr) == (0, f"{run.info.run_id}\n", "")


@pytest.mark.slow
def test_a_run_that_was_deleted_does_not_stop_the_study(project: Path, poolstudy: Command) -> None:
    kill_at(project, "epoch 1/3")
    client = MlflowClient(store(project))
    for run in runs(project):
        client.delete_run(run.info.run_id)
    again = poolstudy(project, "run", "tiny")
    assert again.returncode == 0, again.stderr
    assert Counter(run.data.tags["poolstudy.state"] for run in runs(project))["complete"] == 5
    check_agreement(project)


@pytest.mark.slow
def test_trials_that_fail_in_a_row_stop_the_study(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "run", "tiny", "training.learning_rate=1e30", "execution.max_failures_in_a_row=2")
    assert said.returncode == 1
    assert "2 trials failed in a row, the last because" in said.stderr
    assert Counter(run.data.tags["poolstudy.state"] for run in runs(project))["failed"] == 2
    (run,) = runs(project, kind="study")
    assert run.info.status == "FAILED"
    check_agreement(project)
