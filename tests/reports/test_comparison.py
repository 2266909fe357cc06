"""What a comparison says in numbers, worked out by hand."""

import numpy as np
import pytest
from conftest import make_result, make_spec

from poolstudy.reports.runs import comparison
from poolstudy.reports.runs.comparison import ComparedRun


def entry(**values: object) -> ComparedRun:
    return ComparedRun(**{"run_id": "1" * 32, "name": "trial-0001", "study": "s", "standing": "complete", **values})  # type: ignore[arg-type]


def test_only_what_differs_is_told_and_the_rest_apart() -> None:
    one = entry(settings={"pooling": "max", "epochs": "3", "seed": "1"})
    two = entry(settings={"pooling": "average", "epochs": "3"})
    differing, same = comparison.settings_of([one, two])
    assert [(row.name, row.values) for row in differing] == [("pooling", ("max", "average")), ("seed", ("1", None))]
    assert [(row.name, row.values) for row in same] == [("epochs", ("3", "3"))]


def test_metrics_are_held_against_the_first_run() -> None:
    accuracies: list[dict[str, float]] = [{"best_val_accuracy": 0.75}, {"best_val_accuracy": 0.875}, {}]
    (row,) = comparison.metrics_of([entry(metrics=metrics) for metrics in accuracies])
    assert row.values == (0.75, 0.875, None)
    assert row.differences == (None, 0.125, None)
    assert row.best == {1}


def test_the_least_loss_is_the_best_and_a_count_has_none() -> None:
    found = [entry(metrics={"best_val_loss": loss, "best_epoch": 2}) for loss in (0.5, 0.25, 0.25)]
    loss, epoch = comparison.metrics_of(found)
    assert (loss.name, set(loss.best)) == ("best_val_loss", {1, 2})
    assert (epoch.name, set(epoch.best)) == ("best_epoch", set())


def test_without_a_first_value_there_is_no_difference() -> None:
    (row,) = comparison.metrics_of([entry(), entry(metrics={"best_val_loss": 1.0})])
    assert row.differences == (None, None)


def test_bins_are_shared_and_hold_every_weight() -> None:
    """41 bins from -1.02 to 1.02: 0.05 wide, 0 in the middle of the 21st."""
    one = entry(trained={"conv_1/kernel": np.array([-1, 0, 0, 1], np.float32)})
    two = entry(trained={"conv_1/kernel": np.array([0.1, 0.2], np.float32)})
    edges, (first, second, none) = comparison.histograms([one, two, entry()], "conv_1/kernel")
    # 99.9 % of the first run's values lie within 1: its quantile is 1 itself.
    assert [edges[0], edges[-1]] == pytest.approx([-1.02, 1.02])
    assert first is not None
    assert second is not None
    assert none is None
    assert (first.trained[0], first.trained[20], first.trained[-1]) == (25, 50, 25)
    assert sum(second.trained) == pytest.approx(100)
    assert (first.mean, first.untrained) == (0, ())


def test_what_lies_beyond_the_bins_is_in_the_outermost() -> None:
    values = np.append(np.full(9999, 0.5), 100).astype(np.float32)
    edges, (found,) = comparison.histograms([entry(trained={"w": values})], "w")
    assert edges[-1] == pytest.approx(0.51)
    assert found is not None
    assert found.trained[-1] == pytest.approx(100)


def test_maps_share_the_scale_of_the_brightest() -> None:
    dark, bright = ({"pool_1": np.full((2, 2, 1), value, np.float32)} for value in (0.5, 2.0))
    found = [entry(maps={3: dark}), entry(maps={3: bright}), entry()]
    assert comparison.brightest(found, 3, "pool_1") == 2
    assert comparison.brightest([entry()], 3, "pool_1") == 1


def test_curves_share_axes_over_training_and_validation() -> None:
    # make_result: training loss is 0.1 above the validation's, training accuracy 0.5, validation 0.5 + epoch / 10.
    found = [entry(history=make_result(losses).history) for losses in ([1.0, 0.5], [2.0])]
    ranges = comparison.loss_and_accuracy(found)
    assert ranges == {"loss": (0.5, 2.1), "accuracy": (0.5, 0.7)}
    assert comparison.loss_and_accuracy([entry()]) == {"loss": (0, 1), "accuracy": (0, 1)}


def test_disagreement_is_counted_in_bits() -> None:
    """Sure of the same: 0. Two sure of different classes: 1 bit. One undecided, one sure:
    H(3/4, 1/4) - (1 + 0) / 2 = 0.8113 - 0.5."""
    one = np.array([[1, 0], [1, 0], [0.5, 0.5]], np.float32)
    two = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    np.testing.assert_allclose(comparison.disagreement([one, two]), [0, 1, 0.3113], atol=1e-4)
    assert comparison.most_disputed([one, two], 5) == [1, 2]
    assert comparison.most_disputed([one, two], 1) == [1]
    assert comparison.most_disputed([one], 5) == []
    assert comparison.most_disputed([one, one], 5) == []


def test_images_gained_and_lost() -> None:
    labels = np.array([0, 0, 1, 1], np.uint8)
    first = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]  # right, wrong, right, wrong
    other = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]  # right, right, wrong, right
    assert comparison.gained_and_lost(first, other, labels) == (2, 1)


def test_more_on_the_diagonal_is_better_and_more_off_it_worse() -> None:
    first, other = np.array([[5, 3], [1, 4]]), np.array([[6, 2], [3, 2]])
    assert comparison.improvement(first, other).tolist() == [[1, 1], [-2, -2]]


def test_runs_of_the_same_validation_images_can_be_compared_image_by_image() -> None:
    data = make_spec().data
    parts = {"validation_images": "a", "validation_labels": "b"}
    here = data.model_copy(update={"parts": parts})
    fewer = data.model_copy(update={"parts": parts, "digest": "e" * 64, "train_images": 2})  # trained on others
    other = data.model_copy(update={"parts": {**parts, "validation_images": "c"}})
    predictions = np.zeros((1, 2), np.float32)
    found = [
        entry(data=here),
        entry(data=here, probabilities=predictions),
        entry(data=other, probabilities=predictions),
        entry(data=fewer, probabilities=predictions),
    ]
    assert comparison.comparable(found) == [1, 3]
    eleven = entry(data=here, probabilities=np.zeros((1, 11), np.float32))  # classes
    assert comparison.comparable([*found, eleven]) == [1, 3]
    assert comparison.comparable([eleven, *found]) == [0]
    assert comparison.comparable([entry()]) == []
