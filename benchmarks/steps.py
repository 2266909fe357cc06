"""Time of a training step, and the gain of each measure: python -m benchmarks.steps [--rounds N]

Each variant trains the same networks in a process of its own with one thread. The processes take turns of fifty steps,
so that a busy machine slows all of them alike. The result is the median of the turns, in processor time. The last lines
train in two processes at once and compare with the ceiling: the images a second if all arithmetic ran at the speed of a
float32 matrix product.

Takes about five minutes, and no more than two cores. The images are noise: their content changes no speed.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.ceiling import step_flops
from poolstudy.spec.layers import layers
from poolstudy.spec.space import HyperParameters

BATCH = 32
IMAGES = 50 * BATCH  # of one turn; with fewer, the start of an epoch would weigh on `fit`
NETWORKS: dict[str, dict[str, Any]] = {
    "max 2x2": {"pooling": "max", "pool_size": 2},
    "max 3x3": {"pooling": "max", "pool_size": 3},
    "average 2x2": {"pooling": "average", "pool_size": 2},
    "average 3x3": {"pooling": "average", "pool_size": 3},
}


@dataclass(frozen=True)
class Way:
    """Variant of training: `turn` builds it and returns a function of the epoch that trains on IMAGES images once."""

    name: str
    turn: Callable[[Any, Any], Callable[[int], object]]
    onednn: str = "1"


def _fit(model: Any, data: Any) -> Callable[[int], object]:
    """Train with Keras' `fit`, as most people write it."""
    images, labels = data.train_images.astype(np.float32) / np.float32(255), data.train_labels
    return lambda _: model.fit(images, labels, batch_size=BATCH, verbose=0)


def _ours(model: Any, data: Any, *, keras_adam: bool = False) -> Callable[[int], object]:
    from poolstudy.training.epochs import EpochRunner

    if keras_adam:
        import keras

        class KerasAdam(keras.optimizers.Adam):  # type: ignore[misc]  # keras has no types
            """Subclass that poolstudy does not replace by its fused Adam."""

        model.compile(KerasAdam(0.001), "sparse_categorical_crossentropy")
    return EpochRunner(model, data, batch_size=BATCH, seed=1, whole=False).train


def _keras_adam(model: Any, data: Any) -> Callable[[int], object]:
    return _ours(model, data, keras_adam=True)


OURS = Way("poolstudy", _ours)
WAYS = [
    OURS,
    Way("without oneDNN's kernels", _ours, onednn="0"),
    Way("with Keras' `fit`, oneDNN on", _fit),
    Way("with Keras' `fit`, oneDNN off", _fit, onednn="0"),
    Way("with Keras' Adam", _keras_adam),
]


def _worker(way: Way, network: dict[str, Any], pipe: Connection) -> None:
    """Build the variant, send how long that took, then take a turn on each request."""
    import keras

    from poolstudy.data.loading import SearchData
    from poolstudy.execution.gpu import tensorflow
    from poolstudy.network.build import build_model, weights_of
    from poolstudy.network.weights import weights_digest

    tensorflow.use_device("CPU:0", threads=1)
    keras.utils.set_random_seed(1)
    data = _noise(SearchData)
    began = time.process_time()
    model = build_model(_network(network), (28, 28, 1), 10, 100)
    turn = way.turn(model, data)
    turn(0)
    pipe.send(time.process_time() - began)
    epoch = 0
    while pipe.recv():
        epoch += 1
        began, cpu = time.perf_counter(), time.process_time()
        turn(epoch)
        pipe.send((time.process_time() - cpu, time.perf_counter() - began, weights_digest(weights_of(model))))


def _network(pooling: dict[str, Any]) -> HyperParameters:
    return HyperParameters(filters=(32, 64), dropout=0.4, **pooling)


def _noise(search_data: Any) -> Any:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 28, 28, 1), np.uint8)
    labels = random.integers(0, 10, IMAGES, np.uint8)
    return search_data(images, labels, images[:100], labels[:100], identity=None)


class Trainer:
    """Variant in a process of its own."""

    def __init__(self, way: Way, network: dict[str, Any]) -> None:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = way.onednn
        self.pipe, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self.process = spawn.Process(target=_worker, args=(way, network, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.start_seconds: float = self.pipe.recv()

    def begin(self) -> None:
        self.pipe.send(True)

    def end(self) -> tuple[float, float, str]:
        """Return the turn's processor seconds, its wall seconds, and the digest of the weights after it."""
        taken: tuple[float, float, str] = self.pipe.recv()
        return taken

    def close(self) -> None:
        self.pipe.send(False)
        self.process.join()


def compare(network: dict[str, Any], rounds: int) -> list[tuple[Way, float, float]]:
    """Return each variant with its median milliseconds a step, and the seconds that it takes to start."""
    trainers = [(way, Trainer(way, network)) for way in WAYS]
    turns: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(rounds):
        for way, trainer in trainers:
            trainer.begin()
            turns[way.name].append(trainer.end()[0] / (IMAGES // BATCH) * 1000)
    for _, trainer in trainers:
        trainer.close()
    return [(way, statistics.median(turns[way.name]), trainer.start_seconds) for way, trainer in trainers]


def together(network: dict[str, Any], rounds: int) -> tuple[float, float, float, bool]:
    """Return images a second (one process alone; two at once, by processor and wall time) and if their bits agree."""
    pair = [Trainer(OURS, network) for _ in range(2)]
    cpu, wall, digests = [], [], set[tuple[int, str]]()
    alone = []
    for number in range(rounds):
        for trainer in pair:
            trainer.begin()
        for seconds, clock, digest in [trainer.end() for trainer in pair]:
            cpu.append(seconds)
            wall.append(clock)
            digests.add((number, digest))
    for _ in range(rounds):
        pair[0].begin()
        alone.append(pair[0].end()[0])
    for trainer in pair:
        trainer.close()
    one, two, clock = (IMAGES / statistics.median(times) for times in (alone, cpu, wall))
    return one, two, clock, len(digests) == rounds


def matrix_product(pipe: Connection, rounds: int) -> None:
    """Send the GFLOP/s of a float32 matrix product on one thread."""
    import tensorflow as tf

    from poolstudy.execution.gpu import tensorflow

    tensorflow.use_device("CPU:0", threads=1)
    matrix = tf.constant(np.random.default_rng(0).standard_normal((2048, 2048), np.float32))
    tf.matmul(matrix, matrix)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.process_time() - began)
    pipe.send(2 * 2048**3 / statistics.median(seconds) / 1e9)


def ceiling(rounds: int) -> float:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=matrix_product, args=(theirs, rounds))
    process.start()
    result: float = ours.recv()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="turns of each variant (%(default)s)")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in arguments.networks:
        print(f"\n{name}\n\n| way | ms a step | against poolstudy | start, s |\n|---|---:|---:|---:|")
        rows = compare(NETWORKS[name], arguments.rounds)
        for way, milliseconds, start in rows:
            print(f"| {way.name} | {milliseconds:.2f} | {milliseconds / rows[0][1]:.2f} | {start:.1f} |", flush=True)
    one, two, clock, same = together(NETWORKS["max 2x2"], arguments.rounds)
    gflops = ceiling(arguments.rounds)
    flops = step_flops(layers(_network(NETWORKS["max 2x2"]), (28, 28, 1), 10, 100))
    limit = gflops * 1e9 / flops
    print(f"\nA matrix product: {gflops:.0f} GFLOP/s a thread; an image: {flops / 1e6:.1f} MFLOP.")
    print(f"The ceiling: {limit:,.0f} images/s a thread.")
    print(f"max 2x2, one process alone: {one:,.0f} images/s of processor time, {one / limit:.0%} of the ceiling.")
    print(f"Two at once, each: {two:,.0f} of processor time ({two / limit:.0%}), {clock:,.0f} by the clock.")
    print(f"The two have the same weights, bit for bit, after every turn: {'yes' if same else 'NO'}.")


if __name__ == "__main__":
    main()
