"""Worker processes on this machine, forked from a server that has loaded TensorFlow.

A worker starts in 0.02 s, runs one task and ends, so that no task affects another; one that hangs is killed.
A task with a reuse key goes to an idle worker of that key, which still has CUDA's context and the loaded kernels;
that worker ends after a limited number of tasks, or after one that did not succeed. `process.py` has the worker's code.
When this process dies, so does every worker.
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
from poolstudy.execution import EpochEnded, Event, Finished, Key, Lost
from poolstudy.execution.process import RunTask, call_main, worker_main
from poolstudy.system.logs import redirect_output

_SERVERS = 3  # that may die in a row before a task is given up
_TENSORFLOW = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "1",  # twice as fast; by default TensorFlow uses it on newer processors only
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
        """Kill the process, even if its server died: Process.kill then believes it dead too and does nothing."""
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)


class LocalEngine:
    """Engine that runs each task in a worker process.

    Args:
        run: function of a module that runs a task in the worker.
        preload: modules that the server imports once, before it is forked.
        log: file for the output of the workers and the server.
        threads: of numerical libraries in a worker.
        tasks_per_worker: limit on the tasks of one reuse key that a worker runs.

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
        """Start the server unless it runs; it imports `preload` in the background."""
        with _environment(self._variables), redirect_output(self.log):
            forkserver.ensure_running()

    def call(self, function: Callable[[], Any], timeout: float | None = None) -> Any:
        """Call a function in a process of its own and return its result.

        Raises:
            ChildProcessError: the process died, or the function raised, or took longer than `timeout` seconds.
        """
        (result,) = self.call_each([function], timeout)
        if isinstance(result, ChildProcessError):
            raise result
        return result

    def call_each(self, functions: Sequence[Callable[[], Any]], timeout: float | None = None) -> list[Any]:
        """Call functions in parallel, each in its own process; return results, or errors of `call`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = [self._start_process(call_main, function) for function in functions]
        return [self._end_call(process, pipe, deadline) for process, pipe in calls]

    def _start_process(
        self, target: Callable[..., None], *args: Any
    ) -> tuple[ForkServerProcess, connection.Connection]:
        """Start a process with a pipe; it has no `pid` if the server is dead."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(*args, theirs), daemon=True)
        with contextlib.suppress(EOFError, OSError):
            process.start()
        theirs.close()
        return process, ours

    def _end_call(self, process: ForkServerProcess, pipe: connection.Connection, deadline: float | None) -> Any:
        try:
            if deadline is not None and not pipe.poll(max(0.0, deadline - time.monotonic())):
                process.kill()
                return ChildProcessError("its process does not answer")
            return pipe.recv()
        except (EOFError, OSError) as error:  # the process died, or its server before the fork
            if process.pid is None:
                return ChildProcessError(f"the server of workers died: {type(error).__name__}")
            process.join()
            return ChildProcessError(f"its process {death(process.exitcode)}")
        finally:
            pipe.close()

    def start(self, key: Key, task: Any, timeout: float | None = None, reuse_key: str = "") -> None:
        """Start a task, whose events carry `key`; restart a server that died, without harm to its workers.

        Args:
            timeout: seconds after which it counts as hung; None: never.
            reuse_key: a worker that did a task with this key may do this one; empty: a new worker. Tasks with the same
                key must set the same device, threads and determinism, which last as long as the process.

        Raises:
            DeviceError: the server keeps dying.
        """
        worker = self._reuse_idle(task, reuse_key) or self._new_worker(task, reuse_key)
        worker.timeout, worker.began = timeout, time.monotonic()
        self._workers[key] = worker

    def _reuse_idle(self, task: Any, reuse_key: str) -> _Worker | None:
        """Send the task to an idle worker with this key, unless all have died, and return the worker."""
        for worker in [worker for worker in self._idle if worker.reuse_key == reuse_key]:
            self._idle.remove(worker)
            try:
                worker.pipe.send(task)
                return worker
            except OSError:
                self._reap(worker)
        return None

    def _new_worker(self, task: Any, reuse_key: str) -> _Worker:
        keep = bool(reuse_key) and self._tasks_per_worker > 1
        for _ in range(_SERVERS):
            if not _server_lives():
                self._serve()
            process, pipe = self._start_process(worker_main, self._run, task, keep)
            if process.pid is not None:
                return _Worker(process, pipe, reuse_key)
            pipe.close()
        raise DeviceError("the server of workers keeps dying", "one that goes on", f"see {self.log}")

    def running(self) -> list[Key]:
        """Return the keys of the tasks that have not ended."""
        return list(self._workers)

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield new events after at most `timeout` seconds; untaken ones stay for the next call."""
        ready = set(connection.wait([worker.pipe for worker in self._workers.values()], timeout))
        for key, worker in list(self._workers.items()):
            if key not in self._workers:
                continue  # stopped by the caller meanwhile
            event = self._next_event(key, worker, worker.pipe in ready)
            if event is None:
                continue
            worker.done += isinstance(event, Finished)
            if isinstance(event, Finished) and worker.reuse_key and worker.done < self._tasks_per_worker:
                self._idle.append(self._workers.pop(key))
            elif not isinstance(event, EpochEnded):
                self._reap(self._workers.pop(key))
            yield event

    def answer(self, key: Key, stop: bool) -> None:
        """Let the worker that reported an epoch go on, or stop early."""
        with contextlib.suppress(OSError):  # it died meanwhile: `events` will report it
            self._workers[key].pipe.send(stop)

    def stop(self, key: Key) -> None:
        """Kill a task if it still runs; it gives no more events."""
        if key in self._workers:
            self._kill(self._workers.pop(key))

    def close(self) -> None:
        """Kill every task and worker."""
        for key in self.running():
            self.stop(key)
        self.retire()

    def retire(self) -> None:
        """Stop reusing the present workers: end the idle ones now, the others after their task."""
        for worker in self._workers.values():
            worker.reuse_key = ""
        while self._idle:
            self._kill(self._idle.pop())

    def _kill(self, worker: _Worker) -> None:
        worker.kill()
        self._reap(worker)

    def _next_event(self, key: Key, worker: _Worker, ready: bool) -> Event | None:
        if ready:
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                kind, content = Lost, f"its process {death(worker.process.exitcode)}"
            event: Event = kind(key, content)
            return event
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
    """Describe how a process ended: signal or exit code."""
    if exitcode is not None and exitcode < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-exitcode).name}"
    return f"ended with exit code {exitcode}"


def _server_lives() -> bool:
    """Return whether the server runs; multiprocessing would restart it silently, with our output and environment."""
    pid = vars(forkserver._forkserver).get("_forkserver_pid")
    with contextlib.suppress(psutil.NoSuchProcess):
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set the variables that are not set yet, in the block only."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
