"""Placements: the device and memory of each worker."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poolstudy.execution.gpu import nvidia
from poolstudy.spec import layers
from poolstudy.spec.candidates import CandidateNetworks, layers_of
from poolstudy.spec.config import ExecutionSection, StudyConfig
from poolstudy.spec.records import DataIdentity, Device

UNMEASURED = 4  # workers of a GPU whose best number `make bench-gpu` has not measured
MOST_WORKERS = 64
MEASURED = "workers_per_gpu.json"  # in mlruns/cache: the best number by the card's name, from `make bench-gpu`
_OVERHEAD = 1.0e9  # bytes: CUDA's context, the libraries' kernels and their workspaces; not measured
_CONTEXT = 0.5e9  # the part of it outside TensorFlow's own limit; not measured either
_MIN_SHARE = 256  # MiB
_USABLE = 0.9  # of a card's free memory
_TRIALS = 20  # Keras leaks little in so many, compared with a process's own memory (docs/gpu.md)
_FLOAT = 4  # bytes
_VALIDATION_BATCH = 500  # images, as training has it; a test holds them alike


@dataclass(frozen=True)
class Placement:
    """Device of a worker and the limit on its GPU memory; None if it has the GPU alone or free memory is unknown."""

    device: Device
    memory_mb: int | None = None

    @property
    def reuse_key(self) -> str:
        """Key of the workers of a study that may take over each other's tasks; empty on the CPU."""
        return f"{self.device.name} at {self.device.bus}, {self.memory_mb}" if self.device.is_gpu else ""


class PlacementPool:
    """Placements of a study: taken in order when workers start, given back when they end, dropped with a lost GPU."""

    def __init__(self, placements: Sequence[Placement]) -> None:
        self._free = list(placements)
        self._taken: list[Placement] = []
        self._devices = list({placement.device.name: placement.device for placement in placements}.values())

    def __bool__(self) -> bool:
        """Return whether a placement is free."""
        return bool(self._free)

    def left(self) -> int:
        """Return the number of placements, free or taken."""
        return len(self._free) + sum(self._updated(placement) is not None for placement in self._taken)

    def take(self) -> Placement:
        placement = self._free.pop(0)
        self._taken.append(placement)
        return placement

    def give_back(self, placement: Placement) -> None:
        """Free the placement of a worker that has ended, unless its GPU is lost."""
        self._taken.remove(placement)
        if updated := self._updated(placement):
            self._free.append(updated)

    def keep(self, gpus: Sequence[Device]) -> list[Device]:
        """Drop the placements of all GPUs but these; return the dropped GPUs.

        A GPU whose number changed because another one was lost is kept under its new number.
        """
        lost = [device for device in self._devices if _among(gpus, device) is None]
        self._devices = [now for device in self._devices if (now := _among(gpus, device))]
        self._free = [updated for placement in self._free if (updated := self._updated(placement))]
        return lost

    def _updated(self, placement: Placement) -> Placement | None:
        """Return the placement with its GPU's present number, or None if the GPU is lost."""
        device = _among(self._devices, placement.device)
        return Placement(device, placement.memory_mb) if device else None


def plan(
    config: StudyConfig, identity: DataIdentity, gpus: Sequence[Device], cores: int, cache: Path
) -> tuple[list[Placement], str]:
    """Return a study's placements on the usable GPUs and a line on the number of workers, empty without GPUs.

    The folder `cache` has the results of `make bench-gpu`.
    """
    if not gpus:
        return placements(config.execution, [], cores, 1, {}), ""
    free = {gpu.name: card.free for gpu in gpus if (card := nvidia.card_at(gpu.bus))}
    least = min(free.values()) if len(free) == len(gpus) else None
    measured = min(best_measured(cache, gpu.description) or 0 for gpu in gpus) or None
    need = memory_need(config, identity)
    workers, why = workers_per_gpu(config.execution, len(gpus), cores, least, need, measured)
    planned = placements(config.execution, gpus, cores, workers, free)
    line = f"{len(planned)} workers, {workers} a GPU ({why})"
    return planned, line if config.execution.workers == "auto" else f"{len(planned)} workers (execution.workers)"


def placements(
    execution: ExecutionSection, gpus: Sequence[Device], cores: int, workers: int, free: Mapping[str, int]
) -> list[Placement]:
    """Return a placement for each worker, evenly on the usable GPUs, or on this machine's cores without any.

    `workers` is the number per GPU; `free` has bytes of free memory by the GPU's name, where known.
    """
    devices = [*gpus] * workers or [Device()] * max(1, cores // execution.threads_per_worker)
    if execution.workers != "auto":
        devices = [devices[index % len(devices)] for index in range(execution.workers)]
    count = Counter(device.name for device in devices)
    return [Placement(device, _share(free.get(device.name), count[device.name])) for device in devices]


def workers_per_gpu(
    execution: ExecutionSection, gpus: int, cores: int, least_free: int | None, need: float, measured: int | None
) -> tuple[int, str]:
    """Return the number of workers per GPU and its reason: the setting, else the lowest of several bounds.

    More workers than cores gain nothing, since each keeps a core busy with starting kernels.

    Args:
        least_free: bytes free on the fullest GPU; None if unknown.
        need: bytes that a worker takes at most, by `memory_need`.
        measured: best number by `make bench-gpu` on such a card, if it was measured.
    """
    if execution.workers_per_gpu != "auto":
        return execution.workers_per_gpu, "execution.workers_per_gpu"
    bounds = [(measured, "as measured by make bench-gpu") if measured else (UNMEASURED, "not measured on this card")]
    bounds.append((max(1, cores // gpus), f"{cores} cores"))
    if least_free is not None:
        bounds.append((max(1, int(_USABLE * least_free / need)), f"{least_free / 1e9:.1f} GB free"))
    return min(bounds, key=lambda bound: bound[0])


def trials_per_process(execution: ExecutionSection) -> int:
    """Return how many trials a worker on a GPU trains before it ends."""
    return _TRIALS if execution.trials_per_process == "auto" else execution.trials_per_process


def memory_need(config: StudyConfig, identity: DataIdentity) -> float:
    """Return the most bytes of a GPU's memory that a trial of a study takes: a bound by reasoning, not measured.

    Twice what its arrays take, since TensorFlow's allocator grows by doubling, plus a gigabyte for CUDA's context,
    libraries and workspaces. The arrays: the images, once as bytes; weights, their gradients and Adam's two moments;
    what every layer gives out for a batch, and its gradient, or for a batch of validation without one.
    """
    images = math.prod(identity.image_shape) * (identity.train_images + identity.validation_images)
    arrays = 0
    for network in CandidateNetworks.of(config).networks:
        table = [layer for layer in layers_of(config, network) if layer.kind not in ("flatten", "dropout")]
        weights, outputs = layers.parameters(tuple(table)), sum(math.prod(layer.output_shape) for layer in table)
        arrays = max(arrays, 4 * weights + outputs * max(2 * network.batch_size, _VALIDATION_BATCH))
    return 2 * (images + _FLOAT * arrays) + _OVERHEAD


def best_measured(cache: Path, card: str) -> int | None:
    """Return the best number of workers on such a card, or None if it was not measured."""
    try:
        number = json.loads((cache / MEASURED).read_text())[card]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and 1 <= number <= MOST_WORKERS else None


def _share(free: int | None, workers: int) -> int | None:
    if free is None or workers < 2:
        return None
    return max(_MIN_SHARE, math.floor((_USABLE * free / workers - _CONTEXT) / 2**20))


def _among(devices: Sequence[Device], wanted: Device) -> Device | None:
    return next((device for device in devices if device.same_card(wanted)), None)
