"""Worker processes on this machine, forked from a server that has loaded TensorFlow.

A worker does one task and ends: it starts in some 0.02 s, nothing of one task can reach another, and one that hangs
is ended. A task with a lane goes to a worker that has done others of that lane, and keeps what is dear to make (CUDA's
context, loaded kernels); after any task that did not end in good order, and after so many tasks, the worker ends too.
On the far side of the pipe (`far_side.py`) the tasks are run; when this process dies, so does every worker.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from poolstudy.errors import DeviceError
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Key, Lost
from poolstudy.execution.process import RunTask, answer, work
from poolstudy.system.logs import redirect_output

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
    reuse_key: str
    timeout: float | None = None
    began: float = field(default_factory=time.monotonic)
    done: int = 0

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
        tasks_per_worker: so many tasks of a lane a worker does, one after the other, before it ends.

    Raises:
        StoreError: the log cannot be written.
    """

    def __init__(self, run: RunTask, preload: list[str], log: Path, threads: int, tasks_per_worker: int = 1) -> None:
        self.log = log
        self._run = run
        self._tasks_per_worker = tasks_per_worker
        self._workers: dict[Key, _Worker] = {}
        self._idle: list[_Worker] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(preload)
        self._variables = _TENSORFLOW | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self._serve()

    def _serve(self) -> None:
        """Starts the server, if it does not run; it loads TensorFlow while this process goes on."""
        with _environment(self._variables), redirect_output(self.log):
            forkserver.ensure_running()

    def call(self, function: Callable[[], Any], timeout: float | None = None) -> Any:
        """What `function` returns in a process of its own.

        Raises:
            ChildProcessError: the process died, or the function raised, or took longer than `timeout` seconds.
        """
        (answer,) = self.call_each([function], timeout)
        if isinstance(answer, ChildProcessError):
            raise answer
        return answer

    def call_each(self, functions: Sequence[Callable[[], Any]], timeout: float | None = None) -> list[Any]:
        """What each function returns, in processes of their own, all at once; a ChildProcessError where none came."""
        until = None if timeout is None else time.monotonic() + timeout
        calls = [self._begin_call(function) for function in functions]
        return [self._end_call(process, pipe, until) for process, pipe in calls]

    def _begin_call(self, function: Callable[[], Any]) -> tuple[ForkServerProcess, connection.Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=answer, args=(function, theirs), daemon=True)
        with contextlib.suppress(EOFError, OSError):  # the server is dead: the pipe says so too
            process.start()
        theirs.close()
        return process, ours

    def _end_call(self, process: ForkServerProcess, pipe: connection.Connection, until: float | None) -> Any:
        try:
            if until is not None and not pipe.poll(max(0.0, until - time.monotonic())):
                process.kill()
                return ChildProcessError("its process does not answer")
            return pipe.recv()
        except (EOFError, OSError) as error:  # it died, or the server that was to fork it did
            if process.pid is None:
                return ChildProcessError(f"the server of workers died: {type(error).__name__}")
            process.join()
            return ChildProcessError(f"its process {death(process.exitcode)}")
        finally:
            pipe.close()

    def start(self, key: Key, task: Any, timeout: float | None = None, reuse_key: str = "") -> None:
        """Starts a task; its events carry `key`.

        A server of workers that died is started anew; its workers go on, and tell their ends themselves.

        Args:
            timeout: seconds after which it counts as hung; None: never.
            lane: a worker that did a task of this lane may do this one; empty: a worker of its own. What tasks of
                a lane set for their whole process (device, threads, determinism) must be the same.

        Raises:
            DeviceError: the server dies again and again.
        """
        worker = self._waiting(reuse_key)
        if worker is None or not _sent(worker, task):
            worker = self._new_worker(task, reuse_key)
        worker.timeout, worker.began = timeout, time.monotonic()
        self._workers[key] = worker

    def _new_worker(self, task: Any, reuse_key: str) -> _Worker:
        keep = bool(reuse_key) and self._tasks_per_worker > 1
        for _ in range(_SERVERS):
            if not _server_lives():
                self._serve()
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=work, args=(self._run, task, theirs, keep), daemon=True)
            try:
                process.start()
            except (EOFError, OSError):  # the server died just now
                ours.close()
                continue
            finally:
                theirs.close()
            return _Worker(process, ours, reuse_key)
        raise DeviceError("the server of workers dies again and again", "one that goes on", f"see {self.log}")

    def _waiting(self, reuse_key: str) -> _Worker | None:
        """A worker of the lane that waits for a task."""
        for worker in self._idle:
            if worker.reuse_key == reuse_key:
                self._idle.remove(worker)
                return worker
        return None

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
            if isinstance(event, Finished) and self._keeps(worker):
                self._idle.append(self._workers.pop(key))
            elif not isinstance(event, EpochEnded):
                self._reap(self._workers.pop(key))
            yield event

    def answer(self, key: Key, stop: bool) -> None:
        """Lets the worker that reported an epoch go on, or stop in good order."""
        with contextlib.suppress(OSError):  # it died meanwhile: `events` will say so
            self._workers[key].pipe.send(stop)

    def stop(self, key: Key) -> None:
        """Ends a task at once, if it still runs; nothing more is heard of it."""
        if key in self._workers:
            self._workers[key].kill()
            self._reap(self._workers.pop(key))

    def close(self) -> None:
        """Ends every task at once."""
        for key in self.running():
            self.stop(key)
        self.retire()

    def retire(self) -> None:
        """From now on every task has a new worker; those that are at work end after their task."""
        for worker in self._workers.values():
            worker.reuse_key = ""
        while self._idle:
            self._end(self._idle.pop())

    def _keeps(self, worker: _Worker) -> bool:
        """Whether a worker whose task ended in good order is to do another."""
        worker.done += 1
        return bool(worker.reuse_key) and worker.done < self._tasks_per_worker

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._reap(worker)

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

    def _reap(self, worker: _Worker) -> None:
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


def _sent(worker: _Worker, task: Any) -> bool:
    """Gives a worker that waits its next task; False where it died meanwhile."""
    try:
        worker.pipe.send(task)
        return True
    except OSError:
        worker.pipe.close()
        worker.process.join()
        return False


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
