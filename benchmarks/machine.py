"""Machine, code and libraries of a measurement."""

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from benchmarks.cases import ROOT

_TELLS = {ROOT / "benchmarks" / name for name in ("report.py", "__main__.py")}  # nothing measured runs through them


def machine() -> str:
    """Return a line such as "2 cores of Intel(R) Xeon(R) …, 24 GiB, Linux 6.1"."""
    cores = len(os.sched_getaffinity(0))
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{cores} cores of {_processor()}, {memory} GiB, {platform.system()} {platform.release().split('-')[0]}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def code_digest() -> str:
    """Return a digest of the code that the contenders run: the package, its settings, the scripts."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *(ROOT / "benchmarks").rglob("*.py")]
    told = [file for file in sorted(files) if file not in _TELLS]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in told)).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that the contenders use."""
    names = ("tensorflow", "keras", "optuna", "mlflow", "keras-tuner")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
