from poolstudy.estimate import forward_flops
from poolstudy.space import HyperParameters

FASHION = (28, 28, 1)


def test_the_operations_of_the_notebooks_max_pooling_network_by_hand() -> None:
    network = HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)
    # 28x28 pixels of 9 x 1 by 32, 14x14 of 9 x 32 by 64, 7 x 7 x 64 by 100, 100 by 10; two operations each.
    assert forward_flops(network, FASHION, 10, 100) == 451_584 + 7_225_344 + 627_200 + 2_000


def test_sides_that_do_not_divide_round_down() -> None:
    network = HyperParameters(pooling="average", pool_size=3, filters=(32, 32), dropout=0.4)
    # 28 -> 9 -> 3: 9x9 pixels in the second convolution, 3 x 3 x 32 values into the dense layer.
    assert forward_flops(network, FASHION, 10, 100) == 451_584 + 2 * 81 * 9 * 32 * 32 + 2 * 288 * 100 + 2_000
