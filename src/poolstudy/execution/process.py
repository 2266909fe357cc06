"""Code that runs in a worker process, from its start to its exit."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from poolstudy.errors import PoolstudyError, TrialFailed, one_line
from poolstudy.execution import EpochEnded, Failed, Finished, Lost
from poolstudy.spec.records import EpochRecord, TrialResult

RunTask = Callable[[Any, Callable[[EpochRecord], bool]], TrialResult]
"""Function that runs a task, calls back after each epoch and stops when that returns True."""


def worker_main(run: RunTask, task: Any, keep: bool, pipe: connection.Connection) -> None:
    """Run a task and exit; with `keep`, wait for another task after each success."""
    _exit_with_parent()
    with contextlib.suppress(EOFError):  # the parent closed the pipe: there is no other task
        while True:
            kind, content = _run_task(run, task, pipe)
            pipe.send((kind, content))
            if not keep or kind is not Finished:
                break
            task = pipe.recv()
    _exit()


def call_main(function: Callable[[], Any], pipe: connection.Connection) -> None:
    """Send back what the function returns, and exit."""
    _exit_with_parent()
    pipe.send(function())
    _exit()


def _run_task(run: RunTask, task: Any, pipe: connection.Connection) -> tuple[type, object]:
    """Run a task; return the class and content of its last event."""

    def on_epoch(record: EpochRecord) -> bool:
        pipe.send((EpochEnded, record))
        return bool(pipe.recv())

    try:
        return Finished, run(task, on_epoch)
    except TrialFailed as error:
        return Failed, str(error)
    except Exception as error:
        traceback.print_exc()
        machine_fault = isinstance(error, (PoolstudyError, OSError, MemoryError))
        return Lost if machine_fault else Failed, one_line(f"{type(error).__name__}: {error}", 500)


def _exit_with_parent() -> None:
    """Exit when the parent process ends; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _exit() -> None:
    """Exit without TensorFlow's clean-up, which is slow; the system frees everything anyway."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
