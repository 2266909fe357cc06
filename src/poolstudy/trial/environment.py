"""The machine and the software that a trial computes with. Knows TensorFlow."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import keras
import tensorflow as tf

# What may change which operations run, or in which order they add up. By name: others may hold secrets.
_VARIABLES = [
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "KERAS_BACKEND",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "TF_CUDNN_DETERMINISTIC",
    "TF_CUDNN_USE_AUTOTUNE",
    "TF_CUDNN_USE_FRONTEND",
    "TF_DETERMINISTIC_OPS",
    "TF_DISABLE_MKL",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_GPU_ALLOCATOR",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_USE_LEGACY_KERAS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
]
_EXTENSIONS = ("sse", "ssse3", "avx", "fma", "f16c", "bf16", "amx", "asimd", "sve", "neon")


def environment(device: str, threads: int) -> dict[str, object]:
    """What this process computes with.

    Args:
        device: "CPU:0" or "GPU:n", which it trains on.
        threads: of one operation.
    """
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
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    """The version of every package; of two that are installed the first on the path, which is imported."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions():
        if name := one.metadata["Name"]:  # an installation that was cut short has none
            found.setdefault(name.lower(), one.version)
    return dict(sorted(found.items()))


def _instructions() -> list[str]:
    """The processor's vector instructions: libraries choose their code by them."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return sorted(flag for flag in flags if flag.startswith(_EXTENSIONS))


def _cpuinfo(key: str) -> str:
    """The first value of a key in Linux' /proc/cpuinfo; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), ""
    )
