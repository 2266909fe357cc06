from typing import Literal

from poolstudy.search.ranking import Ranking


def ranking(maximize: bool, *trials: tuple[int, float, Literal["complete", "pruned"]]) -> Ranking:
    found = Ranking(maximize=maximize)
    for number, (slot, objective, state) in enumerate(trials, start=10):
        found.put(slot, number, state, objective)
    return found


def test_the_best_comes_first_and_of_equals_the_lower_slot() -> None:
    trials: list[tuple[int, float, Literal["complete", "pruned"]]] = [
        (3, 0.8, "complete"),
        (1, 0.7, "complete"),
        (4, 0.9, "complete"),
        (2, 0.8, "complete"),
    ]
    assert list(ranking(True, *trials)) == [12, 13, 10, 11]
    assert list(ranking(False, *trials)) == [11, 13, 10, 12]


def test_pruned_trials_come_last_whatever_they_reached() -> None:
    assert list(ranking(True, (1, 0.99, "pruned"), (2, 0.1, "complete"))) == [11, 10]


def test_a_trial_told_again_takes_the_place_of_what_was_told_before() -> None:
    found = ranking(True, (1, 0.5, "complete"), (2, 0.6, "complete"), (1, 0.7, "complete"))
    assert list(found) == [12, 11]
    assert len(found) == 2
