from typing import Any

import pytest
from conftest import REPOSITORY

from poolstudy.spec.candidates import CandidateNetworks, candidate_layers
from poolstudy.spec.layers import flops
from poolstudy.spec.load import load_config


def candidates(*overrides: str) -> CandidateNetworks:
    return CandidateNetworks.of(load_config("pooling", overrides, REPOSITORY))


def test_networks_that_cost_the_same_are_one_with_copies() -> None:
    found = candidates("space.pool_size=2", "space.filters=[8,[8,16]]", "space.dropout=[0.1,0.2,0.3]")
    # Two widths; each with two poolings and three dropouts.
    assert [network.filters for network in found.networks] == [(8, 8), (8, 16)]
    assert found.copies == 6


def test_of_an_infinite_space_some_networks_are_looked_at_and_both_ends() -> None:
    found = candidates(
        f"space.filters={[{'low': 1, 'high': 4000}] * 2}".replace("'", ""), "space.dropout={low: 0.0, high: 0.5}"
    )
    assert found.copies is None
    assert len(found.networks) <= 500
    ends = {network.filters for network in found.networks}
    assert {(1, 1), (4000, 4000)} <= ends


def test_a_space_of_one_configuration_has_one_network() -> None:
    found = candidates("space.pooling=average", "space.pool_size=2", "space.filters=[8,8]", "space.dropout=0.1")
    assert (len(found.networks), found.copies) == (1, 1)


def test_a_list_is_taken_in_its_order_each_network_once() -> None:
    first = "{pooling: max, pool_size: 2, filters: [64, 64], dropout: 0.4}"
    second = "{pooling: max, pool_size: 2, filters: [8, 8], dropout: 0.4}"
    found = candidates("sampler=list", f"sampler.trials=[{first},{second},{first}]")
    assert [network.filters for network in found.networks] == [(64, 64), (8, 8)]
    assert (found.copies, found.in_order) == (1, True)


@pytest.mark.parametrize(
    ("setting", "dearer"),
    [("training.dense_units=50", False), ("training.dense_units=200", True)],
)
def test_the_layers_are_those_of_the_studys_images(setting: str, dearer: bool) -> None:
    usual: Any = max(map(flops, candidate_layers(load_config("pooling", [], REPOSITORY))))
    # 28 -> 14 -> 7: 49 x 64 values into the dense layer, of 64 filters each; 10 classes.
    assert usual == 2 * (784 * 9 * 64 + 196 * 9 * 64 * 64 + 49 * 64 * 100 + 100 * 10)
    other = max(map(flops, candidate_layers(load_config("pooling", [setting], REPOSITORY))))
    assert (other > usual) == dearer
