"""(e) The ceiling: how fast this machine multiplies float32 matrices on all its cores.

A training step counts as three times its forward pass (`poolstudy.cost.Sizes.flops`), as is usual: the pass itself, the
gradient of the weights, the gradient of the inputs; but the images need no gradient. The ceiling is what a training
would take if all of that ran at the speed of one large matrix product. Prints GFLOP/s.

    python -m benchmarks.ceiling
"""

import os
import time

from poolstudy.spec.space import HyperParameters
from poolstudy.study.cost import Sizes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_SIDE = 2048
_SECONDS = 4.0


def step_flops(network: HyperParameters, sizes: Sizes) -> int:
    """Floating-point operations of one image's training step."""
    side, _, channels = sizes.image_shape
    return 3 * sizes.flops(network) - 2 * 9 * channels * network.filters[0] * side * side


def gflops() -> float:
    """The best of the products that fit in some seconds: the machine's limit is what it does undisturbed."""
    import tensorflow as tf

    a, b = tf.random.normal((_SIDE, _SIDE)), tf.random.normal((_SIDE, _SIDE))
    product = tf.function(tf.linalg.matmul)
    product(a, b)
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        product(a, b).numpy()
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best / 1e9


if __name__ == "__main__":
    print(f"{gflops():.1f}")
