"""What a study will take: arithmetic over networks and what was measured of them. No clock, no process, no file."""

from poolstudy.space import HyperParameters


def forward_flops(
    hyperparameters: HyperParameters, image_shape: tuple[int, int, int], classes: int, dense_units: int
) -> int:
    """Floating-point operations of one image's forward pass, a multiplication and an addition counted as two.

    Convolutions and dense layers only: a same-padded 3x3 convolution is a product of 9 x channels by filters at each
    pixel, a pooling divides the sides, rounding down. Biases, activations and poolings are left out, as is usual.
    """
    side, _, channels = image_shape
    total = 0
    for filters in hyperparameters.filters:
        total += 2 * 9 * channels * filters * side * side
        side, channels = side // hyperparameters.pool_size, filters
    return total + 2 * side * side * channels * dense_units + 2 * dense_units * classes
