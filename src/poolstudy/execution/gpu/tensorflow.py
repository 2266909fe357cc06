"""TensorFlow's GPUs, and the choice of the device that a process computes on."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from poolstudy.errors import DeviceError, one_line
from poolstudy.spec.records import Device

_DEVICE_ERRORS = (
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.FailedPreconditionError,
)


def list_gpus() -> list[Device]:
    """Return the GPUs in TensorFlow's order, untried.

    Call it in a process of its own: it starts CUDA, which does not survive a fork.
    """
    devices = []
    for index, gpu in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        name, capability = str(details.get("device_name", "GPU")), map(str, details.get("compute_capability", ()))
        devices.append(Device(name=f"GPU:{index}", description=name, compute_capability=".".join(capability)))
    return devices


def build() -> dict[str, object]:
    """Return facts about TensorFlow's build, such as the CUDA version and the compute capabilities."""
    return dict(tf.sysconfig.get_build_info())


def try_gpu(name: str) -> Device:
    """Use a GPU briefly as training does; return it, with its problem if it has one.

    Call it in a process of its own: the card's memory is freed only when that ends.
    """
    use_device(name, threads=1)
    device = list_gpus()[_number(name)]
    try:
        _use(jit_compile=False)
        _use(jit_compile=True)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        return device.model_copy(update={"problem": one_line(error)})
    return device.model_copy(update={"bus": _bus(_number(name))})


def use_device(name: str, threads: int, memory_mb: int | None = None) -> None:
    """Fix the device of this process. Call it before the first operation; later calls need the same arguments.

    Args:
        name: "CPU:0", or "GPU:n"; other GPUs become invisible.
        threads: within an operation; operations run one after the other.
        memory_mb: limit on the GPU's memory, None: no limit; memory is taken as needed and kept until the process ends.

    Raises:
        DeviceError: there is no such GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    mine = gpus[_number(name) :][:1] if name.startswith("GPU") else []
    if name.startswith("GPU") and not mine:
        raise DeviceError(f"{len(gpus)} GPUs", f"{name} among them", "check the driver and CUDA_VISIBLE_DEVICES")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices(mine, "GPU")
    for gpu in mine:
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # TensorFlow's API takes growth or a limit, not both
        if memory_mb is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_mb)
            tf.config.set_logical_device_configuration(gpu, [limit])


@contextlib.contextmanager
def blamed_on(device: str) -> Iterator[None]:
    """Blame a GPU, not the trial, for TensorFlow's device errors in the block: another try may succeed.

    Raises:
        DeviceError: in place of such an error. On the CPU errors stay as they are.
    """
    try:
        yield
    except _DEVICE_ERRORS as error:
        if not device.startswith("GPU"):
            raise
        raise DeviceError(f"{device} failed: {one_line(error)}", "it to compute", "see nvidia-smi and dmesg") from None


def _number(name: str) -> int:
    return int(name.partition(":")[2])


def _use(*, jit_compile: bool) -> None:
    """Compute a convolution and a matrix product, to load their libraries and XLA's compiler."""

    @tf.function(jit_compile=jit_compile)  # type: ignore[untyped-decorator]  # tensorflow has no types
    def compute(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        maps = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
        return tf.reduce_sum(tf.matmul(maps[:, :, :, 0], maps[:, :, :, 1]))

    total = float(compute(tf.ones((1, 4, 4, 1)), tf.ones((1, 1, 1, 2))))
    if total != 64:  # 16 elements, each the sum of 4 products of ones
        raise RuntimeError(f"a sum of ones is {total:g} instead of 64")


def _bus(index: int) -> str:
    """Return the PCI address of a GPU; empty if TensorFlow does not report it."""
    from tensorflow.python.client import device_lib  # nothing else in TensorFlow reports it

    options = tf.compat.v1.GPUOptions(allow_growth=True, visible_device_list=str(index))
    try:
        devices = device_lib.list_local_devices(tf.compat.v1.ConfigProto(gpu_options=options))
    except (tf.errors.OpError, RuntimeError, ValueError):
        return ""
    matches = (re.search(r"pci bus id: ([0-9a-fA-F:.]+)", device.physical_device_desc) for device in devices)
    return next((match[1].lower() for match in matches if match), "")
