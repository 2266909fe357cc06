"""Pages: numbers as people read them, charts whose points lie where they should, names that stay text."""

import io

import numpy as np
import pytest
from PIL import Image

from poolstudy.reports.html import breakable, charts, embedded
from poolstudy.reports.html.numbers import difference, number, percent
from poolstudy.reports.runs import pixel_images


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (None, "", "–"),
        (12345.0, "parameter_count", "12,345"),
        (0.67222, "best_val_loss", "0.6722"),
        (-0.5, "best_val_loss", "−0.5000"),
        (3.0, "best_epoch", "3"),
        (12.34, "train_seconds", "12.3"),
        (456.9, "images_per_second", "457"),
    ],
)
def test_numbers_have_the_decimals_they_bear(value: float | None, name: str, text: str) -> None:
    assert number(value, name) == text


def test_differences_have_their_sign_unless_they_are_nothing() -> None:
    assert [difference(value, "accuracy") for value in (0.01, -0.01, 0.0, -0.00001)] == [
        "+0.0100", "−0.0100", "0.0000", "0.0000",
    ]  # fmt: skip
    assert difference(None) == ""


def test_shares_are_percentages() -> None:
    assert percent(0.125) == "12 %"
    assert percent(0.125, 1) == "12.5 %"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0.47, 1.7, [0.5, 1, 1.5]), (-0.3, 0.3, [-0.2, 0, 0.2]), (0, 9, [0, 5]), (2, 2, [2])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high, most=3) == pytest.approx(expected)


def test_epochs_are_marked_from_the_first() -> None:
    assert charts.epochs(3) == [1, 2, 3]
    assert charts.epochs(10) == [1, 4, 7, 10]
    assert charts.epochs(1) == [1]


def test_points_lie_within_the_frame_where_they_should() -> None:
    """The plot begins 34 from the left and ends 6 from the right, 8 from the top and 20 from the bottom."""
    frame = charts.Frame((0, 10), (0, 1), width=140, height=128)
    assert frame.place(0, 0) == (34, 108)
    assert frame.place(10, 1) == (134, 8)
    assert frame.path([(0, 0), (5, 0.5)]) == "M34.0 108.0L84.0 58.0"
    assert frame.path([(0, float("nan")), (10, 1)]) == "M134.0 8.0"
    assert charts.Frame((1, 1), (2, 2)).place(1, 2)[0] == 34


def test_a_histogram_steps_from_the_ground_to_the_ground() -> None:
    assert charts.steps([0, 1, 2], [5, 7]) == [(0, 0), (0, 5), (1, 5), (1, 7), (2, 7), (2, 0)]


def test_the_names_in_a_matrix_stay_text() -> None:
    shown = charts.matrix("data:,", [[("1", False)]], ["<script>alert(1)</script>"], "one")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_names_break_after_underscores_and_stay_text() -> None:
    assert breakable("best_val<b>") == "best_<wbr>val&lt;b&gt;"


def test_a_picture_is_a_pixel_a_number_and_clear_where_there_is_none() -> None:
    picture = np.array([[0, 1, np.nan]], np.float32)
    image = Image.open(io.BytesIO(pixel_images.to_png(picture, pixel_images.MAP_SCALE, 0, 1))).convert("RGBA")
    dark, light, none = (image.getpixel((x, 0)) for x in range(3))
    assert dark == (68, 1, 84, 255)  # viridis' ends
    assert light == (253, 231, 36, 255)
    assert isinstance(none, tuple)
    assert none[3] == 0


def test_tiles_stand_in_eight_columns_whether_there_are_as_many_or_not() -> None:
    assert pixel_images.kernel_picture(np.zeros((3, 3, 1, 2), np.float32)).shape == (3, 31)  # 8 x 3 and 7 gaps
    assert pixel_images.kernel_picture(np.zeros((3, 3, 1, 100), np.float32)).shape == (31, 31)  # 64 of them
    assert pixel_images.kernel_picture(np.zeros((3, 3, 2, 5), np.float32)).shape == (7, 63)  # 2 inputs down, 16 across
    assert pixel_images.maps_picture(np.zeros((4, 4, 9), np.float32)).shape == (9, 39)
    assert pixel_images.kernel_caption(np.zeros((3, 3, 20, 5), np.float32)) == "5 filters across, 16 of 20 inputs down"
    assert pixel_images.maps_caption(np.zeros((4, 5, 100), np.float32)) == "64 of 100 maps of 4 × 5"


def test_colour_images_and_grey_ones_can_be_embedded() -> None:
    grey, colour = np.full((2, 2, 1), 255, np.uint8), np.full((2, 2, 3), 7, np.uint8)
    assert pixel_images.read(pixel_images.image_png(grey)).tolist() == [[[0, 0, 0]] * 2] * 2  # dark on light
    assert pixel_images.read(pixel_images.image_png(colour)).tolist() == [[[7, 7, 7]] * 2] * 2
    assert embedded(pixel_images.image_png(grey)).startswith("data:image/png;base64,iVBOR")
