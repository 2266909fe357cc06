import json

import pytest
from pydantic import ValidationError

from poolstudy.spec.dimensions import IntRange, Value
from poolstudy.spec.space import HyperParameters, SearchSpace

POOLING = {
    "pooling": ["average", "max"],
    "pool_size": [2, 3],
    "filters": [{"low": 16, "high": 64, "step": 16}, {"low": 16, "high": 64, "step": 16}],
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
}

LATER = {"kernel_size": 3, "batch_normalization": False}


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
    assert made.flat() == {**flat, "learning_rate": 0.001, "batch_size": 32, **LATER}


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


def test_a_range_counts_its_ends_in() -> None:
    assert list(IntRange(low=16, high=64, step=16).values()) == [16, 32, 48, 64]
    assert list(IntRange(low=16, high=63, step=16).values()) == [16, 32, 48]


def test_what_a_later_version_adds_is_written_only_where_it_differs() -> None:
    """So that the digests of everything that was possible before stay as they were."""

    class Later(HyperParameters):
        stride: int = 1

    plain = {"pooling": "max", "pool_size": 2, "filters": (32,), "dropout": 0.5}
    now = HyperParameters.model_validate(plain).model_dump_json()
    assert Later.model_validate(plain).model_dump_json() == now
    assert Later.model_validate(plain | {"stride": 1}).model_dump(mode="json") == json.loads(now)
    assert Later.model_validate(plain | {"stride": 2}).model_dump(mode="json") == {**json.loads(now), "stride": 2}
    assert Later.model_validate_json(now).stride == 1


def test_numbers_are_no_truth_values_and_the_other_way_about() -> None:
    for change in ({"pool_size": True}, {"dropout": [False, 0.5]}, {"filters": [[True]]}):
        with pytest.raises(ValidationError, match="takes no true or false"):
            SearchSpace.model_validate(POOLING | change)


def test_a_space_is_spanned_by_networks() -> None:
    first = HyperParameters(pooling="max", pool_size=2, filters=(8, 16), dropout=0.1)
    space = SearchSpace.spanned([first, first.model_copy(update={"pooling": "average", "filters": (8, 32)})])
    assert space.pooling.choices == ("max", "average")
    assert [one.values() for one in space.filters] == [(8,), (16, 32)]
    assert space.size() == 2 * 2
    assert space.hyperparameters(space.project(first)) == first


def test_the_kernel_is_sampled_where_the_space_gives_it() -> None:
    space = SearchSpace.model_validate(POOLING | {"kernel_size": {"low": 1, "high": 5, "step": 2}})
    assert space.size() == 448 * 3
    assert list(space.dimensions()) == ["pooling", "pool_size", "filters_1", "filters_2", "dropout", "kernel_size"]
    flat: dict[str, Value] = {"pooling": "max", "pool_size": 2, "filters_1": 32, "filters_2": 64, "dropout": 0.4}
    made = space.hyperparameters(flat | {"kernel_size": 5})
    assert made.title() == "max 2x2 · 32-64 filters · dropout 0.4 · kernel size 5"
    assert space.project(made) == flat | {"kernel_size": 5}


def test_batch_normalization_is_true_or_false_and_no_number() -> None:
    space = SearchSpace.model_validate(POOLING | {"batch_normalization": [True, False]})
    assert [type(value) for value in space.dimensions()["batch_normalization"].values()] == [bool, bool]
    assert SearchSpace.model_validate_json(space.model_dump_json()) == space
    flat: dict[str, Value] = {"pooling": "max", "pool_size": 2, "filters_1": 32, "filters_2": 64, "dropout": 0.4}
    made = space.hyperparameters(flat | {"batch_normalization": True})
    assert made.title() == "max 2x2 · 32-64 filters · dropout 0.4 · batch normalization"
    assert made != space.hyperparameters(flat | {"batch_normalization": False})
