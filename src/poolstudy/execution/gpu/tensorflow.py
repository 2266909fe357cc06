"""GPUs, as TensorFlow sees them, and what a process computes on."""

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
    """The GPUs that TensorFlow lists, in its order; none is tried.

    To be asked in a process of its own: it starts CUDA, which does not survive a fork.
    """
    gpus = tf.config.list_physical_devices("GPU")
    return [_device(index, tf.config.experimental.get_device_details(gpu)) for index, gpu in enumerate(gpus)]


def build() -> dict[str, object]:
    """What TensorFlow says of its own build: for CUDA or not, of which version, for which cards."""
    return dict(tf.sysconfig.get_build_info())


def try_gpu(name: str) -> Device:
    """A GPU that was used for a moment, as training uses it: what it is, or why it cannot be used.

    To be asked in a process of its own, which then ends and with it what it holds of the card's memory.
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
    """Fixes what this process computes on; to be called before its first operation, later only with the same arguments.

    Args:
        name: "CPU:0", or "GPU:n", of which it then sees no other.
        threads: within an operation; operations run one after the other.
        memory_mb: the most that it takes of the GPU's memory; None: what it needs. Either way it takes it as it
            needs it, and gives nothing back before it ends.

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
        os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = (
            "true"  # also up to a limit, where TensorFlow's API takes one or the other
        )
        if memory_mb is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_mb)
            tf.config.set_logical_device_configuration(gpu, [limit])


@contextlib.contextmanager
def blamed_on(device: str) -> Iterator[None]:
    """On a GPU, what TensorFlow says of the device itself is no fault of the trial: another try may succeed.

    Raises:
        DeviceError: in place of such an error. On the CPU every error stays what it is.
    """
    try:
        yield
    except _DEVICE_ERRORS as error:
        if not device.startswith("GPU"):
            raise
        raise DeviceError(f"{device} failed: {one_line(error)}", "it to compute", "see nvidia-smi and dmesg") from None


def _device(index: int, details: dict[str, object]) -> Device:
    capability = details.get("compute_capability")
    return Device(
        name=f"GPU:{index}",
        description=str(details.get("device_name", "GPU")),
        compute_capability=".".join(map(str, capability)) if isinstance(capability, tuple) else "",
    )


def _number(name: str) -> int:
    return int(name.partition(":")[2])


def _use(*, jit_compile: bool) -> None:
    """A convolution and a matrix product, so that their libraries are loaded, and XLA's compiler is."""

    @tf.function(jit_compile=jit_compile)  # type: ignore[untyped-decorator]  # tensorflow has no types
    def compute(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        maps = tf.nn.conv2d(images, kernel, strides=1, padding="SAME")
        return tf.reduce_sum(tf.matmul(maps[:, :, :, 0], maps[:, :, :, 1]))

    total = float(compute(tf.ones((1, 4, 4, 1)), tf.ones((1, 1, 1, 2))))
    if total != 64:  # 16 elements, each the sum of 4 products of ones
        raise RuntimeError(f"a sum of ones is {total:g} instead of 64")


def _bus(index: int) -> str:
    """The PCI address of a GPU; empty where TensorFlow does not tell it."""
    from tensorflow.python.client import device_lib  # the only place where TensorFlow names it

    options = tf.compat.v1.GPUOptions(allow_growth=True, visible_device_list=str(index))
    try:
        devices = device_lib.list_local_devices(tf.compat.v1.ConfigProto(gpu_options=options))
    except (tf.errors.OpError, RuntimeError, ValueError):
        return ""
    found = (re.search(r"pci bus id: ([0-9a-fA-F:.]+)", one.physical_device_desc) for one in devices)
    return next((match[1].lower() for match in found if match), "")
