"""The numbers and the rows of a comparison, worked out by hand."""

import html
import re

import numpy as np
import pytest
from conftest import make_result, make_spec

from poolstudy.reports.runs import comparison, pixel_images, sheet
from poolstudy.reports.runs.comparison import ComparedRun, Comparison
from poolstudy.reports.runs.page import comparison_page
from poolstudy.reports.runs.rows import sections


def entry(**values: object) -> ComparedRun:
    return ComparedRun(**{"run_id": "1" * 32, "name": "trial-0001", "study": "s", "standing": "complete", **values})  # type: ignore[arg-type]


def test_parameters_are_those_that_differ_and_the_rest() -> None:
    one = entry(settings={"pooling": "max", "epochs": "3", "seed": "1"})
    two = entry(settings={"pooling": "average", "epochs": "3"})
    differing, same = comparison.settings_of([one, two])
    assert differing == {"pooling": ("max", "average"), "seed": ("1", None)}
    assert same == {"epochs": ("3", "3")}


def test_metrics_are_compared_with_the_first_run() -> None:
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
    # 41 bins from -1.02 to 1.02: 0.05 wide, 0 in the middle of the 21st.
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


def test_the_outermost_bins_hold_the_values_beyond() -> None:
    values = np.append(np.full(9999, 0.5), 100).astype(np.float32)
    edges, (histogram,) = comparison.histograms([entry(trained={"w": values})], "w")
    assert edges[-1] == pytest.approx(0.51)
    assert histogram is not None
    assert histogram.trained[-1] == pytest.approx(100)


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
    # Sure of the same: 0. Two sure of different classes: 1 bit. One undecided, one sure:
    # H(3/4, 1/4) - (1 + 0) / 2 = 0.8113 - 0.5.
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


@pytest.fixture
def three_runs() -> Comparison:
    """Make a comparison of two runs with everything and one with nothing, on 20 images of two classes."""
    data = make_spec().data
    random = np.random.default_rng(1)

    def full(name: str, side: int) -> ComparedRun:
        weights = {"conv_1/kernel": random.normal(size=(3, 3, 1, 4)).astype(np.float32)}
        return entry(
            name=name,
            data=data,
            settings={"pool_size": str(side)},
            metrics={"best_val_accuracy": 0.5, "best_val_loss": float(side)},
            history=make_result([1.0, 0.5]).history,
            untrained=weights,
            trained=weights,
            maps={3: {"conv_1": np.ones((side, side, 4), np.float32)}},
            probabilities=random.dirichlet([1, 1], 20).astype(np.float32),
            diagram=pixel_images.image_png(np.zeros((9, 9, 1), np.uint8)),
        )

    return Comparison(
        entries=(full("trial-0001", 2), full("trial-0002", 3), entry(name="trial-0003", notes=("failed", "no files"))),
        images=np.zeros((20, 4, 4, 1), np.uint8),
        labels=np.array([0, 1] * 10, np.uint8),
        class_names=("<b>", "\N{CJK UNIFIED IDEOGRAPH-72AC}"),
        examples=(3,),
        kernel_limit=0.5,
    )


def test_the_page_and_the_picture_have_the_same_rows_in_the_same_order(three_runs: Comparison) -> None:
    shown = sections(three_runs)
    rows = [row for section in shown for row in section.rows]
    assert [row.title for row in rows[:-16]] == [
        "pool_size", "notes", "best_val_accuracy", "best_val_loss", "loss", "accuracy", "layers", "conv_1 kernel",
        "conv_1", "conv_1", "counts", "difference to the first run", "right, where the first is wrong",
        "wrong, where the first is right",
    ]  # fmt: skip
    titles = [row.title for row in rows]
    on_page = re.findall(r'scope="row">.*?<div>(.*?)</div>', comparison_page(three_runs, shown), re.DOTALL)
    assert [html.unescape(title.replace("<wbr>", "")) for title in on_page] == titles
    (axes,) = sheet._Sheet(three_runs).draw(shown).axes
    left = [text.get_text().replace("\n", " ") for text in axes.texts if text.get_position()[0] < 1]
    drawn = iter("class 1" if title == three_runs.class_names[1] else title for title in titles)
    expected = next(drawn)
    for text in left:
        expected = next(drawn, "") if text == expected else expected
    assert expected == ""


def test_a_run_without_anything_has_no_cells_but_its_notes(three_runs: Comparison) -> None:
    rows = {row.title: row for section in sections(three_runs) for row in section.rows}
    assert rows.pop("notes").cells[2] == "failed\nno files"
    assert {row.cells[2] for row in rows.values()} == {None}
    assert {row.caption(2) for row in rows.values()} == {"–"}


def test_text_on_a_dark_pixel_is_white() -> None:
    values = np.array([[0, 0.5, 1]], np.float32)
    assert pixel_images.is_dark(values, pixel_images.own_colours("average"), 0, 1) == [[False, False, True]]
    assert pixel_images.is_dark(values * 2 - 1, pixel_images.BETTER_SCALE, -1, 1) == [[True, False, True]]
