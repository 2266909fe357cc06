"""TensorFlow, in processes of its own: which devices it trains on, or why it does not start or finds no GPU."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from poolstudy.checks.finding import SETUP, Finding, Mark, some
from poolstudy.errors import one_line
from poolstudy.execution.devices import cores
from poolstudy.execution.gpu import nvidia
from poolstudy.execution.gpu.diagnosis import Sight, inspect_machine, visible_cards, why_no_gpu, why_unusable
from poolstudy.execution.local import death
from poolstudy.execution.placement import placements
from poolstudy.spec.config import ExecutionSection
from poolstudy.spec.records import Device

_SECONDS = 120  # to import it; 15 on two busy cores
_LIST = """
import json
from poolstudy.execution.gpu import tensorflow
gpus = [gpu.model_dump() for gpu in tensorflow.list_gpus()]
print(json.dumps({"gpus": gpus, "build": tensorflow.build()}, default=str))
"""
_TRY = """
from poolstudy.execution.gpu import tensorflow
print(tensorflow.try_gpu({name!r}).model_dump_json())
"""
_LOG_LINE = re.compile(r"(?:^|\s)([IWEF])(?:\d{4}|\s).*\.cc:\d+\] (.*)")  # severity, message


@contextlib.contextmanager
def asking_tensorflow(script: str = _LIST) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that asks TensorFlow something and prints JSON: a crash is an answer too."""
    environment = {"KERAS_BACKEND": "tensorflow"} | os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}  # keep its reasons
    command, pipe = [sys.executable, "-c", script], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace", env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tensorflow(asked: "subprocess.Popen[str]", execution: ExecutionSection, trying: str = _TRY) -> Iterator[Finding]:
    """Yield what TensorFlow trains on, or why it does not start; `trying` is a script that tries the GPU {name}."""
    answer, err = _answer(asked)
    if answer is None:
        yield Finding("error", "TensorFlow", err, f"{SETUP}, on a processor that TensorFlow is built for")
        return
    tried, sight = _tried([Device(**gpu) for gpu in answer["gpus"]], trying), inspect_machine(answer["build"])
    needed = execution.require_gpu and all(gpu.problem for gpu in tried)
    yield from (_gpu(gpu, sight, "error" if needed else "warning") for gpu in tried)
    _, wrong = visible_cards(sight)
    if tried and wrong:
        found = f"CUDA_VISIBLE_DEVICES={sight.visible!r}: there is no card {wrong}, so the cards after it are hidden"
        yield Finding("warning", "TensorFlow", found, "name cards by number, as nvidia-smi lists them, or by UUID")
    if not tried:
        yield _without_gpu(sight, reason(err), execution)


def _answer(asked: "subprocess.Popen[str]") -> tuple[Any, str]:
    """Return the answer of a process and its stderr; or None and the reason."""
    try:
        out, err = asked.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_SECONDS} s"
    if asked.returncode:
        why = one_line((err.strip().splitlines() or ["it printed no error"])[-1])
        return None, f"a process that imports it {death(asked.returncode)}: {why}"
    return json.loads(out.splitlines()[-1]), err


def _tried(listed: Sequence[Device], trying: str) -> list[Device]:
    """Use each GPU once, all at the same time; return them with their problems."""
    with contextlib.ExitStack() as stack:
        asked = [stack.enter_context(asking_tensorflow(trying.format(name=gpu.name))) for gpu in listed]
        answers = [_answer(process) for process in asked]
    return [
        Device(**answer) if answer else gpu.model_copy(update={"problem": err})
        for gpu, (answer, err) in zip(listed, answers, strict=True)
    ]


def _gpu(gpu: Device, sight: Sight, mark: Mark) -> Finding:
    """Return a finding about a listed GPU; `mark` is for one that cannot be used."""
    if gpu.problem:
        why, remedy = why_unusable(gpu.description, gpu.problem, sight)
        found = f"GPU at /device:{gpu.name} ({gpu.description}) cannot be used: {why}"
        return Finding(mark, "TensorFlow", found, remedy)
    facts = [f"Found GPU at: /device:{gpu.name} ({gpu.description})"]
    if gpu.compute_capability:
        facts.append(f"compute capability {gpu.compute_capability}")
    if card := nvidia.card_at(gpu.bus):
        facts += [f"{card.free / 1e9:.1f} of {card.memory / 1e9:.1f} GB free", f"driver {card.driver}"]
    for library, key in (("CUDA", "cuda_version"), ("cuDNN", "cudnn_version")):  # the installed ones may be newer
        if version := sight.build.get(key):
            facts.append(f"built with {library} {version}")
    return Finding("ok", "TensorFlow", ", ".join(facts))


def _without_gpu(sight: Sight, message: str, execution: ExecutionSection) -> Finding:
    why, remedy = why_no_gpu(sight, message)
    if execution.require_gpu:
        return Finding("error", "TensorFlow", f"{why}, and execution.require_gpu=true", f"{remedy}; or leave it out")
    workers = some(len(placements(execution, [], cores(), 1, {})), "worker")
    threads = some(execution.threads_per_worker, "thread")
    found = f"{why}: training on the CPU ({some(cores(), 'core')}, {workers} of {threads})"
    if sight.driver == nvidia.NO_DRIVER:
        return Finding("ok", "TensorFlow", found)
    return Finding("warning", "TensorFlow", found, remedy)


def reason(err: str) -> str:
    """Return the last of the most severe messages about GPUs in TensorFlow's stderr; empty if there is none."""
    matches = (match for line in reversed(err.splitlines()) if (match := _LOG_LINE.search(line)))
    about_gpus = (match for match in matches if re.search(r"cuda|cudnn|gpu|dlopen|nvidia", match[2], re.IGNORECASE))
    last = max(about_gpus, key=lambda match: "IWEF".index(match[1]), default=None)
    return one_line(last[2]) if last else ""
