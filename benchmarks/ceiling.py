"""(e) The ceiling: the speed of a float32 matrix product on all cores of this machine.

As usual, a training step counts as three times its forward pass (`poolstudy.spec.layers.flops`): the pass itself, the
gradient of the weights, the gradient of the inputs. The images need no gradient. The ceiling is the time of a training
in which all of this runs at the speed of one large matrix product. Prints GFLOP/s.

    python -m benchmarks.ceiling
"""

import os
import time

from poolstudy.spec.layers import Layer, flops

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_SIDE = 2048
_SECONDS = 4.0


def step_flops(network: tuple[Layer, ...]) -> int:
    """Return the floating-point operations of one image's training step."""
    return 3 * flops(network) - network[0].flops


def gflops() -> float:
    """Return the speed of the fastest of several products, the one least disturbed by other work."""
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
