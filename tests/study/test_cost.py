from typing import Any

import pytest

from poolstudy.network.build import build_model
from poolstudy.spec.space import HyperParameters, SearchSpace
from poolstudy.study.cost import CandidateNetworks, Sizes, Speed, Timing

SIZES = Sizes((28, 28, 1), classes=10, dense_units=100)
FIXED: dict[str, Any] = {"learning_rate": 0.001, "batch_size": 32}


def network(pool_size: int, *filters: int, pooling: str = "max") -> HyperParameters:
    given = {"pooling": pooling, "pool_size": pool_size, "filters": filters, "dropout": 0.4}
    return HyperParameters.model_validate(given)


def test_the_operations_of_the_notebooks_networks_by_hand() -> None:
    # 28x28 pixels of 9 x 1 by 32, 14x14 of 9 x 32 by 64, 7 x 7 x 64 by 100, 100 by 10; two operations each.
    assert SIZES.flops(network(2, 32, 64)) == 451_584 + 7_225_344 + 627_200 + 2_000
    # 28 -> 9 -> 3, rounded down: 9x9 pixels in the second convolution, 3 x 3 x 32 values into the dense layer.
    assert SIZES.flops(network(3, 32, 32)) == 451_584 + 1_492_992 + 57_600 + 2_000


@pytest.mark.parametrize("one", [network(3, 32, 32, pooling="average"), network(2, 32, 64), network(2, 8, 4, 6)])
def test_the_parameters_are_those_that_keras_counts(one: HyperParameters) -> None:
    assert SIZES.parameters(one) == build_model(one, (28, 28, 1), 10, 100).count_params()


def test_two_timings_give_the_line_through_them() -> None:
    small, large = network(2, 16, 16), network(2, 64, 64)
    per_flop, fixed = 2e-6, 3.0
    timings = [Timing(one, fixed + per_flop * SIZES.flops(one)) for one in (small, large)]
    speed = Speed.fitted(timings, SIZES)
    assert speed.fixed == pytest.approx(fixed)
    assert speed.per_flop == pytest.approx(per_flop)
    between = network(2, 32, 64)
    assert speed.epoch(between) == pytest.approx(fixed + per_flop * 8_306_128)


def test_one_network_costs_what_it_took_on_average() -> None:
    one = network(2, 16, 16)
    # Least relative squares of 2 and 6: (1/2 + 1/6) / (1/4 + 1/36) = 2.4.
    assert Speed.fitted([Timing(one, 2), Timing(one, 6)], SIZES).epoch(one) == pytest.approx(2.4)


def test_a_line_never_goes_below_zero() -> None:
    small, large = network(3, 16, 16), network(2, 64, 64)
    steep = Speed.fitted([Timing(small, 0.001), Timing(large, 50)], SIZES)  # a line through both starts below zero
    assert steep.fixed == 0
    falling = Speed.fitted([Timing(small, 9), Timing(large, 3)], SIZES)
    assert falling.per_flop == 0


def test_nothing_measured_is_no_line() -> None:
    with pytest.raises(ValueError, match="no timing"):
        Speed.fitted([], SIZES)


def space(**given: Any) -> SearchSpace:
    return SearchSpace.model_validate({"pool_size": 2, "filters": [8, [8, 16]], "dropout": [0.1, 0.2, 0.3]} | given)


def test_networks_that_cost_the_same_are_one_kind_with_copies() -> None:
    offer = CandidateNetworks.of(space(), FIXED)
    # Two widths; each with two poolings and three dropouts.
    assert [one.filters for one in offer.networks] == [(8, 8), (8, 16)]
    assert offer.copies == 6
    assert [one.filters for one in offer.extremes(SIZES)] == [(8, 8), (8, 16)]


def test_of_a_space_without_end_some_networks_are_looked_at_and_both_ends() -> None:
    offer = CandidateNetworks.of(
        space(filters=[{"low": 1, "high": 4000}] * 3, dropout={"low": 0.0, "high": 0.5}), FIXED
    )
    assert offer.copies is None
    assert len(offer.networks) <= 2000
    assert [one.filters for one in offer.extremes(SIZES)] == [(1, 1, 1), (4000, 4000, 4000)]


def test_a_space_of_one_configuration_has_one_network() -> None:
    offer = CandidateNetworks.of(space(pooling="average", filters=[8, 8], dropout=0.1), FIXED)
    assert (len(offer.networks), offer.copies) == (1, 1)
    assert offer.extremes(SIZES) == list(offer.networks)


def test_a_list_is_taken_in_its_order_each_network_once() -> None:
    first, second = network(2, 64, 64), network(2, 8, 8)
    offer = CandidateNetworks.listed([first, second, first])
    assert (offer.networks, offer.copies, offer.in_order) == ((first, second), 1, True)
