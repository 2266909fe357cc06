"""A real study of a complete, a pruned and a failed trial, with real damage: what the doctor says and fixes."""

import contextlib
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from books import artifact, check_agreement, runs, store, trials
from conftest import Command, clean_environment, kill_at, make_identity, make_result, make_spec, open_trial
from damage import (
    FAILED,
    GOOD,
    OF_THREE,
    config_is_gone,
    content,
    copied,
    examined,
    finished_run_twice,
    folder_is_left,
    keyed_image_is_half,
    mlflow_edit,
    model_is_empty,
    open_attempt,
    optuna_edit,
    optuna_is_gone,
    optuna_says_otherwise,
    picture_is_gone,
    run_is_deleted,
    run_is_gone,
    run_is_open,
    run_of_no_attempt,
    second_run,
    slot_ended_twice,
    spec_is_empty,
    spec_is_gone,
    study_of_three,
    wrong_state,
    wrong_status,
)
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console
from test_faults import Server

from poolstudy.checks.doctor import _Doctor
from poolstudy.checks.doctor.study_state import Project
from poolstudy.checks.finding import Fix, Issue, wrong
from poolstudy.search import Search
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import load_config
from poolstudy.system.locks import study_lock
from poolstudy.tracking import Tracker, every_run

pytestmark = pytest.mark.slow  # test_run_study.py checks and fixes a whole study


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, poolstudy: Command) -> Path:
    return study_of_three(tmp_path_factory.mktemp("doctor") / "project", poolstudy)


@pytest.fixture
def study(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the whole study, and let MLflow look for files in the copy."""
    for name in ("POOLSTUDY_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return copied(whole, tmp_path / "copy")


def test_nothing_is_wrong_with_a_whole_study_and_nothing_is_written(study: Path) -> None:
    before = content(study)
    assert examined(study) == (True, "1 study: nothing disagrees\n")
    assert examined(study, fix=True) == (True, "1 study: nothing disagrees\n")
    assert content(study) == before


def test_a_run_of_an_older_version_is_not_called_wrong(study: Path) -> None:
    good, (own,) = runs(study)[GOOD], runs(study, kind="study")
    for run, name in ((good, "spec.json"), (own, "config.json")):
        artifact(study, run, name).write_text("{}")
    mlflow_edit(study, "DELETE FROM params WHERE run_uuid = ? AND key = 'dropout'", good.info.run_id)
    assert examined(study) == (True, "1 study: nothing disagrees\n")


def test_a_project_without_a_study_is_healthy(project: Path) -> None:
    assert examined(project) == (True, "No study has been run here.\n")
    assert list(project.glob("mlruns/*")) == []


# What can be fixed


@pytest.mark.parametrize(
    ("breaks", "found", "fix"),
    [
        (run_is_open, "trial-0001 is complete in Optuna; run ID is RUNNING", "ends what is left open"),
        (wrong_status, "run ID is FAILED, complete", "gives run ID the state complete"),
        (wrong_state, "run ID is FINISHED, lost", "gives run ID the state complete"),
        (run_is_deleted, "its run ID was deleted in MLflow", "restores run ID in MLflow"),
        (spec_is_gone, "run ID has no spec.json", "writes spec.json of run ID anew"),
        (spec_is_empty, "run ID has no spec.json, or an empty one", "writes spec.json of run ID anew"),
        (second_run, "(trial-0001, lost) is a second run of trial-0001", "marks run"),
        (run_of_no_attempt, "(trial-0009, running) is no attempt that Optuna knows", "marks run"),
        (
            folder_is_left,
            "staging/tiny/trial-0001 was left by an attempt whose run is closed",
            "removes staging/tiny/trial-0001",
        ),
    ],
)
def test_what_can_be_fixed_is_named_and_fixed(
    study: Path, breaks: Callable[[Path, Run], None], found: str, fix: str
) -> None:
    good = runs(study)[GOOD]
    breaks(study, good)
    damaged = content(study)
    healthy, said = examined(study)
    assert not healthy
    assert found.replace("ID", good.info.run_id) in said
    assert "; doctor --fix " in said
    assert fix.replace("ID", good.info.run_id) in said
    assert said.count("\n") == 2, said  # one line, and the sum
    assert content(study) == damaged
    healthy, said = examined(study, fix=True)
    assert healthy, said
    before, after = said.index("Now doctor --fix"), said.index("✓ fixed")
    assert before < after
    assert examined(study) == (True, "1 study: nothing disagrees\n")
    check_agreement(study)
    fixed = content(study)
    assert examined(study, fix=True)[0]
    assert content(study) == fixed


def test_an_attempt_that_is_left_open_is_closed_in_both_databases(study: Path) -> None:
    run = runs(study)[FAILED]
    open_attempt(study, run)
    healthy, said = examined(study)
    assert not healthy
    assert "trial-0003 is RUNNING in Optuna, and no process works on the study; doctor --fix ends what is" in said
    healthy, said = examined(study, fix=True)
    assert healthy, said
    assert runs(study)[FAILED].data.tags["poolstudy.state"] == "interrupted"
    assert [trial.state.name for trial in trials(study)] == ["COMPLETE", "PRUNED", "FAIL"]
    assert trials(study)[FAILED].user_attrs["state"] == "interrupted"
    assert runs(study)[FAILED].info.run_id == run.info.run_id
    check_agreement(study)


def test_an_attempt_that_never_had_a_run_gets_one(study: Path) -> None:
    run = runs(study)[FAILED]
    open_attempt(study, run)
    optuna_edit(
        study,
        "DELETE FROM trial_user_attributes WHERE key = 'run_id' AND value_json = ?",
        f'"{run.info.run_id}"',
    )
    MlflowClient(store(study)).delete_run(run.info.run_id)
    assert examined(study, fix=True)[0]
    assert [one.data.tags["poolstudy.state"] for one in runs(study)] == ["complete", "pruned", "interrupted"]
    check_agreement(study)


def test_what_is_still_to_be_uploaded_is_noted_and_left_to_the_next_start(study: Path) -> None:
    run = runs(study)[FAILED]
    open_attempt(study, run)
    folder = study / "mlruns" / "staging" / "tiny" / "trial-0003"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(make_result([1.0]).model_dump_json())
    before = content(study)
    for fix in (False, True):
        healthy, said = examined(study, fix=fix)
        assert healthy
        assert "to upload what it left: poolstudy run tiny" in said
        assert "Now doctor --fix" not in said
    assert content(study) == before


def test_attempts_that_could_not_be_read_are_noted_and_left(study: Path) -> None:
    folder = study / "mlruns" / "staging" / "_unread" / "tiny" / "trial-0001-5"
    folder.mkdir(parents=True)
    for fix in (False, True):
        healthy, said = examined(study, fix=fix)
        assert healthy
        assert "attempts of another version that this one cannot read" in said
    assert folder.exists()


def test_the_studys_own_run_is_closed(study: Path) -> None:
    (own,) = runs(study, kind="study")
    mlflow_edit(study, "UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = ?", own.info.run_id)
    assert f"its own run {own.info.run_id} is RUNNING" in examined(study)[1]
    assert examined(study, fix=True)[0]
    (own,) = runs(study, kind="study")
    assert (own.info.status, own.data.tags["poolstudy.state"]) == ("KILLED", "interrupted")
    assert own.data.metrics["trials"] == 2


def test_a_study_that_a_process_works_on_is_left_alone(study: Path) -> None:
    open_attempt(study, runs(study)[FAILED])
    before = content(study)
    with study_lock(study / "mlruns" / "locks", "tiny"):
        for fix in (False, True):
            healthy, said = examined(study, fix=fix)
            assert healthy
            assert said.startswith(f"! tiny        is being run by process {os.getpid()}: left alone\n")
    assert content(study) == before


def test_a_project_that_was_moved_finds_its_files_again(study: Path, tmp_path: Path) -> None:
    new = tmp_path / "it's moved (a=b)"
    study.rename(new)
    healthy, said = examined(new)
    assert not healthy
    old = study / "mlruns" / "artifacts" / "tiny"
    assert f"its files are in {new}/mlruns/artifacts/tiny; MLflow looks for them in {old}" in said
    kept = (new / "mlruns" / "mlflow.db").read_bytes()
    healthy, said = examined(new, fix=True)
    assert healthy, said
    (backup,) = (new / "mlruns").glob("mlflow-before-doctor-*.db")
    with contextlib.closing(sqlite3.connect(backup)) as copy:
        (location,) = copy.execute("SELECT artifact_location FROM experiments WHERE name = 'tiny'").fetchone()
    assert location == old.as_uri()
    assert len(kept) == backup.stat().st_size
    assert MlflowClient(store(new)).list_artifacts(runs(new)[GOOD].info.run_id)
    assert examined(new) == (True, "1 study: nothing disagrees\n")


def test_a_project_that_was_copied_runs_nothing_until_it_is_fixed(
    whole: Path, tmp_path: Path, poolstudy: Command
) -> None:
    new, good, other = tmp_path / "copy", *(run.info.run_id for run in runs(whole)[GOOD : GOOD + 2])
    shutil.copytree(whole, new)
    before = content(whole), set(content(new))
    run = ["run", "tiny", *OF_THREE]
    for command in (run, ["reproduce", good], ["report"], ["compare", good, other]):
        said = poolstudy(new, *command)
        assert (said.returncode, said.stderr.count("\n")) == (3, 1), said.stderr
        assert "the project was moved or copied" in said.stderr
        assert "poolstudy doctor --fix" in said.stderr
    assert (content(whole), set(content(new)) - {"mlruns/logs/reproduce.log"}) == before
    assert poolstudy(new, "doctor", "--fix").returncode == 0
    assert poolstudy(new, "reproduce", good).returncode == 0
    assert content(whole) == before[0]


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_half_made_database_is_moved_aside(project: Path, name: str) -> None:
    database = project / "mlruns" / name
    database.parent.mkdir(exist_ok=True)
    database.write_bytes(b"")
    healthy, said = examined(project)
    assert not healthy
    assert f"{database} is half made" in said
    assert examined(project, fix=True)[0]
    assert [path.stat().st_size for path in database.parent.glob("*half-made*")] == [0]
    assert not database.exists()


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_damaged_database_is_named_and_left_as_it_is(study: Path, name: str) -> None:
    database = study / "mlruns" / name
    damaged = bytearray(database.read_bytes())
    damaged[4096 * 2 : 4096 * 12] = os.urandom(4096 * 10)
    database.write_bytes(damaged)
    for fix in (False, True):
        healthy, said = examined(study, fix=fix)
        assert not healthy
        assert f"{database}" in said
        assert "Traceback" not in said
    assert database.read_bytes() == damaged


def test_parts_of_files_that_no_process_writes_are_removed(study: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    dead = study / "mlruns" / f".mlflow-{ended.pid}.db"
    alive = study / "mlruns" / "cache" / f".train_images-{os.getpid()}.npy"
    for path in (dead, alive):
        path.write_bytes(b"half")
    healthy, said = examined(study)
    assert not healthy
    assert f".mlflow-{ended.pid}.db was being written by a process that has died" in said
    assert str(os.getpid()) not in said
    assert examined(study, fix=True)[0]
    assert (dead.exists(), alive.exists()) == (False, True)


def test_cached_images_that_were_changed_are_written_anew(study: Path) -> None:
    (cache,) = (study / "mlruns" / "cache").iterdir()
    images = bytearray((cache / "train_images.npy").read_bytes())
    images[-1] ^= 1
    (cache / "train_images.npy").write_bytes(images)
    assert f"cache/{cache.name}: digest mismatch of train_images" in examined(study)[1]
    assert examined(study, fix=True)[0]
    assert not cache.exists()


# The loop of fixes


def remaining(root: Path, check: Callable[[], Iterator[Issue]]) -> int:
    """Return how many disagreements remain after the fixes."""
    project = Project(root, store(root), root / "mlruns" / "artifacts")
    doctor = _Doctor(project, Console(file=io.StringIO()), fix=True)
    doctor.check_and_fix(check)
    return doctor.remaining


def test_a_fix_that_fails_is_tried_once(project: Path) -> None:
    tries: list[str] = []

    def fail() -> None:
        tries.append("once")
        raise sqlite3.OperationalError("database is locked")

    assert remaining(project, lambda: iter([wrong("study", "it is held", Fix("fixes it", fail))])) == 1
    assert tries == ["once"]


def test_what_is_fixed_in_the_last_round_does_not_remain(project: Path) -> None:
    left = ["first", "second", "third", "last"]

    def check() -> Iterator[Issue]:
        if left:  # each uncovers the next
            yield wrong("study", f"the {left[0]} is wrong", Fix(f"fixes the {left[0]}", lambda: left.pop(0)))

    assert remaining(project, check) == 0


# A store that other projects use too


def test_what_others_keep_on_the_same_server_is_left_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path / "server")
    with contextlib.ExitStack() as last:
        last.callback(server.stop)
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        config = load_config("tiny", [], project)
        assert config.tracking.uri == server.uri
        for name in ("theirs", "tiny"):  # both are being run by a colleague
            tracker = Tracker(server.uri, "artifacts", name, tmp_path)
            tracker.open_study({}, config.recorded())
            tracker.create_trial(make_spec(name), "trial-0007", 0)
        ours = killed(project, config, tmp_path)
        healthy, said = examined(project)
        assert not healthy
        assert "1 study in http" in said
        assert "\n2 disagreements\n" in said
        healthy, said = examined(project, fix=True)
        assert healthy, said
        assert said.count("✓ fixed") == 2
        assert [run.status for run in every_run(server.uri, "theirs")] == ["RUNNING", "RUNNING"]
        states = {run.run_id: run.standing for run in every_run(server.uri, "tiny")}
        assert [states.pop(one) for one in ours] == ["interrupted", "interrupted"]
        assert [*states.values()] == ["running", "running"]
        assert said.endswith("1 study: nothing disagrees\n")


def killed(project: Path, config: StudyConfig, root: Path, *, notes: bool = True) -> tuple[str, str]:
    """Leave a study as if killed at its first trial; return its own run, and the trial's."""
    search = Search(project / "mlruns" / "optuna.db", config, make_identity())
    tracker = Tracker(config.tracking.uri, "artifacts", "tiny", root)
    tracker.study_uid = search.study_uid
    own, attempt = tracker.open_study({}, config.recorded()), search.next_attempt(0)
    assert attempt
    run_id = open_trial(tracker, attempt.spec, attempt.name, 0)
    if notes:
        search.opened_run(attempt, run_id)
    return own, run_id


def test_what_others_run_of_the_same_study_is_left_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = f"sqlite:///{tmp_path}/shared/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared)
    config, colleague = load_config("tiny", [], project), tmp_path / "colleague"
    (colleague / "mlruns").mkdir(parents=True)
    theirs, ours = killed(colleague, config, tmp_path), killed(project, config, tmp_path, notes=False)
    healthy, said = examined(project, fix=True)
    assert healthy, said
    assert "2 runs that other projects seem to own: left alone" in said
    states = {run.run_id: run.standing for run in every_run(shared)}
    assert [states.pop(one) for one in theirs] == ["running", "running"]
    assert [states.pop(one) for one in ours] == ["interrupted", "interrupted"]
    assert states == {}


# What only a person can decide


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (model_is_empty, "run ID is missing model.keras"),
        (picture_is_gone, "run ID is missing kernels.png"),
        (keyed_image_is_half, "run ID is missing one of two sizes of kernels/conv_1"),
        (optuna_says_otherwise, "trial-0001 is FAIL in Optuna, and its user attribute state is complete"),
        (slot_ended_twice, "slot 1 has ended 2 times (trial-0001 complete, trial-0001 pruned)"),
        (finished_run_twice, "(trial-0001, complete) is a second run of trial-0001"),
        (config_is_gone, "is missing config.json"),
        (optuna_is_gone, "3 trials in MLflow, and Optuna has no such study"),
        (run_is_gone, "trial-0001 is complete in Optuna; MLflow has no run ID"),
    ],
)
def test_what_cannot_be_fixed_is_named_and_remains(
    study: Path, breaks: Callable[[Path, Run], None], found: str
) -> None:
    good = runs(study)[GOOD]
    breaks(study, good)
    damaged = content(study)
    for fix in (False, True):
        healthy, said = examined(study, fix=fix)
        assert not healthy
        assert found.replace("ID", good.info.run_id) in said, said
    assert content(study) == damaged


# The command


@pytest.mark.slow
def test_a_reproduction_that_was_killed_is_closed(study: Path, poolstudy: Command) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "poolstudy", "reproduce", "best", "--data", "images"],
        cwd=study,
        env=clean_environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as again:
        assert again.stdout
        for line in again.stdout:
            if line.startswith("epoch 1"):
                os.kill(again.pid, signal.SIGSTOP)
                running = poolstudy(study, "doctor")
                os.kill(again.pid, signal.SIGKILL)
    assert (running.returncode, f"is still running in process {again.pid}" in running.stdout) == (0, True)
    (run,) = runs(study, kind="reproduction")
    said = poolstudy(study, "doctor")
    assert said.returncode == 1
    assert f"run {run.info.run_id} is RUNNING, and its process {again.pid} has ended" in said.stdout
    fixed = poolstudy(study, "doctor", "--fix")
    assert (fixed.returncode, fixed.stderr) == (0, "")
    (run,) = runs(study, kind="reproduction")
    assert (run.info.status, run.data.tags["poolstudy.state"]) == ("KILLED", "interrupted")
    assert list((study / "mlruns" / "staging" / "_reproductions").glob("*")) == []


@pytest.mark.slow
def test_a_study_that_was_fixed_goes_on(study: Path, poolstudy: Command) -> None:
    open_attempt(study, runs(study)[FAILED])
    assert poolstudy(study, "doctor", "--fix").returncode == 0
    said = poolstudy(study, "run", "tiny", *OF_THREE, f"data.path={study / 'images'}")
    assert said.returncode == 1  # the last trial fails by its nature
    states = [run.data.tags["poolstudy.state"] for run in runs(study)]
    assert states == ["complete", "pruned", "interrupted", "failed"]
    check_agreement(study)
    assert poolstudy(study, "doctor").returncode == 0


def test_a_study_that_was_killed_is_closed_without_starting_it(project: Path, poolstudy: Command) -> None:
    kill_at(project, "trial-0001  epoch 1/3")
    said = poolstudy(project, "doctor")
    assert said.returncode == 1, said.stdout
    assert "its own run" in said.stdout
    fixed = poolstudy(project, "doctor", "--fix")
    assert (fixed.returncode, fixed.stderr) == (0, ""), fixed.stdout
    assert not [trial for trial in trials(project) if trial.state.name in ("RUNNING", "WAITING")]
    again = poolstudy(project, "run", "tiny")
    assert again.returncode == 0, again.stderr
    check_agreement(project)
    assert poolstudy(project, "doctor").returncode == 0
