from typing import Literal

from poolstudy.records import Ended
from poolstudy.search.ranking import Ranking
from poolstudy.space import HyperParameters

NETWORK = HyperParameters(pooling="max", pool_size=2, filters=(8, 8), dropout=0.0)


def ranking(maximize: bool, *trials: tuple[int, float, Literal["complete", "pruned"]]) -> Ranking:
    found = Ranking(maximize=maximize)
    for slot, objective, state in trials:
        found[slot] = Ended(slot=slot, state=state, objective=objective, run_id="r", hyperparameters=NETWORK)
    return found


def slots(found: Ranking) -> list[int]:
    return [one.slot for one in found.best_first()]


def test_the_best_comes_first_and_of_equals_the_lower_slot() -> None:
    trials: list[tuple[int, float, Literal["complete", "pruned"]]] = [
        (3, 0.8, "complete"),
        (1, 0.7, "complete"),
        (4, 0.9, "complete"),
        (2, 0.8, "complete"),
    ]
    assert slots(ranking(True, *trials)) == [4, 2, 3, 1]
    assert slots(ranking(False, *trials)) == [1, 2, 3, 4]


def test_pruned_trials_come_last_whatever_they_reached() -> None:
    assert slots(ranking(True, (1, 0.99, "pruned"), (2, 0.1, "complete"))) == [2, 1]


def test_a_trial_told_again_takes_the_place_of_what_was_told_before() -> None:
    found = ranking(True, (1, 0.5, "complete"), (2, 0.6, "complete"), (1, 0.7, "complete"))
    assert slots(found) == [1, 2]
    assert found[1].objective == 0.7
    assert 3 not in found
