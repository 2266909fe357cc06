import pytest
from pydantic import ValidationError

from poolstudy.spec.space import HyperParameters, IntRange, SearchSpace, Value, check_geometry

POOLING = {
    "pooling": ["average", "max"],
    "pool_size": [2, 3],
    "filters": [{"low": 16, "high": 64, "step": 16}, {"low": 16, "high": 64, "step": 16}],
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
}


def test_the_default_space_has_two_times_two_times_four_times_four_times_seven_configurations() -> None:
    space = SearchSpace.model_validate(POOLING)
    assert space.size() == 2 * 2 * 4 * 4 * 7
    every = [tuple(flat.items()) for flat in space.every()]
    assert len(set(every)) == len(every) == 448


def test_steps_are_written_as_a_person_would() -> None:
    space = SearchSpace.model_validate(POOLING)
    assert list(space.dropout.values()) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_a_range_without_steps_has_no_size() -> None:
    assert SearchSpace.model_validate(POOLING | {"dropout": {"low": 0.0, "high": 0.5}}).size() is None


def test_flat_values_and_hyperparameters_are_inverse() -> None:
    space = SearchSpace.model_validate(POOLING)
    flat: dict[str, Value] = {"pooling": "max", "pool_size": 2, "filters_1": 32, "filters_2": 64, "dropout": 0.4}
    made = space.hyperparameters(flat, learning_rate=0.001, batch_size=32)
    assert made == HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)
    assert space.project(made) == flat
    assert made.flat() == {**flat, "learning_rate": 0.001, "batch_size": 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout": 1.0}, r"dropout = 1\.0"),
        ({"dropout": -0.1}, r"dropout = -0\.1"),
        ({"dropout": {"low": 0.0, "high": 1.0}}, r"dropout = 1\.0"),
        ({"filters": []}, "at least 1 item"),
        ({"filters": 32}, "one entry per convolution"),
        ({"filters": [0]}, "filters_1 = 0"),
        ({"pool_size": 1}, "pool_size = 1"),
        ({"pooling": ["avg"]}, "pooling = 'avg'"),
        ({"pooling": ["max", "max"]}, "stands twice"),
        ({"pool_size": {"low": 3, "high": 2}}, "low 3 lies above high 2"),
        ({"kernel": 3}, "Extra inputs"),
    ],
)
def test_a_space_with_an_impossible_value_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchSpace.model_validate(POOLING | change)


def test_hyperparameters_cannot_change() -> None:
    made = HyperParameters(pooling="max", pool_size=2, filters=(32,), dropout=0)
    with pytest.raises(ValidationError, match="frozen"):
        made.dropout = 0.5


@pytest.mark.parametrize(
    ("side", "pool_size", "convolutions"),
    [(28, 2, 4), (28, 3, 3), (28, 28, 1), (8, 2, 3), (9, 3, 2)],  # 28>14>7>3>1; 28>9>3>1; 28>1; 8>4>2>1; 9>3>1
)
def test_a_geometry_that_leaves_a_pixel_passes(side: int, pool_size: int, convolutions: int) -> None:
    check_geometry(side, pool_size, convolutions)


@pytest.mark.parametrize(
    ("side", "pool_size", "convolutions", "message"),
    [
        (28, 9, 2, "pool_2 would pool 9x9 of 3x3"),  # 28 // 9 = 3
        (28, 2, 5, "pool_5 would pool 2x2 of 1x1"),
        (8, 9, 1, "pool_1 would pool 9x9 of 8x8"),
    ],
)
def test_a_geometry_that_leaves_none_is_named(side: int, pool_size: int, convolutions: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_geometry(side, pool_size, convolutions)


def test_a_range_counts_its_ends_in() -> None:
    assert list(IntRange(low=16, high=64, step=16).values()) == [16, 32, 48, 64]
    assert list(IntRange(low=16, high=63, step=16).values()) == [16, 32, 48]
