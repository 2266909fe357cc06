"""The content and order of the stored view; test_server.py checks the page in a browser."""

import pytest

from poolstudy.spec.colours import COLOURS, shade
from poolstudy.tracking.dashboard import view


@pytest.mark.parametrize(
    ("maximize", "trials", "ascending", "hidden"),
    [
        (True, 10, True, "SHOWALL"),  # MLflow's grids reverse the list: the best is last in it, first in them
        (False, 10, False, "SHOWALL"),
        (True, 11, False, "SHOWALL"),  # a grid shows the first ten of the list: they must be the best ones
        (False, 11, True, "SHOWALL"),
        (True, 101, False, "FIRST_20_RUNS"),  # the page loads 100 runs
        (False, 101, True, "FIRST_20_RUNS"),
    ],
)
def test_the_best_runs_are_shown_and_first_where_a_grid_shows_all(
    maximize: bool, trials: int, ascending: bool, hidden: str
) -> None:
    stored = view("best_val_loss", maximize, ["pooling"], ["a/b"], trials)
    assert (stored["orderByKey"], stored["orderByAsc"]) == ("metrics.`best_val_loss`", ascending)
    assert stored["runsHiddenMode"] == hidden


def test_every_image_has_a_table_row_and_a_larger_card() -> None:
    cards = view("best_val_accuracy", True, ["pooling", "dropout"], ["a/b", "c/d"], 5)["compareRunCharts"]
    assert [card["imageKeys"] for card in cards if card["type"] == "IMAGE"] == [["a/b", "c/d"], ["a/b"], ["c/d"]]
    (parallel,) = (card for card in cards if card["type"] == "PARALLEL")
    assert parallel["selectedParams"] == ["pooling", "dropout"]
    assert parallel["selectedMetrics"] == ["best_val_accuracy"]
    assert len({card["uuid"] for card in cards}) == len(cards)


def test_five_runs_have_distinct_shades_and_the_first_is_the_poolings_colour() -> None:
    assert shade("average", 5) == COLOURS["average"].lower()
    assert len({shade("max", slot) for slot in range(5)}) == 5
    assert shade("max", 3) == "#eaae80"  # half-way from #d55e00 to white: (213 + 255) / 2, (94 + 255) / 2, 255 / 2
    assert shade("max", 7) == shade("max", 2)
