"""What the figures were measured on."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil


def machine() -> str:
    """ "2 cores of an Intel(R) Xeon(R) …, 24 GiB, Linux 6.1"."""
    cores = len(os.sched_getaffinity(0))
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{cores} cores of {_processor()}, {memory} GiB, {platform.system()} {platform.release().split('-')[0]}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def versions() -> dict[str, str]:
    """Of the libraries that the contenders use."""
    names = ("tensorflow", "keras", "optuna", "mlflow", "keras-tuner")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
