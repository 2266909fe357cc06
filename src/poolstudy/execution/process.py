"""The far side of the pipe: what a worker's process does from its first to its last moment."""

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
from poolstudy.spec.records import EpochRecord, TrialResult

RunTask = Callable[[Any, Callable[[EpochRecord], bool]], TrialResult]
"""Runs a task; calls back after each epoch and stops when the answer is True."""


def work(run: RunTask, task: Any, pipe: connection.Connection, keep: bool) -> None:
    """A worker's whole life; with `keep` it waits for another task after each that ended in good order."""
    _obey_parent()
    kind, content = _done(run, task, pipe)
    while keep and kind == "finished":
        pipe.send((kind, content))
        try:
            task = pipe.recv()
        except EOFError:  # nobody has another
            _leave()
        kind, content = _done(run, task, pipe)
    pipe.send((kind, content))
    _leave()


def _done(run: RunTask, task: Any, pipe: connection.Connection) -> tuple[str, object]:
    """Does a task; what is to be said of it."""

    def on_epoch(record: EpochRecord) -> bool:
        pipe.send(("epoch", record))
        return bool(pipe.recv())

    try:
        return "finished", run(task, on_epoch)
    except TrialFailed as error:
        return "failed", str(error)
    except (PoolstudyError, OSError, MemoryError) as error:  # the machine's fault, not the configuration's
        traceback.print_exc()
        return "lost", one_line(f"{type(error).__name__}: {error}", 500)
    except Exception as error:
        traceback.print_exc()
        return "failed", one_line(f"{type(error).__name__}: {error}", 500)


def answer(function: Callable[[], Any], pipe: connection.Connection) -> None:
    _obey_parent()
    pipe.send(function())
    _leave()


def _obey_parent() -> None:
    """Ends with the parent, whatever ends it; leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _leave() -> None:
    """Ends without TensorFlow's clean-up, which takes time and does nothing that the system does not."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
