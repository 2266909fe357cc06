"""Optuna on SQLite in a temporary folder, without training."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from conftest import make_identity, make_result

from poolstudy.errors import StoreError, StudyMismatch
from poolstudy.search import Attempt, Search, read_histories
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import load_config
from poolstudy.spec.records import EpochRecord, State

Open = Callable[..., Search]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database, made once because it takes a second."""
    database = tmp_path_factory.mktemp("empty") / "optuna.db"
    optuna.storages.RDBStorage(f"sqlite:///{database}").engine.dispose()
    return database


@pytest.fixture
def opened(project: Path, empty_database: Path) -> Open:
    shutil.copy(empty_database, project / "optuna.db")

    def call(*overrides: str, digest: str = "d") -> Search:
        config = load_config("tiny", ["study.trials=100", *overrides], project)
        return Search(project / "optuna.db", config, make_identity(digest))

    return call


def test_a_study_has_an_id_of_its_own_that_stays(opened: Open, project: Path) -> None:
    first = opened()
    assert len(first.study_uid) == 32
    assert opened().study_uid == first.study_uid == read_histories(project / "optuna.db")["tiny"].study_uid
    assert opened("study.name=other").study_uid != first.study_uid
    with sqlite3.connect(project / "optuna.db") as database:  # as in a study of an earlier version
        database.execute("DELETE FROM study_user_attributes WHERE key = 'book'")
    assert (opened().study_uid, read_histories(project / "optuna.db")["tiny"].study_uid) == ("", "")


def take(search: Search, state: State = "complete", objective: float | None = None, retries: int = 2) -> Attempt | None:
    """Open and end one attempt; the objective depends on the configuration only."""
    attempt = search.next_attempt(retries)
    if attempt is not None:
        search.opened_run(attempt, f"run-{attempt.number}")
        value = sum(attempt.spec.hyperparameters.filters) / 100 if objective is None else objective
        search.end(attempt.number, state, objective=value if state in ("complete", "pruned") else None)
    return attempt


def trials(project: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="tiny", storage=f"sqlite:///{project / 'optuna.db'}").trials


def config_of(attempt: Attempt | None) -> object:
    assert attempt is not None
    return attempt.slot, attempt.spec.seed, attempt.spec.hyperparameters


@pytest.mark.parametrize(
    "sampler",
    [
        "tpe_short",
        "grid",
        pytest.param("random", marks=pytest.mark.slow),
        pytest.param("qmc", marks=pytest.mark.slow),
    ],
)
def test_a_space_of_16_gives_16_different_configurations_and_ends(opened: Open, project: Path, sampler: str) -> None:
    search = opened(f"sampler={sampler}")
    asked = []
    while attempt := take(search):
        asked.append(attempt.spec.hyperparameters)
    assert len(asked) == len(set(asked)) == 2 * 2 * 2 * 2
    assert sorted(one.slot for one in search.ended()) == list(range(1, 17))
    assert [one.hyperparameters for one in sorted(search.ended(), key=lambda one: one.slot)] == asked
    assert search.done == 16


@pytest.mark.parametrize("own_data", [False, True], ids=["text", "dict with data"])
def test_a_study_of_an_earlier_version_is_read_and_continued(opened: Open, project: Path, own_data: bool) -> None:
    first = take(opened())
    assert first is not None
    ledger = trials(project)[0].user_attrs["ledger"]
    assert ledger["spec"] == first.spec.model_dump(mode="json", exclude={"data"})
    stored = first.spec.model_dump(mode="json") if own_data else json.dumps(ledger["spec"])
    with sqlite3.connect(project / "optuna.db") as database:
        older = json.dumps({**ledger, "spec": stored})
        database.execute("update trial_user_attributes set value_json = ? where key = 'ledger'", (older,))
        if own_data:
            database.execute("delete from study_user_attributes where key = 'data'")
    assert [one.spec for one in read_histories(project / "optuna.db")["tiny"].attempts] == [first.spec]
    again, second = opened(), take(opened())
    assert second is not None
    assert [one.hyperparameters for one in again.ended()] == [first.spec.hyperparameters]
    assert [one.spec for one in read_histories(project / "optuna.db")["tiny"].attempts] == [first.spec, second.spec]


def test_listed_trials_come_in_order(opened: Open) -> None:
    first_network = "{pooling: max, pool_size: 2, filters: [4], dropout: 0.1}"
    second_network = "{pooling: average, pool_size: 4, filters: [2], dropout: 0}"
    listed = f"[{first_network}, {second_network}]"
    search = opened("sampler=list", f"sampler.trials={listed}")
    first, second, third = take(search), take(search), take(search)
    assert first is not None and second is not None and third is None
    assert (first.spec.hyperparameters.pooling, first.spec.hyperparameters.filters) == ("max", (4,))
    assert (second.spec.hyperparameters.pooling, second.spec.hyperparameters.pool_size) == ("average", 4)


def test_tpe_starts_with_the_poolings_in_turn(opened: Open) -> None:
    search = opened("sampler=tpe", "space=pooling", "data.image_shape=[28,28,1]")
    asked = [take(search) for _ in range(12)]
    kinds = [attempt.spec.hyperparameters.pooling for attempt in asked if attempt]
    assert kinds.count("average") >= 5  # a duplicate takes its turn and no slot
    assert kinds[:4] == ["average", "max", "average", "max"]


def test_qmc_spreads_evenly_even_if_a_trial_is_tried_again(opened: Open, project: Path) -> None:
    search = opened("sampler=qmc", "space=pooling", "data.image_shape=[28,28,1]")
    for number in range(10):
        take(search, "interrupted" if number == 3 else "complete")
    # The first trial is not of the sequence, nor is the fifth, which repeats the fourth. Of the first eight points of
    # a Sobol sequence four lie in each half.
    sequence = [trial.params["pooling"] for trial in trials(project) if trial.number not in (0, 4)]
    assert sequence.count("average") == sequence.count("max") == 4


def test_a_duplicate_is_complete_with_the_known_value_and_has_no_slot(opened: Open, project: Path) -> None:
    search = opened()
    while take(search):
        pass
    duplicates = [trial for trial in trials(project) if "duplicate_of" in trial.user_attrs]
    assert duplicates, "sixteen random draws of sixteen without a duplicate: 1 in 880,000"
    by_number = {trial.number: trial for trial in trials(project)}
    for duplicate in duplicates:
        original = by_number[duplicate.user_attrs["duplicate_of"]]
        assert duplicate.state is optuna.trial.TrialState.COMPLETE
        assert duplicate.value == original.value
        assert duplicate.params == original.params
        assert "ledger" not in duplicate.user_attrs
        assert "run_id" not in duplicate.user_attrs


def test_a_duplicate_of_a_running_trial_gets_its_value_when_it_ends(opened: Open, project: Path) -> None:
    search = opened()
    running: list[Attempt] = []
    while (attempt := search.next_attempt(2)) is not None:
        running.append(attempt)
    assert len(running) == 16
    waiting = [trial for trial in trials(project) if "duplicate_of" in trial.user_attrs]
    assert {trial.state for trial in waiting} == {optuna.trial.TrialState.RUNNING}
    for attempt in running:
        search.end(attempt.number, "complete", objective=attempt.slot / 100)
    assert {trial.state for trial in trials(project)} == {optuna.trial.TrialState.COMPLETE}
    values = {attempt.number: attempt.slot / 100 for attempt in running}
    duplicates = [trial for trial in trials(project) if "duplicate_of" in trial.user_attrs]
    assert len(duplicates) == len(waiting) >= 1
    for trial in duplicates:
        assert trial.value == values[trial.user_attrs["duplicate_of"]]


@pytest.mark.slow
def test_a_duplicate_of_a_slot_that_is_tried_again_waits_for_its_value(opened: Open, project: Path) -> None:
    search = opened()
    running: list[Attempt] = []
    while (attempt := search.next_attempt(2)) is not None:
        running.append(attempt)
    for attempt in running:
        search.end(attempt.number, "lost")
    while (again := take(search, objective=0.25)) is not None:
        assert again.retry == 1
    duplicates = [trial for trial in trials(project) if "duplicate_of" in trial.user_attrs]
    assert duplicates
    assert {(trial.state.name, trial.value) for trial in duplicates} == {("COMPLETE", 0.25)}


@pytest.mark.slow
def test_duplicates_of_slots_that_are_given_up_end_with_the_study(opened: Open, project: Path) -> None:
    search = opened()
    running: list[Attempt] = []
    while (attempt := search.next_attempt(0)) is not None:
        running.append(attempt)
    for attempt in running:
        search.end(attempt.number, "lost", reason="SIGKILL")
    search.close()
    assert search.next_attempt(0) is None
    assert search.failed() == (16, "SIGKILL")
    assert {trial.state.name for trial in trials(project)} == {"FAIL"}


@pytest.mark.slow
def test_a_duplicate_of_a_failed_trial_fails(opened: Open, project: Path) -> None:
    search = opened()
    while take(search, "failed"):
        pass
    assert {trial.state for trial in trials(project)} == {optuna.trial.TrialState.FAIL}
    assert (search.done, list(search.ended())) == (0, [])


def test_a_failed_slot_is_not_tried_again_but_a_lost_one_is(opened: Open) -> None:
    search = opened()
    failed, lost = take(search, "failed"), take(search, "lost")
    again, other = take(search), take(search)
    assert failed and lost and again and other
    assert (again.slot, again.retry, again.spec) == (lost.slot, 1, lost.spec)
    assert again.name == "trial-0002-retry-1"
    assert other.slot == 3


def test_a_slot_that_is_lost_too_often_is_given_up(opened: Open) -> None:
    search = opened()
    slots = []
    for _ in range(4):
        attempt = take(search, "lost", retries=2)
        assert attempt
        slots.append((attempt.slot, attempt.retry))
    assert slots == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_an_interrupted_slot_is_always_tried_again_before_anything_new(opened: Open) -> None:
    for retry in range(4):
        attempt = take(opened(), "interrupted", retries=0)
        assert attempt
        assert (attempt.slot, attempt.retry) == (1, retry)


def play(search: Search, count: int) -> list[object]:
    return [config_of(take(search)) for _ in range(count)]


@pytest.mark.parametrize(
    "sampler",
    [
        "tpe_short",
        pytest.param("random", marks=pytest.mark.slow),
        pytest.param("qmc", marks=pytest.mark.slow),
        pytest.param("grid", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_study_continues_as_if_it_had_not_stopped(project: Path, sampler: str) -> None:
    def opened(database: str) -> Search:
        config = load_config("tiny", [f"sampler={sampler}", "study.trials=12"], project)
        return Search(project / database, config, make_identity())

    whole = play(opened("whole.db"), 12)
    parts = play(opened("parts.db"), 4)
    take(opened("parts.db"), "interrupted")
    for count in (1, 4, 3):
        parts += play(opened("parts.db"), count)
    assert parts == whole


def test_attempts_that_a_killed_coordinator_left_open_are_found_and_ended(opened: Open, project: Path) -> None:
    search = opened()
    finished, linked, unlinked = take(search), search.next_attempt(2), search.next_attempt(2)
    assert finished and linked and unlinked
    search.opened_run(linked, "run-x")
    search._study.ask()  # asked, never made an attempt
    search._study.enqueue_trial({"pooling": "max"})  # queued, never asked
    again = opened()
    left = list(again.unfinished())
    assert left == [linked, unlinked]
    assert [again.run_of(one) for one in left] == ["run-x", ""]
    for one in left:
        again.end(one.number, "interrupted")
    assert not [trial for trial in trials(project) if not trial.state.is_finished()]
    retried, second = take(again), take(again)
    assert retried and second
    assert [(retried.slot, retried.retry), (second.slot, second.retry)] == [(2, 1), (3, 1)]


def test_seeds_come_from_the_study_and_the_slot(opened: Open) -> None:
    attempt = take(opened("study.seed=11"))
    assert attempt
    assert attempt.spec.seed == 296233884  # draw_seed(11, 1), fixed for ever


MEDIAN = ("pruner=median", "pruner.n_startup_trials=2", "pruner.n_warmup_steps=1", "training.epochs=4")
MINIMIZE = "study.objective={metric: best_val_loss, direction: minimize}"


def record(epoch: int, *, accuracy: float = 0.5, loss: float = 1) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1, accuracy=0.5, val_loss=loss, val_accuracy=accuracy, seconds=1)


def test_a_median_pruner_prunes_below_the_median_after_its_warm_up(opened: Open) -> None:
    search = opened(*MEDIAN)
    for accuracy in (0.6, 0.8):
        attempt = search.next_attempt(2)
        assert attempt
        assert not any(search.report(attempt.number, record(epoch, accuracy=accuracy)) for epoch in (1, 2, 3, 4))
        search.end(attempt.number, "complete", objective=accuracy)
    attempt = search.next_attempt(2)
    assert attempt
    # The median of 0.6 and 0.8 is 0.7; epoch 1 is warm-up, epoch 4 the last.
    pruned = [search.report(attempt.number, record(epoch, accuracy=0.69)) for epoch in (1, 2, 3, 4)]
    assert pruned == [False, True, True, False]


def test_a_loss_is_pruned_above_the_median_and_ranked_from_the_least(opened: Open) -> None:
    search = opened(MINIMIZE, *MEDIAN)
    assert search.objective(make_result([0.5, 0.3, 0.4])) == 0.3
    # The median of 0.6 and 0.4 is 0.5.
    for loss, prunes in ((0.6, False), (0.4, False), (0.51, True), (0.49, False)):
        attempt = search.next_attempt(2)
        assert attempt
        pruned = [search.report(attempt.number, record(epoch, loss=loss)) for epoch in (1, 2, 3, 4)]
        assert pruned == [False, prunes, prunes, False]
        search.end(attempt.number, "pruned" if prunes else "complete", objective=loss)
    assert [(one.objective, one.state) for one in search.ended()] == [
        (0.4, "complete"),
        (0.49, "complete"),
        (0.6, "complete"),
        (0.51, "pruned"),
    ]


@pytest.mark.slow
def test_hyperband_prunes_worse_trials_after_2_and_after_6_epochs(opened: Open) -> None:
    search = opened("pruner=hyperband", "training.epochs=9")  # min_resource 2, reduction_factor 3
    trained = []
    while (attempt := search.next_attempt(2)) is not None:
        worse = 1 - attempt.slot / 100  # than all before it
        epochs = next(
            (epoch for epoch in range(1, 9) if search.report(attempt.number, record(epoch, accuracy=worse))), 9
        )
        search.end(attempt.number, "complete" if epochs == 9 else "pruned", objective=worse)
        trained.append(epochs)
    # Two brackets, for 2 x 3 is within 9 and 2 x 3 x 3 is not. One prunes after 2 and 6 epochs, the other after 6;
    # in each the first trial goes on, and all later ones are worse.
    assert Counter(trained).keys() == {2, 6, 9}
    assert [one.state for one in search.ended()] == ["complete"] * 2 + ["pruned"] * 14
    assert next(search.ended()).slot == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=9", r"training\.epochs is 3, asked for 9"),
        ("space.dropout=0.5", r"space\.dropout\.choices is \[0\.0, 0\.25\], asked for \[0\.5\]"),
        ("study.seed=8", r"study\.seed is 7, asked for 8"),
        ("pruner=hyperband", r"pruner\.name is none, asked for hyperband"),
        (MINIMIZE, r"study\.objective\.metric is best_val_accuracy, asked for best_val_loss"),
    ],
)
def test_a_study_with_other_settings_is_not_continued(opened: Open, override: str, message: str) -> None:
    take(opened())
    with pytest.raises(StudyMismatch, match=message) as caught:
        opened(override)
    assert "study.name=tiny-2" in str(caught.value)


def test_a_study_on_other_data_is_not_continued(opened: Open) -> None:
    opened()
    with pytest.raises(StudyMismatch, match=r"data\.digest is d, asked for e"):
        opened(digest="e")


def test_trials_and_execution_may_change(opened: Open) -> None:
    take(opened())
    assert opened("study.trials=7", "execution.workers=3", "study.timeout=9", "tracking.patience=9").done == 1


def test_complete_trials_precede_pruned_ones_better_ones_worse_ones_and_of_equals_the_lower_slot(opened: Open) -> None:
    search = opened()
    ends: list[tuple[State, float]] = [("pruned", 0.9), ("complete", 0.5), ("complete", 0.7), ("complete", 0.5)]
    for state, objective in ends:
        take(search, state, objective)
    assert [(one.slot, one.state, one.objective) for one in search.ended()] == [
        (3, "complete", 0.7),
        (2, "complete", 0.5),
        (4, "complete", 0.5),
        (1, "pruned", 0.9),
    ]


def test_a_file_that_is_not_a_database_is_refused_and_left_alone(project: Path) -> None:
    file = project / "optuna.db"
    file.write_text("not a database, and long enough to be taken for one" * 10)
    before = file.read_bytes()
    config: StudyConfig = load_config("tiny", [], project)
    with pytest.raises(StoreError, match="cannot be used"):
        Search(file, config, make_identity())
    assert file.read_bytes() == before


def test_a_new_database_is_complete_and_leaves_no_other_file(project: Path) -> None:
    Search(project / "optuna.db", load_config("tiny", [], project), make_identity())
    assert [path.name for path in project.glob("**/*.db")] == ["optuna.db"]
    with sqlite3.connect(project / "optuna.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
