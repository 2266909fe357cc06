"""What there is to train on: GPUs that TensorFlow can use, or this machine's cores."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy import worker
from poolstudy.config import ExecutionSection
from poolstudy.errors import DeviceError
from poolstudy.execution.local import LocalEngine

if TYPE_CHECKING:
    from poolstudy.training import Device


def find_gpus(engine: LocalEngine, required: bool) -> "list[Device]":
    """The GPUs that TensorFlow can use.

    Raises:
        DeviceError: there is none and one is required, or TensorFlow does not even start.
    """
    try:
        gpus: list[Device] = engine.call(worker.find_gpus)
    except ChildProcessError as error:
        reason = f"a process that imports TensorFlow ends at once ({error})"
        raise DeviceError(reason, "one that goes on", f"see {engine.log}") from None
    if required and not gpus:
        raise DeviceError(
            f"no GPU that TensorFlow can use{nvidia_note()}",
            "one, since execution.require_gpu=true",
            "mend the driver, install the extra gpu (make setup), or leave require_gpu out",
        )
    return gpus


def places(execution: ExecutionSection, gpus: "list[Device]") -> list[str]:
    """The device of each worker that there may be at once; GPUs are filled evenly."""
    if gpus:
        devices = [gpu.name for _ in range(execution.workers_per_gpu) for gpu in gpus]
    else:
        devices = ["CPU:0"] * max(1, cores() // execution.threads_per_worker)
    if execution.workers == "auto":
        return devices
    return [devices[index % len(devices)] for index in range(execution.workers)]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()


def nvidia_note() -> str:
    """Said where a GPU is there and TensorFlow does not use it."""
    if not has_nvidia_driver():
        return ""
    return ", although an NVIDIA driver is here (the study's log in mlruns/logs has TensorFlow's reason)"
