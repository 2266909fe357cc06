import pytest

from poolstudy.spec.layers import flops, layers, parameters
from poolstudy.spec.space import HyperParameters

AVERAGE = HyperParameters(pooling="average", pool_size=3, filters=(32, 32), dropout=0.4)
MAX = HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)


def test_the_layers_of_the_notebooks_network_by_hand() -> None:
    table = layers(MAX, (28, 28, 1), 10, 100)
    assert [(layer.name, layer.kind, layer.output_shape, layer.parameters) for layer in table] == [
        ("conv_1", "convolution", (28, 28, 32), 3 * 3 * 1 * 32 + 32),
        ("pool_1", "max_pooling", (14, 14, 32), 0),
        ("conv_2", "convolution", (14, 14, 64), 3 * 3 * 32 * 64 + 64),
        ("pool_2", "max_pooling", (7, 7, 64), 0),
        ("flatten", "flatten", (3136,), 0),
        ("dense_1", "dense", (100,), 3136 * 100 + 100),
        ("dropout", "dropout", (100,), 0),
        ("dense_2", "dense", (10,), 100 * 10 + 10),
    ]
    assert [layer.maps for layer in table if layer.maps] == ["conv_1", "pool_1", "conv_2", "pool_2"]


@pytest.mark.parametrize(("network", "count"), [(AVERAGE, 39_478), (MAX, 333_526)])
def test_the_notebooks_networks_have_its_parameter_counts(network: HyperParameters, count: int) -> None:
    assert parameters(layers(network, (28, 28, 1), 10, 100)) == count


def test_the_operations_of_the_notebooks_networks_by_hand() -> None:
    # 28x28 pixels of 9 x 1 by 32, 14x14 of 9 x 32 by 64, 7 x 7 x 64 by 100, 100 by 10; two operations each.
    assert flops(layers(MAX, (28, 28, 1), 10, 100)) == 451_584 + 7_225_344 + 627_200 + 2_000
    # 28 -> 9 -> 3, rounded down: 9x9 pixels in the second convolution, 3 x 3 x 32 values into the dense layer.
    assert flops(layers(AVERAGE, (28, 28, 1), 10, 100)) == 451_584 + 1_492_992 + 57_600 + 2_000


def test_batch_normalization_stands_between_convolution_and_relu() -> None:
    table = layers(MAX.model_copy(update={"batch_normalization": True}), (28, 28, 1), 10, 100)
    assert [(layer.name, layer.kind, layer.activation, layer.parameters, layer.maps) for layer in table[:4]] == [
        ("conv_1", "convolution", None, 320, ""),
        ("batch_norm_1", "batch_normalization", None, 4 * 32, ""),  # two that are trained, two moving statistics
        ("relu_1", "activation", "relu", 0, "conv_1"),
        ("pool_1", "max_pooling", None, 0, "pool_1"),
    ]
    usual = layers(MAX, (28, 28, 1), 10, 100)
    assert parameters(table) == parameters(usual) + 4 * 32 + 4 * 64
    assert flops(table) == flops(usual)
    assert [layer.maps for layer in table if layer.maps] == [layer.maps for layer in usual if layer.maps]


def test_the_dense_units_are_the_networks_own_where_it_has_some() -> None:
    own = MAX.model_copy(update={"dense_units": 7})
    assert [layer.output_shape for layer in layers(own, (28, 28, 1), 10, 100)][5:] == [(7,), (7,), (10,)]
    assert own.flat()["dense_units"] == 7
    assert own.title().endswith("dropout 0.4 · dense units 7")
    assert "dense_units" not in MAX.flat()


def test_the_kernel_changes_weights_and_operations_and_no_shape() -> None:
    table = layers(MAX.model_copy(update={"kernel_size": 5}), (28, 28, 1), 10, 100)
    usual = layers(MAX, (28, 28, 1), 10, 100)
    assert [layer.output_shape for layer in table] == [layer.output_shape for layer in usual]
    assert table[0].weights == {"kernel": (5, 5, 1, 32), "bias": (32,)}
    assert table[2].parameters == 5 * 5 * 32 * 64 + 64
    # 28x28 pixels of 25 x 1 by 32, 14x14 of 25 x 32 by 64, and the dense layers as before; two operations each.
    assert flops(table) == 1_254_400 + 20_070_400 + 627_200 + 2_000


def test_a_kernel_that_is_larger_than_the_image_is_refused() -> None:
    layers(MAX.model_copy(update={"kernel_size": 7, "pool_size": 2}), (8, 7, 1), 10, 4)
    with pytest.raises(ValueError, match="kernel_size 9 is larger than the image, 9x8 pixels"):
        layers(MAX.model_copy(update={"kernel_size": 9}), (9, 8, 1), 10, 4)


def test_sides_need_not_be_equal() -> None:
    # 40x24 -> 20x12 -> 10x6
    table = {layer.name: layer for layer in layers(MAX, (40, 24, 3), 3, 50)}
    assert table["pool_2"].output_shape == (10, 6, 64)
    assert table["conv_1"].weights == {"kernel": (3, 3, 3, 32), "bias": (32,)}
    assert table["flatten"].output_shape == (3840,)


def network(pool_size: int, convolutions: int) -> HyperParameters:
    return HyperParameters(pooling="max", pool_size=pool_size, filters=(1,) * convolutions, dropout=0)


@pytest.mark.parametrize(
    ("side", "pool_size", "convolutions"),
    [(28, 2, 4), (28, 3, 3), (28, 28, 1), (8, 2, 3), (9, 3, 2)],  # 28>14>7>3>1; 28>9>3>1; 28>1; 8>4>2>1; 9>3>1
)
def test_a_geometry_that_leaves_a_pixel_passes(side: int, pool_size: int, convolutions: int) -> None:
    layers(network(pool_size, convolutions), (side, side, 1), 10, 4)


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
        layers(network(pool_size, convolutions), (side, side, 1), 10, 4)
