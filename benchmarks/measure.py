"""Runs a command and measures what it took: wall time, processor time, memory, with all that it started. Linux."""

import ctypes
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY = 0.5  # seconds between two looks at the memory
_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, see prctl(2)
_GRACE = 10.0  # seconds that what outlives the command may take to end


@dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        seconds: on the wall.
        cpu_seconds: of all processes together, user and system.
        peak_mib: the most memory at one time, of all processes together; shared pages count once (PSS).
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(command: list[str], folder: Path, environment: dict[str, str], timeout: float) -> Taken:
    """Runs a command in a folder; what it prints goes to `output.log` there.

    Raises:
        subprocess.CalledProcessError: it did not end well.
        subprocess.TimeoutExpired: it took too long; it is ended then, with all it started.
    """
    # What the command starts and leaves behind becomes a child of this process: so its time can be counted.
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    before, began = _cpu(), time.monotonic()
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            peak = _watch(process, timeout)
            seconds = time.monotonic() - began
        finally:
            _end_rest()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Taken(seconds, _cpu() - before, peak / 2**20)


def _watch(process: "subprocess.Popen[bytes]", timeout: float) -> int:
    """Waits for the command; the most bytes that it and its children had at one look."""
    peak, until = 0, time.monotonic() + timeout
    while True:
        try:
            process.wait(_EVERY)
        except subprocess.TimeoutExpired:
            peak = max(peak, sum(pss(child.pid) for child in psutil.Process().children(recursive=True)))
            if time.monotonic() > until:
                raise
        else:
            return peak


def pss(pid: int) -> int:
    """A process's memory in bytes, each shared page divided by those who share it; 0 once it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _end_rest() -> None:
    """Waits for what the command left behind, so that its time is counted; ends what does not end."""
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=_GRACE)
    for child in alive:
        child.kill()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
