"""A short training before a study starts: what its networks will take. Runs in a worker process."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.spec.records import EpochRecord, TrialSpec
from poolstudy.study.cost import Timing
from poolstudy.study.forecast import Measured

if TYPE_CHECKING:
    from poolstudy.data.loading import SearchData

_MEASURED_STEPS = 24  # of each of two epochs


def measure_networks(specs: Sequence[TrialSpec], folder: Path, device: str, threads: int) -> Measured:
    """Trains each network for two short epochs, which tells what a study will take; to be run in a process of its own.

    Args:
        folder: of the saved `SearchData`; a share of it is enough.
    """
    import psutil

    from poolstudy.data.loading import SearchData
    from poolstudy.execution.gpu import tensorflow

    tensorflow.use_device(device, threads)
    data = SearchData.open(folder)
    timings, starts = [], []
    for spec in specs:
        some = data.first(_MEASURED_STEPS * spec.hyperparameters.batch_size)
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
    from poolstudy.training import train

    seconds: list[float] = []

    def on_epoch(record: EpochRecord) -> bool:
        seconds.append(record.seconds)
        if len(seconds) == 2:
            raise _Enough
        return False

    with contextlib.suppress(_Enough):
        train.train(spec, data, on_epoch)
    return seconds
