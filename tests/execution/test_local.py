"""Engine tests with real processes; without TensorFlow they start at once."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from poolstudy.errors import TrialFailed
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.records import EpochRecord, TrialResult

OnEpoch = Callable[[EpochRecord], bool]


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1, accuracy=0.5, val_loss=1, val_accuracy=0.5, seconds=1)


def run(task: str, on_epoch: OnEpoch) -> TrialResult:
    """Do what the task says."""
    match task.split():
        case ["die", name]:
            os.kill(os.getpid(), signal.Signals[name])
        case ["exit", code]:
            os._exit(int(code))
        case ["segfault"]:
            ctypes.string_at(0)
        case ["memory"]:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
            bytearray(1 << 33)
        case ["fail"]:
            raise TrialFailed("the loss is nan")
        case ["raise"]:
            raise ValueError("two\nlines")
        case ["pause"]:
            time.sleep(5)
        case ["hang"]:
            time.sleep(600)
    history = []
    for epoch in range(1, 4):
        history.append(record(epoch))
        if on_epoch(history[-1]):
            break
    return TrialResult(
        history=tuple(history),
        best_epoch=1,
        stop_reason="pruned" if len(history) < 3 else "epochs",
        parameter_count=os.getpid(),
        weights_digest="",
        untrained_digest="",
        train_seconds=1,
        images_per_second=1,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    made = LocalEngine(run, [], tmp_path / "log", threads=1)
    yield made
    made.close()


KEYS = {number: ("train", number) for number in range(1, 8)}


def play(engine: LocalEngine, stop_at: int = 99) -> list[Event]:
    """Return all events until no task runs."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while engine.running():
        assert time.monotonic() < deadline, "the engine does not end"
        for event in engine.events(timeout=0.2):
            events.append(event)
            if isinstance(event, EpochEnded):
                engine.answer(event.key, event.record.epoch >= stop_at)
    return events


def test_records_come_in_order_before_the_result(engine: LocalEngine) -> None:
    engine.start(KEYS[7], "train")
    *epochs, last = play(engine)
    assert epochs == [EpochEnded(KEYS[7], record(epoch)) for epoch in (1, 2, 3)]
    assert isinstance(last, Finished)
    assert last.key == KEYS[7]
    assert last.result.stop_reason == "epochs"


def test_a_task_stops_when_told(engine: LocalEngine) -> None:
    engine.start(KEYS[1], "train")
    last = play(engine, stop_at=2)[-1]
    assert isinstance(last, Finished)
    assert len(last.result.history) == 2


def test_a_stopped_task_gives_no_more_events_and_the_others_go_on(engine: LocalEngine) -> None:
    engine.start(KEYS[1], "hang")
    engine.start(KEYS[2], "train")
    engine.stop(KEYS[1])
    assert engine.running() == [KEYS[2]]
    assert {event.key for event in play(engine)} == {KEYS[2]}


def test_untaken_events_stay_and_a_task_that_has_ended_can_be_stopped(engine: LocalEngine) -> None:
    engine.start(KEYS[1], "fail")
    engine.start(KEYS[2], "fail")
    assert all(engine._workers[KEYS[key]].pipe.poll(60) for key in (1, 2))  # both have ended
    taken = next(iter(engine.events(timeout=10)))
    (other,) = set(KEYS.values()) & set(engine.running())
    assert {taken.key, other} == {KEYS[1], KEYS[2]}
    assert [event.key for event in play(engine)] == [other]
    engine.stop(other)


def test_each_task_has_a_process_of_its_own(engine: LocalEngine) -> None:
    for key in (1, 2, 3):
        engine.start(KEYS[key], "train")
    ended = [event.result.parameter_count for event in play(engine) if isinstance(event, Finished)]
    assert len(set(ended)) == 3


# Reused workers


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[LocalEngine]:
    """Return an engine whose workers run three tasks of one reuse key."""
    made = LocalEngine(run, [], tmp_path / "log", threads=1, tasks_per_worker=3)
    yield made
    made.close()


def process_of(engine: LocalEngine, key: int, task: str, reuse_key: str) -> int:
    """Run a task to its end; return the process that ran it, 0 after a failure."""
    engine.start(KEYS[key], task, timeout=1 if task == "hang" else None, reuse_key=reuse_key)
    last = play(engine)[-1]
    return last.result.parameter_count if isinstance(last, Finished) else 0


def test_a_worker_runs_three_tasks_of_its_reuse_key_and_is_then_replaced(keeping: LocalEngine) -> None:
    first, second, third, fourth = (process_of(keeping, key, "train", "a") for key in (1, 2, 3, 4))
    assert first == second == third != fourth
    assert not alive(first)


def test_reuse_keys_do_not_share_workers_and_a_task_without_one_has_a_new_worker(keeping: LocalEngine) -> None:
    on_a, on_b, alone, alone_again, on_a_again = (
        process_of(keeping, key, "train", reuse_key) for key, reuse_key in enumerate(("a", "b", "", "", "a"), start=1)
    )
    assert len({on_a, on_b, alone, alone_again}) == 4
    assert on_a_again == on_a


def test_simultaneous_tasks_of_one_reuse_key_have_a_worker_each(keeping: LocalEngine) -> None:
    for key in (1, 2):
        keeping.start(KEYS[key], "train", reuse_key="a")
    assert len({event.result.parameter_count for event in play(keeping) if isinstance(event, Finished)}) == 2
    assert len(keeping._idle) == 2


@pytest.mark.parametrize("task", ["die SIGKILL", "exit 3", "fail", "raise", "hang"])
def test_a_worker_whose_task_failed_is_replaced(keeping: LocalEngine, task: str) -> None:
    before = process_of(keeping, 1, "train", "a")
    assert process_of(keeping, 2, task, "a") == 0
    assert not alive(before)
    assert process_of(keeping, 3, "train", "a") not in {0, before}


def test_an_idle_worker_that_dies_is_replaced(keeping: LocalEngine) -> None:
    before = process_of(keeping, 1, "train", "a")
    os.kill(before, signal.SIGKILL)
    assert keeping._idle[0].pipe.poll(60)  # it has ended with all its threads
    assert process_of(keeping, 2, "train", "a") not in {0, before}


def test_a_task_of_a_reused_worker_can_stop_early_and_times_out(keeping: LocalEngine) -> None:
    before = process_of(keeping, 1, "train", "a")
    keeping.start(KEYS[2], "train", reuse_key="a")
    last = play(keeping, stop_at=2)[-1]
    assert isinstance(last, Finished)
    assert (last.result.parameter_count, len(last.result.history)) == (before, 2)
    keeping.start(KEYS[3], "hang", timeout=1, reuse_key="a")
    assert play(keeping) == [Lost(KEYS[3], "hung for more than 1 s")]


def test_retired_workers_end_after_their_task(keeping: LocalEngine) -> None:
    idle = process_of(keeping, 1, "train", "a")
    keeping.start(KEYS[2], "train", reuse_key="b")
    keeping.retire()
    assert not alive(idle)
    (ended,) = [event.result.parameter_count for event in play(keeping) if isinstance(event, Finished)]
    assert not alive(ended)
    assert process_of(keeping, 3, "train", "b") != ended


def test_no_idle_worker_outlives_the_engine(keeping: LocalEngine) -> None:
    idle = process_of(keeping, 1, "train", "a")
    assert alive(idle)
    keeping.close()
    assert not alive(idle)


@pytest.mark.slow
def test_parallel_calls_return_results_or_errors(engine: LocalEngine) -> None:
    answers, dies, hangs = partial(str, "here"), partial(os._exit, 4), partial(time.sleep, 600)
    answered, died, hung, another_hung = engine.call_each([answers, dies, hangs, hangs], timeout=15)
    assert answered == "here"
    assert str(died) == "its process ended with exit code 4"
    assert str(hung) == str(another_hung) == "its process does not answer"
    with pytest.raises(ChildProcessError, match="does not answer"):
        engine.call(hangs, timeout=0.1)
    assert engine.call(answers) == "here"


@pytest.mark.parametrize(
    ("task", "event"),
    [
        ("die SIGKILL", Lost(KEYS[1], "its process was ended by SIGKILL")),
        ("segfault", Lost(KEYS[1], "its process was ended by SIGSEGV")),
        ("memory", Lost(KEYS[1], "MemoryError:")),
        ("exit 3", Lost(KEYS[1], "its process ended with exit code 3")),
        pytest.param("hang", Lost(KEYS[1], "hung for more than 3 s"), marks=pytest.mark.slow),
        ("fail", Failed(KEYS[1], "the loss is nan")),
        ("raise", Failed(KEYS[1], "ValueError: two lines")),
    ],
)
def test_a_failed_task_gives_an_event_with_the_reason(engine: LocalEngine, task: str, event: Event) -> None:
    engine.start(KEYS[1], task, timeout=3 if task == "hang" else 60)
    engine.start(KEYS[2], "train")
    events = play(engine)
    assert event in events
    assert [ended.key for ended in events if isinstance(ended, Finished)] == [KEYS[2]]


def server() -> int:
    """Return the process that workers are forked from."""
    return int(vars(forkserver._forkserver)["_forkserver_pid"])


@pytest.mark.slow
def test_a_server_that_dies_is_restarted_and_its_workers_go_on(engine: LocalEngine) -> None:
    engine.start(KEYS[1], "pause")
    engine.start(KEYS[2], "hang")
    hung = engine._workers[KEYS[2]].process.pid
    assert hung is not None
    first = server()
    os.kill(first, signal.SIGKILL)
    time.sleep(0.5)
    engine.start(KEYS[3], "train")
    assert server() != first
    engine.stop(KEYS[2])
    assert {event.key for event in play(engine) if isinstance(event, Finished)} == {KEYS[1], KEYS[3]}
    assert not alive(hung)


def run_script(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "main.py").write_text(script)
    command: list[str | Path] = [sys.executable, folder / "main.py", folder / "log"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)


def test_a_server_that_keeps_dying_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(3)")
    script = """
import pathlib, sys
from poolstudy.errors import DeviceError
from poolstudy.execution.local import LocalEngine
if __name__ == "__main__":
    engine = LocalEngine(print, ["deadly"], pathlib.Path(sys.argv[1]), threads=1)
    try:
        engine.start(("train", 1), "train")
    except DeviceError as error:
        print(engine.running(), error)
"""
    assert run_script(script, tmp_path).stdout.startswith(
        "[] the server of workers keeps dying; expected one that goes on; see "
    )


def test_what_a_worker_prints_goes_to_the_log(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from poolstudy.execution.local import LocalEngine
def run(task, on_epoch):
    print("printed", task)
    raise ValueError("raised " + task)
if __name__ == "__main__":
    engine = LocalEngine(run, [], pathlib.Path(sys.argv[1]), threads=1)
    engine.start(("train", 1), "quagga")
    print(len(list(engine.events(timeout=60))))
"""
    process = run_script(script, tmp_path)
    assert process.stdout == "1\n"
    assert "quagga" not in process.stderr
    log = (tmp_path / "log").read_text()
    assert "printed quagga" in log
    assert "ValueError: raised quagga" in log


def test_workers_and_their_server_end_with_their_coordinator(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import pathlib, sys, time
        sys.path.insert(0, sys.argv[1])
        if __name__ == "__main__":
            from execution.test_local import run
            from multiprocessing import forkserver
            from poolstudy.execution.local import LocalEngine
            engine = LocalEngine(run, [], pathlib.Path(sys.argv[2]), threads=1)
            engine.start(("train", 1), "hang")
            print(engine._workers["train", 1].process.pid, vars(forkserver._forkserver)["_forkserver_pid"], flush=True)
            time.sleep(600)
        """
    )
    file = tmp_path / "coordinator.py"
    file.write_text(script)
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, file, tests, tmp_path / "log"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        processes = [int(number) for number in parent.stdout.readline().split()]
        assert [alive(process) for process in processes] == [True, True]
        parent.kill()
    deadline = time.monotonic() + 10
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, processes))


def alive(process: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    return False
