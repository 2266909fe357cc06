"""What there is to train on: GPUs that TensorFlow can use, or this machine's cores."""

import functools
import os
from dataclasses import dataclass

from poolstudy.errors import DeviceError
from poolstudy.execution.gpu import nvidia
from poolstudy.execution.gpu.diagnosis import Sight, full_card, inspect_machine, why_no_gpu, why_unusable
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.records import Device

_LISTING = 600.0  # seconds to import TensorFlow, on a machine that is busy, and to list its GPUs
_TRYING = 120.0  # seconds to start CUDA and use a card once; a driver that hangs never answers


@dataclass(frozen=True)
class Found:
    """The GPUs that TensorFlow lists.

    Attributes:
        gpus: can be used.
        full: cannot, since their memory is taken.
        lines: what keeps others than `gpus` from being used, and what to do, a line each.
    """

    gpus: tuple[Device, ...] = ()
    full: tuple[Device, ...] = ()
    lines: tuple[str, ...] = ()


def find_gpus(engine: LocalEngine, *, required: bool = False) -> Found:
    """The GPUs that TensorFlow can use: each was tried in a process of its own.

    Raises:
        DeviceError: there is none and one is required, or TensorFlow does not even start.
    """
    try:
        listed, build = engine.call(_list_gpus, _LISTING)
    except ChildProcessError as error:
        reason = f"TensorFlow does not say what it can train on ({error})"
        raise DeviceError(reason, "a process that imports it and answers", f"see {engine.log}") from None
    tried = engine.call_each([functools.partial(_try_gpu, gpu.name) for gpu in listed], _TRYING)
    found = [_answer(gpu, answer) for gpu, answer in zip(listed, tried, strict=True)]
    usable, sight = tuple(gpu for gpu in found if not gpu.problem), inspect_machine(build)
    full = tuple(gpu for gpu in found if gpu.problem and full_card(gpu.description, sight))
    reasons = _reasons(found, sight)
    if required and not usable:
        why, remedy = reasons[0]
        raise DeviceError(f"no GPU that TensorFlow can use: {why}", "one, since execution.require_gpu=true", remedy)
    # A machine without any NVIDIA driver has nothing to mend.
    nothing_to_mend = not found and nvidia.problem() == nvidia.NO_DRIVER
    lines = () if nothing_to_mend else tuple(f"{why}; {remedy}" for why, remedy in reasons)
    return Found(usable, full, lines)


def _list_gpus() -> tuple[list[Device], dict[str, object]]:
    """The GPUs that TensorFlow lists, and what it says of its own build; to be asked in a process of its own."""
    from poolstudy.execution.gpu import tensorflow

    return tensorflow.list_gpus(), tensorflow.build()


def _try_gpu(name: str) -> Device:
    """A GPU that was used for a moment: what it is, or why it cannot be used; to be asked in a process of its own."""
    from poolstudy.execution.gpu import tensorflow

    return tensorflow.try_gpu(name)


def hardware(device: Device) -> dict[str, object]:
    """What environment.json says of the card that a trial was trained on, beside what its process sees itself."""
    if not device.is_gpu:
        return {"gpus": []}
    card = nvidia.card_at(device.bus)
    facts = {"device_name": device.description, "compute_capability": device.compute_capability}
    if card:
        facts |= {"memory_bytes": str(card.memory), "driver": card.driver, "driver_cuda": card.cuda}
    return {"gpus": [facts]}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _answer(gpu: Device, answer: Device | ChildProcessError) -> Device:
    if isinstance(answer, Device):
        return answer
    return gpu.model_copy(update={"problem": f"the process that tried it died or hung ({answer})"})


def _reasons(found: list[Device], sight: Sight) -> list[tuple[str, str]]:
    """Why GPUs cannot be used, and what to do."""
    if not found:
        return [why_no_gpu(sight)]
    return [
        (f"{gpu.name} ({gpu.description}) cannot be used: {why}", remedy)
        for gpu in found
        if gpu.problem
        for why, remedy in [why_unusable(gpu.description, gpu.problem, sight)]
    ]
