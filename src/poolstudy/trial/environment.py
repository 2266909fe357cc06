"""Machine and software that a trial computes with."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import keras
import tensorflow as tf

# They may change which operations run, or in which order they sum. Other variables may hold secrets.
_VARIABLES = """
    CUBLAS_WORKSPACE_CONFIG CUDA_VISIBLE_DEVICES DNNL_DEFAULT_FPMATH_MODE DNNL_MAX_CPU_ISA KERAS_BACKEND MKL_CBWR
    MKL_NUM_THREADS NVIDIA_TF32_OVERRIDE OMP_NUM_THREADS ONEDNN_DEFAULT_FPMATH_MODE ONEDNN_MAX_CPU_ISA
    OPENBLAS_CORETYPE OPENBLAS_NUM_THREADS TF_CUDNN_DETERMINISTIC TF_CUDNN_USE_AUTOTUNE TF_CUDNN_USE_FRONTEND
    TF_DETERMINISTIC_OPS TF_DISABLE_MKL TF_ENABLE_ONEDNN_OPTS TF_FORCE_GPU_ALLOW_GROWTH TF_GPU_ALLOCATOR
    TF_NUM_INTEROP_THREADS TF_NUM_INTRAOP_THREADS TF_USE_LEGACY_KERAS TF_XLA_FLAGS XLA_FLAGS
"""
_EXTENSIONS = ("sse", "ssse3", "avx", "fma", "f16c", "bf16", "amx", "asimd", "sve", "neon")


def environment(device: str, threads: int) -> dict[str, object]:
    """Return the machine and software of this process, which trains on `device` with `threads` per operation."""
    return {
        "python": f"{platform.python_implementation()} {sys.version}".replace("\n", ""),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "processor": _cpuinfo("model name") or platform.processor(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
        "keras_backend": keras.backend.backend(),
        "float": keras.config.floatx(),
        "tensorflow_build": {key: str(value) for key, value in tf.sysconfig.get_build_info().items()},
        "variables": {name: os.environ[name] for name in _VARIABLES.split() if name in os.environ},
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    """Return the version of every package; of duplicates the first on the path, which Python imports."""
    versions: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        if name := package.metadata["Name"]:  # None after an incomplete installation
            versions.setdefault(name.lower(), package.version)
    return dict(sorted(versions.items()))


def _instructions() -> list[str]:
    """Return the processor's vector instructions, by which libraries choose their code."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return sorted(flag for flag in flags if flag.startswith(_EXTENSIONS))


def _cpuinfo(key: str) -> str:
    """Return the first value of a key in /proc/cpuinfo; empty where there is none."""
    with contextlib.suppress(OSError):
        pairs = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
    return ""
