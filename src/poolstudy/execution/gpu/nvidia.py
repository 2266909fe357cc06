"""Cards that NVIDIA's driver reports through nvidia-ml-py; none without a driver."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pynvml

from poolstudy.spec.records import Device

NO_DRIVER = "no NVIDIA driver here"
_MEGABYTE = 1e6  # as MLflow counts them


@dataclass(frozen=True)
class Card:
    """Card as the driver reports it.

    Attributes:
        bus: PCI address, such as "0000:17:00.0"; CUDA and the driver agree on it, but not on the order of cards.
        uuid: such as "GPU-…"; CUDA_VISIBLE_DEVICES may contain it.
        memory, free: bytes in all, and not held by any process.
        cuda: newest version that the driver supports, such as "12.4".
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
    """Return why the driver does not answer, or "" if it does."""
    try:
        pynvml.nvmlInit()  # counted by the library, so repeated calls are fine
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return NO_DRIVER
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver does not answer ({error})"
    pynvml.nvmlShutdown()
    return ""


def cards() -> list[Card]:
    """Return all cards in the driver's order, also those hidden from this process; [] if it does not answer."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    listed = []
    with contextlib.suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):  # this card is lost
                listed.append(_card(pynvml.nvmlDeviceGetHandleByIndex(index)))
    pynvml.nvmlShutdown()
    return listed


def card_at(bus: str) -> Card | None:
    """Return the card at a PCI address in either notation, or None."""
    return next((card for card in cards() if bus and card.bus == _address(bus)), None)


class Meter:
    """Reader of cards' load and memory; values that a card or driver does not report are left out."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def read(self, device: Device) -> dict[str, float]:
        """Return the GPU's present values under the names of MLflow's system metrics; {} for the CPU."""
        handle = self._handle(device.bus)
        if handle is None:
            return {}
        values = {}
        with contextlib.suppress(pynvml.NVMLError):  # not every card has it
            values["utilization_percentage"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            values["memory_usage_megabytes"] = memory.used / _MEGABYTE
            values["memory_usage_percentage"] = round(100 * memory.used / memory.total, 1)
        number = device.name.partition(":")[2]
        return {f"system/gpu_{number}_{name}": value for name, value in values.items()}

    def _handle(self, bus: str) -> Any:
        if bus not in self._handles:
            self._handles[bus] = None
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlInit()  # kept open: this takes longer than a reading
                self._handles[bus] = pynvml.nvmlDeviceGetHandleByPciBusId(bus) if bus else None
        return self._handles[bus]


def _card(handle: Any) -> Card:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Card(
        name=pynvml.nvmlDeviceGetName(handle),
        bus=_address(pynvml.nvmlDeviceGetPciInfo(handle).busId),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        compute_capability=f"{major}.{minor}",
        memory=int(memory.total),
        free=int(memory.free),
        driver=pynvml.nvmlSystemGetDriverVersion(),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
    )


def _address(bus: str) -> str:
    """Return a PCI address in lower case with a domain of four digits; the driver uses upper case and eight."""
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
