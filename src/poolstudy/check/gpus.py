"""TensorFlow, asked in a process of its own: what it trains on, or why it does not start."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from poolstudy.check.finding import SETUP, Finding, some
from poolstudy.config import ExecutionSection
from poolstudy.devices import cores, has_nvidia_driver, places
from poolstudy.errors import one_line
from poolstudy.execution.local import death

_SECONDS = 120  # to import it; 15 on two busy cores
_ASK = """
import json
from poolstudy.training import find_gpus
print(json.dumps([[gpu.name, gpu.description] for gpu in find_gpus()]))
"""
_LOG_LINE = re.compile(r"(?:^|\s)([IWEF])(?:\d{4}|\s).*\.cc:\d+\] (.*)")  # severity, message


@contextlib.contextmanager
def asking_tensorflow(script: str = _ASK) -> Iterator["subprocess.Popen[str]"]:
    """A process that asks TensorFlow for its GPUs: should it crash, that is an answer too."""
    environment = {"KERAS_BACKEND": "tensorflow"} | os.environ
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # its reasons are wanted
    command, pipe = [sys.executable, "-c", script], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace", env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tensorflow(asked: "subprocess.Popen[str]", execution: ExecutionSection) -> Iterator[Finding]:
    """What TensorFlow trains on, or why it does not start."""
    try:
        out, err = asked.communicate(timeout=_SECONDS)
        gpus = [tuple(gpu) for gpu in json.loads(out.splitlines()[-1])] if asked.returncode == 0 else None
    except subprocess.TimeoutExpired:
        found = f"no answer within {_SECONDS} s"
        yield Finding("lacks", "TensorFlow", found, "see whether `python -c 'import tensorflow'` ends")
        return
    if gpus is None:
        why = one_line((err.strip().splitlines() or ["it says nothing"])[-1])
        found = f"a process that imports it {death(asked.returncode)}: {why}"
        yield Finding("lacks", "TensorFlow", found, f"{SETUP}, on a processor that TensorFlow is built for")
    elif gpus:
        yield from (Finding("ok", "TensorFlow", f"Found GPU at: /device:{name} ({what})") for name, what in gpus)
    else:
        yield _without_gpu(err, execution)


def _without_gpu(err: str, execution: ExecutionSection) -> Finding:
    wanted, driver = execution.require_gpu, has_nvidia_driver()
    why = (
        f"an NVIDIA driver is here, but TensorFlow finds no GPU ({reason(err)})" if driver else "no NVIDIA driver here"
    )
    if wanted:
        found = f"{why}, and execution.require_gpu=true"
    else:
        workers, threads = some(len(places(execution, [])), "worker"), some(execution.threads_per_worker, "thread")
        found = f"{why}: training on the CPU ({some(cores(), 'core')}, {workers} of {threads})"
    if driver:
        remedy = "install the extra gpu (make setup); see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES"
        return Finding("lacks" if wanted else "look", "TensorFlow", found, remedy)
    if wanted:
        return Finding("lacks", "TensorFlow", found, "leave it out, or use a machine with a GPU")
    return Finding("ok", "TensorFlow", found)


def reason(err: str) -> str:
    """TensorFlow's own, out of what it printed: the last of its gravest messages about GPUs."""
    messages = [match.groups() for line in err.splitlines() if (match := _LOG_LINE.search(line))]
    about = [entry for entry in messages if re.search(r"cuda|cudnn|gpu|dlopen|nvidia", entry[1], re.IGNORECASE)]
    gravest = max(("IWEF".index(severity) for severity, _ in about), default=0)
    last = [text for severity, text in about if "IWEF".index(severity) == gravest]
    return one_line(last[-1]) if last else "it does not say why"
