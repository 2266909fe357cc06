"""What a command takes, children and orphans counted. Real processes; no exact timings."""

import subprocess
import sys
from pathlib import Path

# A child that outlives its parent, as a server of workers does, and computes in another one.
ORPHAN = """
import subprocess, sys
busy = "import time\\nwhile time.process_time() < 0.5: pass"
subprocess.Popen([sys.executable, "-c", busy])
"""
MEASURE = """
import os, sys
from pathlib import Path
from benchmarks.measure import measured
print(measured([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]), dict(os.environ), 30).cpu_seconds)
"""


def measuring(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: it becomes the parent of orphans, and ends every child."""
    command = [sys.executable, "-c", MEASURE, script, str(folder)]
    root = Path(__file__).parents[1]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_time_of_what_a_command_leaves_behind_is_counted(tmp_path: Path) -> None:
    assert float(measuring(ORPHAN, tmp_path).stdout) >= 0.5


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    said = measuring("print('why'); raise SystemExit(3)", tmp_path)
    assert (said.returncode, said.stdout) == (1, "")
    assert "CalledProcessError" in said.stderr
    assert (tmp_path / "output.log").read_text() == "why\n"
