"""Worker processes on this machine: one per task, forked from a server that has loaded TensorFlow.

A worker starts in some 0.02 s, nothing of one task can reach another, and one that hangs is ended.
On the far side of the pipe `_work` runs the task; when this process dies, so does every worker.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from poolstudy.errors import DeviceError, PoolstudyError, TrialFailed, one_line
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Key, Lost
from poolstudy.records import EpochRecord, TrialResult

RunTask = Callable[[Any, Callable[[EpochRecord], bool]], TrialResult]
"""Runs a task; calls back after each epoch and stops when the answer is True."""

_SERVERS = 3  # that may die, one after the other, before a task is given up
_TENSORFLOW = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "1",  # twice as fast; by itself TensorFlow takes it on newer processors only
}


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: connection.Connection
    timeout: float | None
    began: float = field(default_factory=time.monotonic)

    def kill(self) -> None:
        """Ends it, also where its server died: then Process.kill takes it for dead as well."""
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)


class LocalEngine:
    """Runs tasks in processes of their own.

    Args:
        run: what a worker does with a task; a module's function.
        preload: the modules that the server loads once, before it is forked.
        log: file for all that workers and server print.
        threads: of numerical libraries in a worker.
    """

    def __init__(self, run: RunTask, preload: list[str], log: Path, threads: int) -> None:
        self.log = log
        self._run = run
        self._workers: dict[Key, _Worker] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(preload)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._variables = _TENSORFLOW | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self._serve()

    def _serve(self) -> None:
        """Starts the server, if it does not run; it loads TensorFlow while this process goes on."""
        with _environment(self._variables), _output_to(self.log):
            forkserver.ensure_running()

    def call(self, function: Callable[[], Any]) -> Any:
        """What `function` returns in a process of its own.

        Raises:
            ChildProcessError: the process died, or the function raised.
        """
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_call, args=(function, theirs), daemon=True)
        try:
            process.start()
            theirs.close()
            return ours.recv()
        except (EOFError, OSError) as error:  # it died, or the server that was to fork it did
            if process.pid is None:
                raise ChildProcessError(f"the server of workers died: {type(error).__name__}") from None
            process.join()
            raise ChildProcessError(f"its process {death(process.exitcode)}") from None

    def start(self, key: Key, task: Any, timeout: float | None = None) -> None:
        """Starts a task; its events carry `key`.

        A server of workers that died is started anew; its workers go on, and tell their ends themselves.

        Args:
            timeout: seconds after which it counts as hung; None: never.

        Raises:
            DeviceError: the server dies again and again.
        """
        for _ in range(_SERVERS):
            if not _server_lives():
                self._serve()
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_work, args=(self._run, task, theirs), daemon=True)
            try:
                process.start()
            except (EOFError, OSError):  # the server died just now
                ours.close()
                continue
            finally:
                theirs.close()
            self._workers[key] = _Worker(process, ours, timeout)
            return
        raise DeviceError("the server of workers dies again and again", "one that goes on", f"see {self.log}")

    def running(self) -> list[Key]:
        """The keys of the tasks that have not ended."""
        return list(self._workers)

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened since the last call; waits up to `timeout` seconds for something.

        An event that is not taken, since the one before it ended the caller, stays for the next call.
        """
        ready = set(connection.wait([worker.pipe for worker in self._workers.values()], timeout))
        for key, worker in list(self._workers.items()):
            if key not in self._workers:
                continue  # stopped by the caller meanwhile
            event = self._receive(key, worker) if worker.pipe in ready else self._hung(key, worker)
            if event is None:
                continue
            if not isinstance(event, EpochEnded):
                self._reap(key)
            yield event

    def answer(self, key: Key, stop: bool) -> None:
        """Lets the worker that reported an epoch go on, or stop in good order."""
        with contextlib.suppress(OSError):  # it died meanwhile: `events` will say so
            self._workers[key].pipe.send(stop)

    def stop(self, key: Key) -> None:
        """Ends a task at once, if it still runs; nothing more is heard of it."""
        if key in self._workers:
            self._workers[key].kill()
            self._reap(key)

    def close(self) -> None:
        """Ends every task at once."""
        for key in self.running():
            self.stop(key)

    def _receive(self, key: Key, worker: _Worker) -> Event | None:
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            return Lost(key, f"its process {death(worker.process.exitcode)}")
        events: dict[str, Callable[[Key, Any], Event]] = {
            "epoch": EpochEnded,
            "finished": Finished,
            "failed": Failed,
            "lost": Lost,
        }
        return events[kind](key, content)

    def _hung(self, key: Key, worker: _Worker) -> Event | None:
        if worker.timeout is None or time.monotonic() - worker.began < worker.timeout:
            return None
        worker.kill()
        return Lost(key, f"hung for more than {worker.timeout:g} s")

    def _reap(self, key: Key) -> None:
        worker = self._workers.pop(key)
        worker.pipe.close()
        worker.process.join(timeout=5)
        if worker.process.exitcode is None:
            worker.kill()
            worker.process.join()
        worker.process.close()


def death(exitcode: int | None) -> str:
    """How a process ended: by which signal, or with which exit code."""
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-exitcode).name}"
    return f"ended with exit code {exitcode}"


def _server_lives() -> bool:
    """Whether the server runs; multiprocessing would start another silently, with our output and environment."""
    number = vars(forkserver._forkserver).get("_forkserver_pid")
    with contextlib.suppress(psutil.NoSuchProcess):
        return number is not None and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _work(run: RunTask, task: Any, pipe: connection.Connection) -> None:
    """A worker's whole life."""
    _obey_parent()

    def on_epoch(record: EpochRecord) -> bool:
        pipe.send(("epoch", record))
        return bool(pipe.recv())

    message: tuple[str, object]
    try:
        message = ("finished", run(task, on_epoch))
    except TrialFailed as error:
        message = ("failed", str(error))
    except (PoolstudyError, OSError, MemoryError) as error:  # the machine's fault, not the configuration's
        traceback.print_exc()
        message = ("lost", one_line(f"{type(error).__name__}: {error}", 500))
    except Exception as error:
        traceback.print_exc()
        message = ("failed", one_line(f"{type(error).__name__}: {error}", 500))
    pipe.send(message)
    _leave()


def _call(function: Callable[[], Any], pipe: connection.Connection) -> None:
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


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: value for name, value in variables.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """What is started in here prints to the log: descriptors 1 and 2 are inherited."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for descriptor, target in zip(kept, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
