"""Figures: their content, and that equal weights give equal pixels."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import make_result, make_spec
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from PIL import Image

from poolstudy.figures import Subject, draw, outline
from poolstudy.figures.confusion import confusion_counts, confusion_matrix
from poolstudy.figures.curves import learning_curves
from poolstudy.figures.diagram import draw_diagram
from poolstudy.figures.feature_maps import feature_maps as maps_figure
from poolstudy.figures.kernels import WEIGHT_COLOURS, kernels
from poolstudy.figures.mistakes import most_wrong
from poolstudy.figures.panel import Panel, PixelArtist, coloured, fitted, labels, round_ticks
from poolstudy.figures.style import legible, mosaic, new_figure, save
from poolstudy.figures.weights import _shared_bins, layer_histogram, weights_histogram
from poolstudy.network.build import build_model, weights_of
from poolstudy.network.forward import maps_of
from poolstudy.spec.colours import COLOURS
from poolstudy.spec.layers import layers
from poolstudy.spec.records import FigureSettings
from poolstudy.spec.space import HyperParameters


def texts(figure: Figure) -> list[str]:
    return [artist.get_text() for artist in figure.findobj(Text) if isinstance(artist, Text)]


def test_curves_show_every_epoch_and_mark_the_best() -> None:
    figure = learning_curves(make_result([0.5, 0.3, 0.4]), "max", "a heading")
    lines = [line for line in figure.findobj(Line2D) if isinstance(line, Line2D)]
    _, training, validation, best = lines[:4]
    assert np.asarray(training.get_ydata()).tolist() == [0.6, 0.4, 0.5]
    assert np.asarray(validation.get_ydata()).tolist() == [0.5, 0.3, 0.4]
    assert np.asarray(validation.get_xdata()).tolist() == [1, 2, 3]
    assert (np.asarray(best.get_xdata()).tolist(), np.asarray(best.get_ydata()).tolist()) == ([2], [0.3])
    assert validation.get_color() == COLOURS["max"]
    assert {"accuracy (share)", "best epoch 2: 0.3000", "best epoch 2: 0.7000"} <= set(texts(figure))


def test_a_single_epoch_can_be_drawn(tmp_path: Path) -> None:
    save(learning_curves(make_result([0.5]), "average", "one"), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0


def test_bins_are_shared_and_have_zero_in_the_middle_of_one() -> None:
    bins = _shared_bins(np.array([-0.1, 0.2], np.float32), np.array([0.5, -0.3], np.float32))
    assert bins[0] < -0.5 < 0.5 < bins[-1]
    assert bins[20] == pytest.approx(-bins[21])


def test_weights_that_are_all_zero_have_bins_too() -> None:
    assert np.all(np.diff(_shared_bins(np.zeros(3, np.float32), np.zeros(3, np.float32))) > 0)


def counted(outline: StepPatch) -> int:
    """Return the number of values under a histogram's outline."""
    return int(np.sum(outline.get_data()[0]))


def test_every_weight_has_a_panel_that_counts_all_its_values() -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(1, 7), dropout=0)
    weights = weights_of(build_model(network, (8, 8, 1), 10, 5))
    figure = weights_histogram(weights, weights, "max", "heading")
    assert {"conv_1 kernel (3 x 3 x 1 x 1)", "conv_1 bias (1)", "dense_2 kernel (5 x 10)"} <= set(texts(figure))
    counts = [counted(patch) for patch in figure.findobj(StepPatch) if isinstance(patch, StepPatch)]
    assert counts == [size for values in weights.values() for size in [values.size] * 2]  # untrained, trained


def test_equal_weights_give_equal_pixels(tmp_path: Path) -> None:
    network = HyperParameters(pooling="average", pool_size=2, filters=(4,), dropout=0)
    weights = weights_of(build_model(network, (8, 8, 1), 10, 5))
    for name in ("one", "two"):
        save(layer_histogram("conv_1/kernel", weights, weights, "average", "title"), tmp_path / f"{name}.png")
    one, two = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_the_diagram_has_the_given_resolution(tmp_path: Path) -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(2,), dropout=0)
    drawn = outline(build_model(network, (8, 8, 1), 10, 5))
    assert drawn.layers[:2] == (("conv_1", (8, 8, 2), 20), ("pool_1", (4, 4, 2), 0))  # 3 x 3 x 1 x 2 and 2 biases
    sizes = []
    for dpi in (50, 100):
        draw_diagram(drawn, tmp_path / f"{dpi}.png", dpi)
        sizes.append(Image.open(tmp_path / f"{dpi}.png").size)
    assert sizes[1][1] == pytest.approx(2 * sizes[0][1], rel=0.05)


def test_tiles_fill_rows_with_gaps_between_them() -> None:
    tiles = np.stack([np.full((1, 2), number, np.float32) for number in (1, 2, 3)])
    nan = np.nan
    expected = [[1, 1, nan, 2, 2], [nan] * 5, [3, 3, nan, nan, nan]]
    np.testing.assert_array_equal(mosaic(tiles, columns=2), np.array(expected, np.float32))


def pictures(
    network: HyperParameters, image_shape: tuple[int, int, int] = (28, 28, 1)
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[str]]:
    """Return the sizes, in values, of a network's kernel and feature map pictures, and the texts of the latter."""
    weights = weights_of(build_model(network, image_shape, 10, 5))
    image = np.zeros(image_shape, np.uint8)
    maps = maps_of(layers(network, image_shape, 10, 5), weights, image.astype(np.float32))
    drawn = kernels(weights, weights, 0.5, "heading"), maps_figure(image, maps, "caption", "heading")
    kernel_sizes, map_sizes = (
        [picture.values.shape[:2] for picture in figure.findobj(PixelArtist) if isinstance(picture, PixelArtist)]
        for figure in drawn
    )
    scale = (128, 1)
    return (
        [size for size in kernel_sizes if size != scale],
        [size for size in map_sizes[1:] if size != scale],  # the first is the image
        texts(drawn[1]),
    )


def test_kernels_and_feature_maps_are_laid_out_as_in_the_notebook() -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0)
    kernel_sizes, map_sizes, captions = pictures(network)
    # 2 rows of 16 tiles of 3x3 one apart, untrained and trained; then 32 rows of 64.
    assert kernel_sizes == [(7, 63)] * 2 + [(127, 255)] * 2
    # 4 x 8 of 28x28 and of 14x14; 8 x 8 of 14x14 and of 7x7.
    assert map_sizes == [(115, 231), (59, 119), (119, 119), (63, 63)]
    assert {"conv_1 28 x 28 x 32", "pool_1 14 x 14 x 32", "conv_2 14 x 14 x 64", "pool_2 7 x 7 x 64"} <= set(captions)


@pytest.mark.parametrize(
    ("filters", "kernel", "maps"),
    [(1, (3, 63), (8, 35)), (7, (3, 63), (8, 62)), (512, (63, 127), (143, 287))],
)
def test_any_number_of_filters_is_laid_out(filters: int, kernel: tuple[int, int], maps: tuple[int, int]) -> None:
    network = HyperParameters(pooling="average", pool_size=2, filters=(filters,), dropout=0)
    kernel_sizes, map_sizes, _ = pictures(network, (8, 8, 1))
    assert kernel_sizes[0] == kernel
    assert map_sizes[0] == maps  # one map is as wide as four; 512: 16 rows of 32


def test_few_filters_of_a_later_convolution_leave_white_on_the_right() -> None:
    sizes, _, _ = pictures(HyperParameters(pooling="max", pool_size=2, filters=(3, 2), dropout=0), (8, 8, 1))
    assert sizes == [(3, 63)] * 2 + [(11, 63)] * 2  # 3 rows of 2 tiles, and white


def test_a_picture_is_enlarged_value_by_value(tmp_path: Path) -> None:
    """A figure of 4 x 2 dots, a picture of 2 x 1: red left, blue right."""
    figure = new_figure(4 / 160, 2 / 160)
    Panel(figure, (0, 0, 1, 1)).image(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    save(figure, tmp_path / "two.png")
    red, blue = [255, 0, 0], [0, 0, 255]
    assert np.asarray(Image.open(tmp_path / "two.png")).tolist() == [[red, red, blue, blue]] * 2


def test_the_first_row_of_a_picture_is_above(tmp_path: Path) -> None:
    figure = new_figure(1 / 160, 2 / 160)
    Panel(figure, (0, 0, 1, 1)).image(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8))
    save(figure, tmp_path / "two.png")
    assert np.asarray(Image.open(tmp_path / "two.png")).tolist() == [[[255, 0, 0]], [[0, 0, 255]]]


def test_a_picture_keeps_its_proportions() -> None:
    figure = new_figure(2, 1)
    assert fitted((0, 0, 1, 1), figure, (10, 10), "N") == (0.25, 0, 0.5, 1)  # one inch by one
    assert fitted((0, 0, 1, 1), figure, (10, 40), "C") == (0, 0.25, 1, 0.5)
    assert fitted((0, 0, 1, 1), figure, (10, 40), "NW") == (0, 0.5, 1, 0.5)


def test_colours_span_the_given_range() -> None:
    colours = coloured(np.array([[-9, -0.5, 0, 0.5, np.nan]]), WEIGHT_COLOURS, -0.5, 0.5)[0].tolist()
    assert colours[0] == colours[1] == [5, 48, 97]  # the dark blue that RdBu_r begins with
    assert min(colours[2]) > 240
    assert colours[3] == [103, 0, 31]
    assert colours[4] == [255, 255, 255]


def test_ticks_are_round_and_lie_within() -> None:
    assert round_ticks(0.13, 0.92, 5) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert round_ticks(1, 3, 9, whole=True) == [1, 2, 3]
    assert labels([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert labels([-20.0, 0.0, 20.0]) == ["−20", "0", "20"]
    assert labels([]) == []


def test_confusions_are_counted_by_true_and_predicted_class() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2], np.uint8), np.array([0, 1, 1, 0, 0])
    counts = confusion_counts(labels, predicted, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]
    figure = confusion_matrix(counts, ("a", "b", "c"), "max", "heading")
    written = texts(figure)
    assert "predicted class (2 of 5 images right)" in written
    assert sorted(text for text in written if text.isdigit()) == ["1", "1", "1", "2"]


def test_the_most_confident_mistakes_come_first() -> None:
    labels = np.array([0, 1, 0, 1], np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6]], np.float32)
    assert most_wrong(labels, probabilities, 5).tolist() == [2, 1]
    assert most_wrong(labels, probabilities, 1).tolist() == [2]


def test_a_class_name_without_glyphs_becomes_its_number() -> None:
    assert legible("Coat", 4) == "Coat"
    assert legible("샌들", 5) == "class 5"
    assert legible("", 6) == "class 6"
    assert legible("a very long name of a class", 7) == "a very long n…"


def subject(network: HyperParameters, image_shape: tuple[int, int, int], names: tuple[str, ...]) -> Subject:
    model = build_model(network, image_shape, len(names), 5)
    weights = weights_of(model)
    images = np.random.default_rng(1).integers(0, 256, (6, *image_shape), np.uint8)
    probabilities = np.eye(len(names), dtype=np.float32)[np.arange(6) % len(names)]
    spec = make_spec()
    data = spec.data.model_copy(update={"class_names": names, "image_shape": image_shape})
    spec = spec.model_copy(update={"hyperparameters": network, "data": data})
    result, labels = make_result([0.5]), np.zeros(6, np.uint8)
    return Subject(spec, result, outline(model), weights, weights, images, labels, probabilities)


@pytest.mark.parametrize(
    ("image_shape", "names"),
    [
        ((8, 8, 3), ("a", "b")),  # colour images
        ((8, 8, 1), ("샌들", "$\\frac", "x_{", "%s")),  # no glyphs in the font; a broken formula; a format
        ((8, 8, 1), tuple(map(str, range(30)))),  # too many classes for numbers
    ],
)
def test_every_figure_is_drawn_the_same_twice(
    tmp_path: Path, image_shape: tuple[int, int, int], names: tuple[str, ...]
) -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(2, 3), dropout=0)
    drawn = subject(network, image_shape, names)
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        draw(drawn, tmp_path / turn, tmp_path / turn / "images", FigureSettings(example_image=99))
    first = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(first) == 7 + 14
    for path in first:
        one, two = (np.asarray(Image.open(tmp_path / turn / path)) for turn in ("one", "two"))
        np.testing.assert_array_equal(one, two)
    for key in (path for path in first if path.parts[0] == "images"):
        assert max(Image.open(tmp_path / "one" / key).size) == 512  # twice what the grids show


def test_a_network_without_mistakes_is_drawn_too(tmp_path: Path) -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(2,), dropout=0)
    perfect = dataclasses.replace(subject(network, (8, 8, 1), ("a", "b")), labels=np.arange(6, dtype=np.uint8) % 2)
    draw(perfect, tmp_path, tmp_path / "images", FigureSettings())
    assert (tmp_path / "most_wrong.png").exists()


def test_a_long_heading_is_made_to_fit() -> None:
    figures = [new_figure(6.4, 3, heading) for heading in ("short", "x" * 97)]
    sizes = [float(text.get_fontsize()) for figure in figures for text in figure.texts]
    assert sizes == [10, pytest.approx(6.4 * 72 / (0.55 * 97))]
