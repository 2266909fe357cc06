"""Wall time, processor time and memory of a command, with all the processes that it starts. Linux only."""

import ctypes
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY = 0.5  # seconds between two readings of the memory
_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, see prctl(2)
_GRACE = 10.0  # seconds that processes may outlive the command


@dataclass(frozen=True)
class Taken:
    """Time and memory of a command.

    Attributes:
        seconds: wall time.
        cpu_seconds: of all processes together, user and system.
        peak_mib: the most memory of all processes together; shared pages count once (PSS).
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(command: list[str], folder: Path, environment: dict[str, str], timeout: float) -> Taken:
    """Run a command in a folder; its output goes to `output.log` there.

    Raises:
        subprocess.CalledProcessError: its exit code is not 0.
        subprocess.TimeoutExpired: it took too long and was ended, with all its children.
    """
    # Processes that the command leaves behind become children of this one, so that their time is counted.
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
    """Wait for the command; return the peak memory of it and its children, in bytes."""
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
    """Return a process's memory (PSS) in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _end_rest() -> None:
    """Wait for the processes that the command left behind, to count their time; kill those that do not end."""
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
