"""Runs in the terminal, at any width and in any state."""

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Command, make_result, make_spec, open_trial
from rich.console import Console

from poolstudy.reports.run import show_run
from poolstudy.spec.records import TrialSpec
from poolstudy.tracking import Tracker, find_run

LAYERS = """\
layer,weight,shape,untrained_mean,untrained_std,trained_mean,trained_std
conv_1,kernel,"(3, 3, 1, 3)",0.0077350503,0.1569447,-0.03155224,0.1755337
conv_1,bias,"(3,)",0.0,0.0,0.02763749,0.035517275
"""
HISTORY = """\
epoch,loss,accuracy,val_loss,val_accuracy,seconds
1,1.25,0.25,1.0,0.5,2.26
2,1.0,0.5,0.5,0.625,1.5
3,0.75,0.75,0.75,0.6875,12.0
"""
RESULT = make_result([1.0, 0.5, 0.75])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project folder for runs in each state."""
    root = tmp_path_factory.mktemp("show")
    shutil.copytree(REPOSITORY / "conf" / "tracking", root / "conf" / "tracking")
    return root


@pytest.fixture(scope="module")
def tracker(root: Path) -> Tracker:
    return Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", "s", root)


@pytest.fixture(scope="module")
def complete(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Log a lost attempt at slot 7 and the complete one after it; return the latter."""
    lost = open_trial(tracker, make_spec(), "trial-0007", 0)
    tracker.close_trial(lost, "lost", reason="its process was ended by SIGKILL")
    run_id = open_trial(tracker, make_spec(), "trial-0007-retry-1", 1)
    folder = tmp_path_factory.mktemp("files")
    (folder / "layers.csv").write_text(LAYERS)
    (folder / "history.csv").write_text(HISTORY)
    tracker.log_files(run_id, folder)
    tracker.close_trial(run_id, "complete", result=RESULT)
    return run_id


def shown(root: Path, run: str, width: int = 80, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    show_run(run, root, Console(file=file, width=width, highlight=False, markup=False))
    file.flush()
    text = raw.getvalue().decode(encoding)
    assert "\x1b" not in text
    return [line.rstrip() for line in text.splitlines()]


def test_a_complete_run_is_shown_from_its_state_to_its_files(root: Path, tracker: Tracker, complete: str) -> None:
    lines = shown(root, complete)
    assert lines[0] == "trial-0007-retry-1 of study s: complete"
    assert lines[2] == f"run {complete}"
    text = "\n".join(lines)
    assert "network   pooling max, pool_size 2, filters_1 3, filters_2 4, dropout 0.25," in text
    assert "training  epochs 3, patience 2, dense_units 100, deterministic False" in text
    assert "seed      99" in text
    assert "data      tiny (dddddddddddd): 4 training and 1 validation images, 8x8x1, 2" in text
    result = [
        "best_val_accuracy  0.7000",
        "best_val_loss      0.5000",
        "best_epoch         2",
        "parameter_count    12",
    ]
    result += ["train_seconds      2.0", "images_per_second  2", "stopped by         epochs"]
    assert "\n  ".join(result) in text
    assert f"trial-0007-retry-1  complete     {complete}" in text
    assert re.search(r"trial-0007  lost         [0-9a-f]{32}", text)
    assert f"spec       {make_spec().digest}" in text
    assert f"data       {'d' * 64}" in text
    assert "weights    w" in text
    assert "untrained  u" in text
    assert "  history.csv, layers.csv, spec.json" in lines
    assert f"  {root}/mlruns/artifacts/s/{complete}/artifacts" in lines
    link = f"http://poolstudy.localhost:5000/#/experiments/{tracker.experiment_id}/runs/{complete}"
    assert lines[-2:] == ["  and, once `make ui` runs:", f"  {link}"]


def test_the_best_epoch_is_marked_and_bars_are_as_long_as_the_losses(root: Path, complete: str) -> None:
    lines = shown(root, complete)
    start = next(number for number, line in enumerate(lines) if line == "Epochs")
    assert lines[start + 1].split() == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "val_loss"]
    # Sixteen blocks are the highest loss, 1.0.
    assert lines[start + 2].split() == ["1", "1.2500", "0.2500", "1.0000", "0.5000", "2.3", "█" * 16]
    assert lines[start + 3].split() == ["*2", "1.0000", "0.5000", "0.5000", "0.6250", "1.5", "█" * 8]
    assert lines[start + 4].split() == ["3", "0.7500", "0.7500", "0.7500", "0.6875", "12.0", "█" * 12]


def test_layers_are_shown_untrained_and_trained(root: Path, complete: str) -> None:
    lines = [line.split() for line in shown(root, complete)]
    assert ["conv_1/kernel", "3x3x1x3", "+0.0077", "±", "0.1569", "-0.0316", "±", "0.1755"] in lines
    assert ["conv_1/bias", "3", "+0.0000", "±", "0.0000", "+0.0276", "±", "0.0355"] in lines


def test_40_columns_and_ascii_are_enough(root: Path, complete: str) -> None:
    lines = shown(root, complete, width=40, encoding="ascii")
    # Only lines to copy (digests, the path, the link) are wider.
    assert all(len(line) <= 40 or " " not in line.strip() or line.split()[0] in COPIED for line in lines)
    assert "   *2 1.0000 0.5000 0.5000 0.6250 1.5 #" in lines
    assert "    3 0.7500 0.7500 0.7500 0.6875  12 ##" in lines
    assert "  conv_1/kernel  +0.0077 +- 0.1569" in lines
    assert "    3x3x1x3      -0.0316 +- 0.1755" in lines


COPIED = {"spec", "data", "weights", "untrained"}


@pytest.mark.parametrize(
    ("state", "reason", "standing"),
    [
        ("failed", "loss is nan in epoch 1", "failed"),
        ("lost", "its process ended with exit code 1", "lost"),
        ("interrupted", "", "interrupted"),
        (None, "", "running"),
    ],
)
def test_a_run_without_epochs_is_shown(root: Path, tracker: Tracker, state: Any, reason: str, standing: str) -> None:
    run_id = open_trial(tracker, make_spec(slot=8), "trial-0008", 0)
    if state:
        tracker.close_trial(run_id, state, reason=reason)
    for width in (80, 40, 12):
        lines = shown(root, run_id, width)
    lines = shown(root, run_id)
    assert lines[0] == f"trial-0008 of study s: {standing}"
    assert (f"because {reason}" in lines) is bool(reason)
    assert lines[lines.index("Epochs") + 1] == "  none finished"
    assert ("  nothing yet" in lines) is (state is None)
    assert "Layers" not in lines
    assert "seed      99" in "\n".join(lines)


def test_a_lost_run_is_shown_with_its_logged_epochs(root: Path, tracker: Tracker) -> None:
    run_id = open_trial(tracker, make_spec(slot=9), "trial-0009", 0)
    for record in make_result([2.0, 1.0]).history:
        tracker.log_epoch(run_id, record)
    tracker.close_trial(run_id, "lost", reason="hung")
    lines = [line.split() for line in shown(root, run_id)]
    assert ["1", "2.1000", "0.5000", "2.0000", "0.6000", "2.0", "█" * 16] in lines
    assert ["*2", "1.1000", "0.5000", "1.0000", "0.7000", "2.0", "█" * 8] in lines


def test_a_study_is_shown_with_its_settings_trials_and_best_run(root: Path, tracker: Tracker) -> None:
    study = Tracker(tracker.uri, "mlruns/artifacts", "whole", root)
    run_id = study.open_study({"seed": 3, "objective": "best_val_loss"}, {})
    assert "  runs    none yet" in shown(root, run_id)
    best = ""
    for slot, losses in {1: [1.0], 2: [0.5], 3: [0.75]}.items():
        best = open_trial(study, make_spec(slot=slot), f"trial-{slot:04d}", 0)
        study.close_trial(best, "pruned" if slot == 2 else "complete", result=make_result(losses))
    open_trial(study, make_spec(slot=4), "trial-0004", 0)
    lines = shown(root, run_id)
    assert lines[0] == "study whole: running"
    assert "  objective  best_val_loss" in lines
    assert "  trials  3 done" in lines
    assert "  runs    2 complete, 1 pruned, 1 running" in lines
    assert "  best    trial-0003, best_val_loss 0.7500" in lines
    assert f"  {best}" in lines


def run_with(tracker: Tracker, folder: Path, spec: TrialSpec | None = None, **files: str) -> str:
    """Log a complete run of slot 7 with these files, named without ".json" and ".csv"."""
    run_id = open_trial(tracker, spec or make_spec(), "trial-0007", 0)
    for name, text in files.items():
        (folder / f"{name}.{'csv' if name == 'layers' else 'json'}").write_text(text)
    tracker.log_files(run_id, folder)
    tracker.close_trial(run_id, "complete", result=RESULT)
    return run_id


def test_terminal_codes_in_files_are_escaped(root: Path, tracker: Tracker, tmp_path: Path) -> None:
    spec = make_spec()
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"digest": "\x1b[2Jd"})})
    environment = '{"device": "\\u001b[31mCPU", "packages": {"keras": "\\u001b[2J"}}'
    run_id = run_with(tracker, tmp_path, spec, environment=environment)
    text = "\n".join(shown(root, run_id, 200))  # asserts that there is no escape character
    assert "data      tiny (\\x1b[2Jd)" in text
    assert "keras \\x1b[2J" in text
    assert "device    \\x1b[31mCPU, None thread(s)" in text


@pytest.mark.parametrize(
    "environment",
    [
        "no JSON",
        "[]",
        "3",
        '{"code": []}',
        '{"code": {"commit": 3}}',
        '{"packages": [1]}',
        '{"code": {"source_digest": null}}',
    ],
)
def test_a_damaged_environment_is_reported(root: Path, tracker: Tracker, tmp_path: Path, environment: str) -> None:
    lines = shown(root, run_with(tracker, tmp_path, environment=environment))
    assert lines[lines.index("Environment") + 1] == "  environment.json  damaged"


@pytest.mark.parametrize(
    "layers", ["layer,weight\nconv_1,kernel\n", LAYERS + "conv_2,kernel\n", LAYERS + "a,b,c,d,e,f,g\n"]
)
def test_damaged_layers_are_reported(root: Path, tracker: Tracker, tmp_path: Path, layers: str) -> None:
    lines = shown(root, run_with(tracker, tmp_path, layers=layers))
    assert lines[lines.index("Layers") + 1] == "  layers.csv is damaged"


def test_a_best_run_without_metrics_is_shown_by_its_name(root: Path, tracker: Tracker) -> None:
    study = Tracker(tracker.uri, "mlruns/artifacts", "bare", root)
    run_id = study.open_study({"objective": "best_val_accuracy"}, {})
    study.close_trial(open_trial(study, make_spec(slot=1), "trial-0001", 0), "complete")
    assert "  best    trial-0001" in shown(root, run_id)


@pytest.mark.slow
def test_the_command_shows_a_real_run_in_plain_text(finished: tuple[Path, Any], poolstudy: Command) -> None:
    root, ran = finished
    best = re.search(r"Best run: ([0-9a-f]{32})", ran.stdout)
    assert best, ran.stdout + ran.stderr
    done = poolstudy(root, "show", "best")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == poolstudy(root, "show", best[1][:8], COLUMNS="80").stdout
    assert f"\nrun {best[1]}\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert "conv_1/kernel" in done.stdout
    run = find_run(f"sqlite:///{root}/mlruns/mlflow.db", "best")
    assert f"best_val_accuracy  {run.metrics['best_val_accuracy']:.4f}" in done.stdout
    narrow = poolstudy(root, "show", "best", COLUMNS="40", PYTHONIOENCODING="ascii")
    assert (narrow.returncode, narrow.stderr) == (0, "")


@pytest.mark.slow
def test_an_unknown_run_ends_with_one_line(project: Path, poolstudy: Command) -> None:
    for run, code, why in (("best", 3, "no "), ("../etc", 2, "names no run")):
        done = poolstudy(project, "show", run)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.count("\n") == 1
        assert why in done.stderr
