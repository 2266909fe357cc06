"""What NVIDIA's driver says of its cards. Knows nvidia-ml-py alone; where there is no driver there are no cards."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pynvml

from poolstudy.spec.records import Device

NO_DRIVER = "no NVIDIA driver here"
_MEGABYTE = 1e6  # as MLflow counts them


@dataclass(frozen=True)
class Card:
    """A card, as the driver has it.

    Attributes:
        bus: its PCI address, such as "0000:17:00.0": CUDA and the driver count cards differently, this both know.
        uuid: such as "GPU-…"; CUDA_VISIBLE_DEVICES may name it.
        compute_capability: such as "9.0".
        memory, free: bytes; what other processes hold is not free.
        driver: its version.
        cuda: the newest CUDA that the driver has, such as "12.4".
    """

    name: str
    bus: str
    uuid: str
    compute_capability: str
    memory: int
    free: int
    driver: str
    cuda: str


def problem() -> str:
    """Why the driver does not answer; empty where it does."""
    try:
        pynvml.nvmlInit()  # again and again: it counts
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return NO_DRIVER
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver does not answer ({error})"
    pynvml.nvmlShutdown()
    return ""


def cards() -> list[Card]:
    """Every card in the driver's order, whether or not this process may use it; none where it does not answer."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    with contextlib.suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):  # that one is lost
                found.append(_card(pynvml.nvmlDeviceGetHandleByIndex(index)))
    pynvml.nvmlShutdown()
    return found


def card_at(bus: str) -> Card | None:
    """The card at a PCI address, however it is written; None where the driver knows none there."""
    return next((card for card in cards() if bus and card.bus == _address(bus)), None)


class Meter:
    """Load and memory of cards while they work; what a card or driver does not tell is left out."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def read(self, device: Device) -> dict[str, float]:
        """What a GPU does now, under the names that MLflow's own system metrics have; nothing of the CPU."""
        handle = self._handle(device.bus)
        if handle is None:
            return {}
        found = {}
        with contextlib.suppress(pynvml.NVMLError):  # not every card has it
            found["utilization_percentage"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found["memory_usage_megabytes"] = memory.used / _MEGABYTE
            found["memory_usage_percentage"] = round(100 * memory.used / memory.total, 1)
        number = device.name.partition(":")[2]
        return {f"system/gpu_{number}_{what}": value for what, value in found.items()}

    def _handle(self, bus: str) -> Any:
        if bus not in self._handles:
            self._handles[bus] = None
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlInit()  # for as long as this process lives: starting it takes longer than asking it
                self._handles[bus] = pynvml.nvmlDeviceGetHandleByPciBusId(bus) if bus else None
        return self._handles[bus]


def _card(handle: Any) -> Card:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Card(
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        bus=_address(_text(pynvml.nvmlDeviceGetPciInfo(handle).busId)),
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        compute_capability=f"{major}.{minor}",
        memory=int(memory.total),
        free=int(memory.free),
        driver=_text(pynvml.nvmlSystemGetDriverVersion()),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
    )


def _text(said: str | bytes) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _address(bus: str) -> str:
    """A PCI address with a domain of four digits, in small letters: the driver writes eight and large ones."""
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
