"""The pictures: what they hold, and that equal weights give equal pixels."""

from pathlib import Path

import numpy as np
import pytest
from conftest import make_result
from matplotlib.patches import Polygon
from PIL import Image

from poolstudy.figures.curves import learning_curves
from poolstudy.figures.diagram import draw_diagram
from poolstudy.figures.style import COLOURS
from poolstudy.figures.weights import _shared_bins, layer_histogram, weights_histogram
from poolstudy.model import build_model, weights_of
from poolstudy.space import HyperParameters


def test_curves_show_every_epoch_and_mark_the_best() -> None:
    figure = learning_curves(make_result([0.5, 0.3, 0.4]), "max", "a heading")
    loss, accuracy = figure.axes
    training, validation, _, best = loss.get_lines()
    assert np.asarray(training.get_ydata()).tolist() == [0.6, 0.4, 0.5]
    assert np.asarray(validation.get_ydata()).tolist() == [0.5, 0.3, 0.4]
    assert np.asarray(validation.get_xdata()).tolist() == [1, 2, 3]
    assert (np.asarray(best.get_xdata()).tolist(), np.asarray(best.get_ydata()).tolist()) == ([2], [0.3])
    assert validation.get_color() == COLOURS["max"]
    assert accuracy.get_ylabel() == "accuracy (share)"


def test_a_single_epoch_can_be_drawn(tmp_path: Path) -> None:
    learning_curves(make_result([0.5]), "average", "one").savefig(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0


def test_bins_are_shared_and_have_zero_in_the_middle_of_one() -> None:
    bins = _shared_bins(np.array([-0.1, 0.2], np.float32), np.array([0.5, -0.3], np.float32))
    assert bins[0] < -0.5 < 0.5 < bins[-1]
    assert bins[20] == pytest.approx(-bins[21])


def test_weights_that_are_all_zero_have_bins_too() -> None:
    assert np.all(np.diff(_shared_bins(np.zeros(3, np.float32), np.zeros(3, np.float32))) > 0)


def counted(outline: Polygon) -> int:
    """How many values a histogram's outline holds: the heights of its upper edge, each once."""
    x, y = np.asarray(outline.get_xy(), float).T
    upper = [y[index] for index in range(len(x) - 1) if x[index + 1] > x[index]]
    return round(float(sum(upper)))


def test_every_weight_has_a_panel_that_counts_all_its_values() -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(1, 7), dropout=0)
    weights = weights_of(build_model(network, (8, 8, 1), 10, 5))
    figure = weights_histogram(weights, weights, "max", "heading")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["conv_1 kernel (3 x 3 x 1 x 1)", "conv_1 bias (1)"]
    assert len(titles) == len(weights) == 8
    for axes, values in zip(figure.axes, weights.values(), strict=True):
        outlines = [patch for patch in axes.patches if isinstance(patch, Polygon)]
        assert [counted(outline) for outline in outlines] == [values.size] * 2  # untrained, trained


def test_equal_weights_give_equal_pixels(tmp_path: Path) -> None:
    network = HyperParameters(pooling="average", pool_size=2, filters=(4,), dropout=0)
    weights = weights_of(build_model(network, (8, 8, 1), 10, 5))
    for name in ("one", "two"):
        layer_histogram("conv_1/kernel", weights, weights, "average", "title").savefig(tmp_path / f"{name}.png")
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_the_diagram_has_the_resolution_that_was_asked_for(tmp_path: Path) -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(2,), dropout=0)
    model = build_model(network, (8, 8, 1), 10, 5)
    sizes = []
    for dpi in (50, 100):
        draw_diagram(model, tmp_path / f"{dpi}.png", dpi)
        sizes.append(Image.open(tmp_path / f"{dpi}.png").size)
    assert sizes[1][1] == pytest.approx(2 * sizes[0][1], rel=0.05)
