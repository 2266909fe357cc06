"""(b) once more, as one runs it on several cores: the plain script a core, one thread each, on one Optuna study.

python -m benchmarks.contenders.abreast FOLDER
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.cases import python

_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main(folder: Path) -> int:
    command = python("benchmarks.contenders.plain", str(folder), "--process")
    environment = os.environ | _ONE_THREAD
    numbers = range(len(os.sched_getaffinity(0)))
    processes = [subprocess.Popen([*command, str(number)], env=environment) for number in numbers]
    codes = [process.wait() for process in processes]
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
