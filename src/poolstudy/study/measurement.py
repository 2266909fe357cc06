"""A short training before a study starts, which shows what its networks take. Runs in a worker process."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.spec.records import EpochRecord, TrialSpec
from poolstudy.study.forecast import Timing

if TYPE_CHECKING:
    from poolstudy.data.loading import SearchData

_STEPS = 24  # of each of two epochs


@dataclass(frozen=True)
class Measured:
    """What short training showed.

    Attributes:
        timings: seconds an epoch on all images.
        start: seconds that a trial takes beside its epochs and its pictures.
        worker: bytes that a worker process has to itself.
        server: bytes of the server that workers are forked from.
    """

    timings: tuple[Timing, ...]
    start: float
    worker: int
    server: int


def measure_networks(specs: Sequence[TrialSpec], folder: Path, device: str, threads: int) -> Measured:
    """Train each network for two short epochs.

    Args:
        folder: of the saved `SearchData`; a share of it is used.
    """
    import psutil

    from poolstudy.data.loading import SearchData
    from poolstudy.execution.gpu import tensorflow

    tensorflow.use_device(device, threads)
    data = SearchData.open(folder)
    timings, starts = [], []
    for spec in specs:
        some = data.first(_STEPS * spec.hyperparameters.batch_size)
        first, second = _two_epochs(spec, some)
        timings.append(Timing(spec.hyperparameters, second * len(data.train_labels) / len(some.train_labels)))
        starts.append(max(0.0, first - second))
    process = psutil.Process()
    server = process.parent()
    return Measured(
        timings=tuple(timings),
        start=max(starts),
        worker=process.memory_full_info().uss + data.train_images.nbytes + data.validation_images.nbytes,
        server=server.memory_info().rss if server else 0,
    )


class _Enough(Exception):
    """Two epochs were trained: what follows the last one need not be measured."""


def _two_epochs(spec: TrialSpec, data: "SearchData") -> list[float]:
    from poolstudy.training.train import train

    seconds: list[float] = []

    def on_epoch(record: EpochRecord) -> bool:
        seconds.append(record.seconds)
        if len(seconds) == 2:
            raise _Enough
        return False

    with contextlib.suppress(_Enough):
        train(spec, data, on_epoch)
    return seconds
