"""Devices to train on: GPUs that TensorFlow can use, or this machine's cores."""

import functools
import os
from dataclasses import dataclass

from poolstudy.errors import DeviceError
from poolstudy.execution.gpu import nvidia
from poolstudy.execution.gpu.diagnosis import full_card, inspect_machine, why_no_gpu, why_unusable
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.records import Device

_LIST_SECONDS = 600.0  # to import TensorFlow on a busy machine and list its GPUs
_TRY_SECONDS = 120.0  # to start CUDA and use a card once; a driver that hangs never returns


@dataclass(frozen=True)
class Found:
    """GPUs that TensorFlow lists.

    Attributes:
        gpus: usable ones.
        full: unusable because their memory is taken.
        lines: why the others cannot be used and what to do, a line each.
    """

    gpus: tuple[Device, ...] = ()
    full: tuple[Device, ...] = ()
    lines: tuple[str, ...] = ()


def find_gpus(engine: LocalEngine, *, required: bool = False) -> Found:
    """Return the GPUs that TensorFlow lists; each is tried in a process of its own.

    Raises:
        DeviceError: no GPU is usable and one is required, or TensorFlow does not start.
    """
    try:
        listed, build = engine.call(_list_gpus, _LIST_SECONDS)
    except ChildProcessError as error:
        reason = f"TensorFlow cannot list its GPUs ({error})"
        raise DeviceError(reason, "a process that imports it and lists them", f"see {engine.log}") from None
    results = engine.call_each([functools.partial(_try_gpu, gpu.name) for gpu in listed], _TRY_SECONDS)
    tried = [
        gpu.model_copy(update={"problem": f"the process that tried it died or hung ({result})"})
        if isinstance(result, ChildProcessError)
        else result
        for gpu, result in zip(listed, results, strict=True)
    ]
    usable, broken = tuple(gpu for gpu in tried if not gpu.problem), [gpu for gpu in tried if gpu.problem]
    sight = inspect_machine(build)
    reasons = [] if tried else [why_no_gpu(sight)]
    for gpu in broken:
        why, remedy = why_unusable(gpu.description, gpu.problem, sight)
        reasons.append((f"{gpu.name} ({gpu.description}) cannot be used: {why}", remedy))
    if required and not usable:
        why, remedy = reasons[0]
        raise DeviceError(f"no GPU that TensorFlow can use: {why}", "one, since execution.require_gpu=true", remedy)
    if not tried and sight.driver == nvidia.NO_DRIVER:  # a machine without GPUs has nothing to fix
        reasons = []
    full = tuple(gpu for gpu in broken if full_card(gpu.description, sight))
    return Found(usable, full, tuple(f"{why}; {remedy}" for why, remedy in reasons))


def _list_gpus() -> tuple[list[Device], dict[str, object]]:
    """Return TensorFlow's GPUs and build information; call it in a process of its own."""
    from poolstudy.execution.gpu import tensorflow

    return tensorflow.list_gpus(), tensorflow.build()


def _try_gpu(name: str) -> Device:
    """Use a GPU briefly and return it, with its problem if it has one; call it in a process of its own."""
    from poolstudy.execution.gpu import tensorflow

    return tensorflow.try_gpu(name)


def hardware(device: Device) -> dict[str, object]:
    """Return what environment.json records about the device of a trial."""
    if not device.is_gpu:
        return {"gpus": []}
    card = nvidia.card_at(device.bus)
    facts = {"device_name": device.description, "compute_capability": device.compute_capability}
    if card:
        facts |= {"memory_bytes": str(card.memory), "driver": card.driver, "driver_cuda": card.cuda}
    return {"gpus": [facts]}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
