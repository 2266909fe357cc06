"""Places: what each worker that there may be at once trains on."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolstudy.execution.gpu import nvidia
from poolstudy.spec.config import ExecutionSection, StudyConfig
from poolstudy.spec.records import DataIdentity, Device
from poolstudy.spec.space import Dimension, extremes
from poolstudy.system.files import replacing

UNMEASURED = 4
"""Workers of a GPU where nobody measured how many are best: `make bench-gpu` does."""
MOST_WORKERS = 64
_OVERHEAD = 1.0e9  # bytes: CUDA's context, the libraries' kernels and their workspaces; not measured
_CONTEXT = 0.5e9  # of that, what TensorFlow's own limit does not count; not measured either
_LEAST_SHARE = 256  # megabytes of 2**20 bytes
_SPARE = 0.9  # of a card's free memory is shared out
_TRIALS = 20  # what Keras leaks in so many is little beside what a process takes anyway (docs/gpu.md)
_VALIDATION_BATCH = 500  # images, as training has it; a test holds them alike


@dataclass(frozen=True)
class Placement:
    """Room for one worker.

    Attributes:
        memory_mb: the most that it may take of its GPU's memory, so that it cannot starve the others there; None
            where it is alone, or the driver does not tell how much is free.
    """

    device: Device
    memory_mb: int | None = None

    @property
    def reuse_key(self) -> str:
        """Workers of one lane can stand in for each other, in one study; on the CPU a worker trains once."""
        return f"{self.device.name} at {self.device.bus}, {self.memory_mb}" if self.device.is_gpu else ""


class PlacementPool:
    """The places of a study: taken when a worker starts, given back when it ends, closed when their GPU has gone.

    Args:
        places: all of them, in the order in which they are taken.
    """

    def __init__(self, placements: Sequence[Placement]) -> None:
        self._free = list(placements)
        self._taken: list[Placement] = []
        self._devices = list({placement.device.name: placement.device for placement in placements}.values())

    def __bool__(self) -> bool:
        """Whether one is free."""
        return bool(self._free)

    def left(self) -> int:
        """How many there are, free or taken."""
        return len(self._free) + sum(self._today(placement) is not None for placement in self._taken)

    def take(self) -> Placement:
        placement = self._free.pop(0)
        self._taken.append(placement)
        return placement

    def give_back(self, placement: Placement) -> None:
        """The worker has ended: its place is free, unless its GPU has gone meanwhile."""
        self._taken.remove(placement)
        if today := self._today(placement):
            self._free.append(today)

    def keep(self, gpus: Sequence[Device]) -> list[Device]:
        """Closes the places of all GPUs but these; returns the GPUs whose places were closed.

        A GPU that has another number since a card was lost is still itself: who starts there is told the new number.
        """
        gone = [device for device in self._devices if _among(gpus, device) is None]
        self._devices = [now for device in self._devices if (now := _among(gpus, device))]
        self._free = [today for placement in self._free if (today := self._today(placement))]
        return gone

    def _today(self, placement: Placement) -> Placement | None:
        device = _among(self._devices, placement.device)
        return Placement(device, placement.memory_mb) if device else None


def plan(
    config: StudyConfig, identity: DataIdentity, gpus: Sequence[Device], cores: int, cache: Path
) -> tuple[list[Placement], str]:
    """A study's places on what there is, and a line about how many workers a GPU has, and why; empty without one.

    Args:
        gpus: that can be used.
        cores: of the machine.
        cache: the folder in which `make bench-gpu` leaves what it measured.
    """
    if not gpus:
        return placements(config.execution, [], cores, 1, {}), ""
    free = {gpu.name: card.free for gpu in gpus if (card := nvidia.card_at(gpu.bus))}
    least = min(free.values()) if len(free) == len(gpus) else None
    measured = [best_measured(cache, gpu.description) for gpu in gpus]
    known = min(number for number in measured if number) if all(measured) else None
    need = memory_need(config, identity)
    workers, why = workers_per_gpu(config.execution, len(gpus), cores, least, need, known)
    found = placements(config.execution, gpus, cores, workers, free)
    line = f"{len(found)} workers, {workers} a GPU ({why})"
    return found, line if config.execution.workers == "auto" else f"{len(found)} workers (execution.workers)"


def placements(
    execution: ExecutionSection, gpus: Sequence[Device], cores: int, workers: int, free: Mapping[str, int]
) -> list[Placement]:
    """A place for each worker that there may be at once; GPUs are filled evenly.

    Args:
        gpus: that can be used; without one the places are this machine's cores.
        workers: of each GPU.
        free: bytes of memory, by the GPU's name, where they are known.
    """
    if gpus:
        devices = [gpu for _ in range(workers) for gpu in gpus]
    else:
        devices = [Device()] * max(1, cores // execution.threads_per_worker)
    if execution.workers != "auto":
        devices = [devices[index % len(devices)] for index in range(execution.workers)]
    count = Counter(device.name for device in devices)
    return [Placement(device, _share(free.get(device.name), count[device.name])) for device in devices]


def workers_per_gpu(
    execution: ExecutionSection, gpus: int, cores: int, least_free: int | None, need: float, measured: int | None
) -> tuple[int, str]:
    """How many workers each GPU gets, and why: what was asked for, else what measured gain, memory and cores allow.

    Every worker keeps a core busy with starting kernels, so more workers than cores gain nothing.

    Args:
        gpus: how many.
        cores: of the machine.
        least_free: bytes of memory free on the GPU that has least; None where the driver does not tell.
        need: bytes that a worker takes at most, by `memory_need`.
        measured: the best number, where `make bench-gpu` measured it on such a card.
    """
    if execution.workers_per_gpu != "auto":
        return execution.workers_per_gpu, "execution.workers_per_gpu"
    bounds = [(measured, "as measured by make bench-gpu") if measured else (UNMEASURED, "not measured on this card")]
    bounds.append((max(1, cores // gpus), f"{cores} cores"))
    if least_free is not None:
        bounds.append((max(1, int(_SPARE * least_free / need)), f"{least_free / 1e9:.1f} GB free"))
    return min([*bounds, (MOST_WORKERS, "the most")], key=lambda bound: bound[0])


def trials_per_process(execution: ExecutionSection) -> int:
    """How many trials a worker on a GPU trains one after the other."""
    return _TRIALS if execution.trials_per_process == "auto" else execution.trials_per_process


def memory_need(config: StudyConfig, identity: DataIdentity) -> float:
    """Bytes of a GPU's memory that any trial of a study takes at most: a bound by reasoning, not a measurement.

    Twice what its arrays take, since TensorFlow's allocator grows by doubling, plus a gigabyte for CUDA's context,
    libraries and workspaces. The arrays: the images, once as bytes; weights, their gradients and Adam's two moments;
    what every layer gives out for a batch, and its gradient, or for a batch of validation without one.
    """
    space = config.space
    rows, columns, channels = identity.image_shape
    pool = _least(space.pool_size)
    batch = _most(space.batch_size) if space.batch_size else config.training.batch_size
    images = rows * columns * channels * (identity.train_images + identity.validation_images)
    outputs, weights, before = 0, 0, channels
    for dimension in space.filters:
        filters = _most(dimension)
        outputs += rows * columns * filters
        weights += 9 * before * filters + filters
        rows, columns, before = rows // pool, columns // pool, filters
        outputs += rows * columns * filters
    weights += (rows * columns * before + 1 + len(identity.class_names)) * config.training.dense_units
    outputs += config.training.dense_units
    return 2 * (images + 4 * (4 * weights + outputs * max(2 * batch, _VALIDATION_BATCH))) + _OVERHEAD


_MEASURED = "workers_per_gpu.json"


def best_measured(cache: Path, card: str) -> int | None:
    """The number of workers that was best on such a card; None where nobody measured it."""
    try:
        number = json.loads((cache / _MEASURED).read_text())[card]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and 1 <= number <= MOST_WORKERS else None


def note_measured(cache: Path, card: str, workers: int) -> None:
    """Keeps the number of workers that was best on such a card, for studies to come."""
    file = cache / _MEASURED
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    with replacing(file) as new:
        new.write_text(json.dumps({**known, card: workers}, indent=2) + "\n")


def best_sharing(rates: Mapping[int, float]) -> int:
    """Of the trials an hour by workers at once: the fewest workers that come within a twentieth of the most trials."""
    return min(workers for workers, rate in rates.items() if rate >= 0.95 * max(rates.values()))


def _share(free: int | None, workers: int) -> int | None:
    if free is None or workers < 2:
        return None
    return max(_LEAST_SHARE, math.floor((_SPARE * free / workers - _CONTEXT) / 2**20))


def _among(devices: Sequence[Device], wanted: Device) -> Device | None:
    return next((device for device in devices if device.same_card(wanted)), None)


def _most(dimension: Dimension) -> int:
    return max(int(value) for value in extremes(dimension))


def _least(dimension: Dimension) -> int:
    return min(int(value) for value in extremes(dimension))
