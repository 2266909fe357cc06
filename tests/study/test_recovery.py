"""Recovery of what a crashed coordinator left, with real Optuna and MLflow databases."""

import contextlib
import io
import shutil
from pathlib import Path

import optuna
import pytest
from conftest import make_identity, make_result, open_trial
from rich.console import Console

from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import Placement
from poolstudy.search import Search
from poolstudy.spec.load import load_config
from poolstudy.spec.records import Attempt, Device, TrialResult, TrialSpec
from poolstudy.study.coordinator import Coordinator, StudyContext
from poolstudy.study.recovery import finish_attempt, recover
from poolstudy.system.signals import Interrupt
from poolstudy.terminal.display import Display
from poolstudy.tracking import Tracker
from poolstudy.trial.attempt_folder import AttemptFolder
from poolstudy.trial.tasks import run_task

RESULT = make_result([1.25, 1.125])  # best accuracy 0.7, in epoch 2


class Study:
    """Study with both databases, which can be opened again."""

    def __init__(self, root: Path) -> None:
        self.root, self.staging = root, root / "staging"
        self.open()

    def open(self) -> None:
        self.search = Search(self.root / "optuna.db", load_config("tiny", [], self.root), make_identity())
        self.tracker = Tracker("sqlite:///mlflow.db", "artifacts", "tiny", self.root)
        self.tracker.study_uid = self.search.study_uid

    def begin(self, *, folder: bool = True, run: bool = True) -> Attempt:
        attempt = self.search.next_attempt(2)
        assert attempt
        if folder:
            made = AttemptFolder.make(self.staging, attempt)
            if run:
                made.note_run(open_trial(self.tracker, attempt.spec, attempt.name, attempt.retry))
        return attempt

    def folder(self, attempt: Attempt) -> AttemptFolder:
        return AttemptFolder(self.staging / attempt.name)

    def states(self, left: list[AttemptFolder]) -> dict[str, str]:
        return {folder.attempt.name: folder.ended.state for folder in left if folder.ended}


@pytest.fixture(scope="module")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make both databases once: it takes seconds."""
    root = tmp_path_factory.mktemp("databases")
    optuna.storages.RDBStorage(f"sqlite:///{root / 'optuna.db'}").engine.dispose()
    Tracker("sqlite:///mlflow.db", "artifacts", "other", root)
    return root


@pytest.fixture
def study(project: Path, empty_databases: Path) -> Study:
    for name in ("optuna.db", "mlflow.db"):
        shutil.copy(empty_databases / name, project)
    return Study(project)


def test_attempts_trained_to_the_end_count_and_the_others_are_tried_again(study: Study) -> None:
    trained, cut_short, without_run, without_folder = (
        study.begin(),
        study.begin(),
        study.begin(run=False),
        study.begin(folder=False),
    )
    (study.folder(trained).path / "result.json").write_text(RESULT.model_dump_json())
    known = study.folder(cut_short).run_id
    study.open()
    left = recover(study.search, study.tracker, study.staging)
    assert study.states(left) == {
        "trial-0001": "complete",
        "trial-0002": "interrupted",
        "trial-0003": "interrupted",
        "trial-0004": "interrupted",
    }
    assert [(trial.slot, trial.objective) for trial in study.search.ended()] == [(1, 0.7)]
    assert study.search.run_of(cut_short) == known
    assert [folder.run_id for folder in left][2:] == ["", ""]
    again = study.search.next_attempt(0)
    assert again
    assert (again.slot, again.retry, again.spec) == (2, 1, cut_short.spec)
    assert [without_run.slot, without_folder.slot] == [3, 4]


def test_a_run_whose_id_did_not_reach_the_folder_is_found(study: Study) -> None:
    attempt = study.begin(run=False)
    run_id = open_trial(study.tracker, attempt.spec, attempt.name, attempt.retry)
    other = TrialSpec.model_validate(attempt.spec.model_dump() | {"seed": 1})
    open_trial(study.tracker, other, attempt.name, attempt.retry)  # of another study
    study.open()
    recover(study.search, study.tracker, study.staging)
    assert study.search.run_of(attempt) == run_id


def test_two_projects_that_run_the_same_study_in_one_store_take_no_run_of_each_others(study: Study) -> None:
    attempt, theirs = study.begin(run=False), Tracker("sqlite:///mlflow.db", "artifacts", "tiny", study.root)
    theirs.study_uid = "0" * 32
    their_study = theirs.open_study({"seed": 8}, {})
    their_run = open_trial(theirs, attempt.spec, attempt.name, 0)
    assert study.tracker.find_trial(attempt.spec, 0) is None
    own, run_id = study.tracker.open_study({"seed": 7}, {}), open_trial(study.tracker, attempt.spec, attempt.name, 0)
    study.tracker.delete_doubles(run_id, attempt.spec, 0)
    assert {run.run_id for run in theirs.runs("trial", running=True)} == {their_run, run_id}
    study.open()
    recover(study.search, study.tracker, study.staging)
    assert study.search.run_of(attempt) == run_id
    assert study.tracker.open_study({"seed": 7}, {}) == own
    assert theirs.open_study({"seed": 8}, {}) == their_study != own


def test_runs_of_a_study_by_an_earlier_version_are_found_without_a_study_uid(study: Study) -> None:
    study.tracker.study_uid = ""
    attempt = study.begin(run=False)
    run_id = open_trial(study.tracker, attempt.spec, attempt.name, 0)
    assert study.tracker.find_trial(attempt.spec, 0) == run_id
    own = study.tracker.open_study({}, {})
    assert study.tracker.open_study({}, {}) == own


def test_an_end_that_only_optuna_has_is_written_to_the_folder(study: Study) -> None:
    attempt = study.begin()
    study.search.opened_run(attempt, study.folder(attempt).run_id)
    study.search.end(attempt.number, "lost", reason="SIGKILL")
    study.open()
    (folder,) = recover(study.search, study.tracker, study.staging)
    end = folder.ended
    assert end is not None
    assert (end.state, end.reason) == ("lost", "SIGKILL")


def test_an_open_run_whose_folder_was_deleted_is_closed(study: Study) -> None:
    attempt = study.begin()
    run_id = study.folder(attempt).run_id
    study.search.opened_run(attempt, run_id)
    study.search.end(attempt.number, "lost", reason="hung")
    study.folder(attempt).remove()
    study.open()
    (folder,) = recover(study.search, study.tracker, study.staging)
    assert (folder.run_id, study.states([folder])) == (run_id, {"trial-0001": "lost"})


def test_a_folder_of_another_study_is_removed_and_its_result_does_not_count(study: Study) -> None:
    attempt = study.begin()
    foreign = attempt.model_copy(update={"number": 99})
    (AttemptFolder.make(study.staging, foreign).path / "result.json").write_text(RESULT.model_dump_json())
    AttemptFolder.make(study.staging, attempt.model_copy(update={"slot": 8}))
    study.open()
    left = recover(study.search, study.tracker, study.staging)
    assert study.states(left) == {"trial-0001": "interrupted"}
    assert [path.name for path in study.staging.iterdir()] == ["trial-0001"]
    assert study.search.done == 0


def test_a_run_that_only_its_folder_knows_is_noted(study: Study) -> None:
    attempt = study.begin()
    run_id = study.folder(attempt).run_id
    finish_attempt(study.search, study.folder(attempt), "lost", "hung")
    study.open()
    assert study.search.run_of(attempt) == ""
    recover(study.search, study.tracker, study.staging)
    assert study.search.run_of(attempt) == run_id


def resume(study: Study, folder: Path) -> str:
    """Start a study that has all its trials and nothing to render; return its output."""
    study.open()
    config = load_config("tiny", ["study.trials=1", "tracking.figures.of=[]"], study.root)
    context, out = StudyContext(study.staging, folder, [Placement(Device())], {}, ""), io.StringIO()
    display = Display(Console(file=out), 1, 3, "best_val_accuracy")
    with contextlib.closing(LocalEngine(run_task, [], folder / "log", 1)) as engine:
        coordinator = Coordinator(
            config, context, engine, study.tracker, study.search, display, (display,), Interrupt(), 1
        )
        coordinator.run()
        coordinator.finish(lambda: None)
    return out.getvalue()


def test_a_folder_that_cannot_be_read_is_set_aside_with_a_warning(study: Study, tmp_path: Path) -> None:
    attempt = study.begin(run=False)
    folder = study.folder(attempt)
    (folder.path / "result.json").write_text(RESULT.model_dump_json())
    finish_attempt(study.search, folder, "complete")
    (folder.path / "attempt.json").write_text('{"attempt": {"of": "another version"}}')
    warning = "_unread/staging has attempts of another version that this one cannot read\n"
    for _ in range(2):
        assert resume(study, tmp_path) == warning
    (kept,) = (study.root / "_unread" / "staging").iterdir()
    assert TrialResult.model_validate_json((kept / "result.json").read_text()) == RESULT


def test_a_run_that_is_opened_when_nothing_is_left_to_train_is_noted(study: Study, tmp_path: Path) -> None:
    attempt = study.begin(run=False)
    (study.folder(attempt).path / "result.json").write_text(RESULT.model_dump_json())
    finish_attempt(study.search, study.folder(attempt), "complete")  # while the tracking server was away
    resume(study, tmp_path)
    (run,) = study.tracker.runs("trial")
    assert (run.state, study.search.run_of(attempt)) == ("complete", run.run_id)
    assert [trial.run_id for trial in study.search.ended()] == [run.run_id]


def test_a_run_that_is_opened_after_its_trial_has_ended_is_noted_all_the_same(study: Study) -> None:
    attempt = study.begin(run=False)
    (study.folder(attempt).path / "result.json").write_text(RESULT.model_dump_json())
    finish_attempt(study.search, study.folder(attempt), "complete")
    study.search.opened_run(attempt, "late")
    assert [trial.run_id for trial in study.search.ended()] == ["late"]
    study.open()
    assert [trial.run_id for trial in study.search.ended()] == ["late"]
    assert study.search.run_of(attempt) == "late"
