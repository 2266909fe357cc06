"""Two processes that need the same lock or file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolstudy.errors import StoreError, StudyBusy
from poolstudy.system.files import left_parts
from poolstudy.system.locks import holder, made_once, study_lock

HOLD = """
import sys, pathlib
from poolstudy.system.locks import study_lock
with study_lock(pathlib.Path(sys.argv[1]), "s"):
    print("held", flush=True)
    sys.stdin.read()
"""

DIE = """
import os, pathlib, signal, sys
from poolstudy.system.locks import made_once
with made_once(pathlib.Path(sys.argv[1])) as part:
    part.write_text("half")
    part.with_name(part.name + "-journal").write_text("of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_crash_are_deleted_once_the_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    for _ in range(2):  # the second deletes what the first left
        subprocess.run([sys.executable, "-c", DIE, path], check=False)
    assert not path.exists()
    assert len(left_parts(tmp_path)) == 2  # the second one's file and journal
    with made_once(path) as part:
        assert part
        assert left_parts(tmp_path) == []
        part.write_text("whole")
    assert sorted(tmp_path.glob("[.s]*")) == [path]
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (None, "process {pid}"),
        (b"\xff\x00x", "a process that left no name"),
        (b"", "a process that left no name"),
    ],
)
def test_a_second_process_is_refused_and_the_first_is_named(tmp_path: Path, written: bytes | None, named: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        if written is not None:
            (tmp_path / "s.pid").write_bytes(written)
        with pytest.raises(StudyBusy, match=f"study s is being run by {named.format(pid=first.pid)};"):
            study_lock(tmp_path, "s").__enter__()
        first.kill()
    with study_lock(tmp_path, "s"):  # leftovers of a crash do not block
        assert (tmp_path / "s.pid").read_text() == f"{os.getpid()}\n"


def test_a_process_that_cannot_write_its_pid_holds_no_lock(tmp_path: Path) -> None:
    (tmp_path / "s.pid").mkdir()  # not even root can write it
    with pytest.raises(StoreError, match="Is a directory; expected a folder that can be written"):
        study_lock(tmp_path, "s").__enter__()
    assert holder(tmp_path, "s") is None
    (tmp_path / "s.pid").rmdir()
    with study_lock(tmp_path, "s"):
        pass


def test_a_lock_that_cannot_be_tested_is_an_error_in_one_line(tmp_path: Path) -> None:
    assert holder(tmp_path, "s") is None
    (tmp_path / "s.lock").mkdir()
    with pytest.raises(StoreError, match=r"s\.lock: .*; expected a lock that can be tested"):
        holder(tmp_path, "s")
