"""Real processes; what they run needs no TensorFlow, so that a worker starts at once."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from poolstudy.errors import TrialFailed
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.records import EpochRecord, TrialResult

OnEpoch = Callable[[EpochRecord], bool]


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1, accuracy=0.5, val_loss=1, val_accuracy=0.5, seconds=1)


def run(task: str, on_epoch: OnEpoch) -> TrialResult:
    """Does what the task says."""
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
    """Hears everything until no task runs."""
    heard: list[Event] = []
    deadline = time.monotonic() + 60
    while engine.running():
        assert time.monotonic() < deadline, "the engine does not end"
        for event in engine.events(timeout=0.2):
            heard.append(event)
            if isinstance(event, EpochEnded):
                engine.answer(event.key, event.record.epoch >= stop_at)
    return heard


def test_records_come_in_order_and_then_the_result(engine: LocalEngine) -> None:
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


def test_a_task_that_is_stopped_is_heard_of_no_more_and_the_others_go_on(engine: LocalEngine) -> None:
    engine.start(KEYS[1], "hang")
    engine.start(KEYS[2], "train")
    engine.stop(KEYS[1])
    assert engine.running() == [KEYS[2]]
    assert {event.key for event in play(engine)} == {KEYS[2]}


def test_what_is_not_taken_stays_and_a_task_that_has_ended_can_be_stopped(engine: LocalEngine) -> None:
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


# Workers that are kept


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[LocalEngine]:
    """An engine whose workers of a lane do three tasks."""
    made = LocalEngine(run, [], tmp_path / "log", threads=1, tasks_per_worker=3)
    yield made
    made.close()


def process_of(engine: LocalEngine, key: int, task: str, reuse_key: str) -> int:
    """Does a task to its end; the process that did it, 0 if it did not."""
    engine.start(KEYS[key], task, timeout=1 if task == "hang" else None, reuse_key=reuse_key)
    last = play(engine)[-1]
    return last.result.parameter_count if isinstance(last, Finished) else 0


def test_a_worker_does_three_tasks_of_its_lane_and_then_another_takes_its_place(keeping: LocalEngine) -> None:
    first, second, third, fourth = (process_of(keeping, key, "train", "a") for key in (1, 2, 3, 4))
    assert first == second == third != fourth
    assert not alive(first)


def test_lanes_do_not_share_workers_and_a_task_without_a_lane_has_its_own(keeping: LocalEngine) -> None:
    on_a, on_b, alone, alone_again, on_a_again = (
        process_of(keeping, key, "train", reuse_key) for key, reuse_key in enumerate(("a", "b", "", "", "a"), start=1)
    )
    assert len({on_a, on_b, alone, alone_again}) == 4
    assert on_a_again == on_a


def test_tasks_of_one_lane_at_the_same_time_have_a_worker_each(keeping: LocalEngine) -> None:
    for key in (1, 2):
        keeping.start(KEYS[key], "train", reuse_key="a")
    assert len({event.result.parameter_count for event in play(keeping) if isinstance(event, Finished)}) == 2
    assert len(keeping._idle) == 2


@pytest.mark.parametrize("task", ["die SIGKILL", "exit 3", "fail", "raise", "hang"])
def test_a_worker_whose_task_went_wrong_does_no_other_and_only_that_task_is_gone(
    keeping: LocalEngine, task: str
) -> None:
    before = process_of(keeping, 1, "train", "a")
    assert process_of(keeping, 2, task, "a") == 0
    assert not alive(before)
    assert process_of(keeping, 3, "train", "a") not in {0, before}


def test_a_worker_that_dies_while_it_waits_is_replaced(keeping: LocalEngine) -> None:
    before = process_of(keeping, 1, "train", "a")
    os.kill(before, signal.SIGKILL)
    assert keeping._idle[0].pipe.poll(60)  # it has gone with all its threads
    assert process_of(keeping, 2, "train", "a") not in {0, before}


def test_a_task_of_a_kept_worker_stops_when_told_and_hangs_no_longer_than_allowed(keeping: LocalEngine) -> None:
    before = process_of(keeping, 1, "train", "a")
    keeping.start(KEYS[2], "train", reuse_key="a")
    last = play(keeping, stop_at=2)[-1]
    assert isinstance(last, Finished)
    assert (last.result.parameter_count, len(last.result.history)) == (before, 2)
    keeping.start(KEYS[3], "hang", timeout=1, reuse_key="a")
    assert play(keeping) == [Lost(KEYS[3], "hung for more than 1 s")]


def test_workers_that_retire_end_after_their_task(keeping: LocalEngine) -> None:
    waits = process_of(keeping, 1, "train", "a")
    keeping.start(KEYS[2], "train", reuse_key="b")
    keeping.retire()
    assert not alive(waits)
    (ended,) = [event.result.parameter_count for event in play(keeping) if isinstance(event, Finished)]
    assert not alive(ended)
    assert process_of(keeping, 3, "train", "b") != ended


def test_no_worker_that_waits_outlives_the_engine(tmp_path: Path) -> None:
    engine = LocalEngine(run, [], tmp_path / "log", threads=1, tasks_per_worker=3)
    waits = process_of(engine, 1, "train", "a")
    assert alive(waits)
    engine.close()
    assert not alive(waits)


# Calls


def answers() -> str:
    return "here"


def dies() -> None:
    os._exit(4)


def hangs() -> None:
    time.sleep(600)


@pytest.mark.slow
def test_calls_are_made_at_once_and_each_answers_for_itself(engine: LocalEngine) -> None:
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
def test_a_task_that_goes_wrong_is_told_with_the_reason(engine: LocalEngine, task: str, event: Event) -> None:
    engine.start(KEYS[1], task, timeout=3 if task == "hang" else 60)
    engine.start(KEYS[2], "train")
    heard = play(engine)
    assert event in heard
    assert [one.key for one in heard if isinstance(one, Finished)] == [KEYS[2]]


def server() -> int:
    """The process that workers are forked from."""
    return int(vars(forkserver._forkserver)["_forkserver_pid"])


@pytest.mark.slow
def test_a_server_that_dies_is_started_anew_and_its_workers_go_on(engine: LocalEngine) -> None:
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


def test_a_server_that_dies_again_and_again_is_told_in_one_line(tmp_path: Path) -> None:
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
    (tmp_path / "main.py").write_text(script)
    said = subprocess.check_output([sys.executable, tmp_path / "main.py", tmp_path / "log"], text=True, cwd=tmp_path)
    assert said.startswith("[] the server of workers dies again and again; expected one that goes on; see ")


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
    (tmp_path / "main.py").write_text(script)
    said = subprocess.run(
        [sys.executable, tmp_path / "main.py", tmp_path / "log"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert said.stdout == "1\n"
    assert "quagga" not in said.stderr
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
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
