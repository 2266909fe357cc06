"""Memory of the coordinator and of the workers' server over a study of hundreds of real, tiny trials.

    python -m benchmarks.memory --trials 300 --every 50
    python -m benchmarks.memory --trials 300 --undrawn      (no pictures: a third of the time)

PSS is RSS with each shared page divided among the processes that share it. A worker lives for one trial only; its
column shows the largest one since the last row.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
EXPERIMENT = """\
defaults:
  - data: digits
  - space: pooling
  - sampler: random
  - pruner: none
  - training: short
  - execution: local
  - tracking: local
  - _self_
study:
  name: memory
  trials: 300
  timeout: null
  seed: 7
  objective: {metric: best_val_accuracy, direction: maximize}
space:
  pool_size: 2
  filters: [[2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]]
  dropout: {low: 0.0, high: 0.5, step: 0.1}
training:
  epochs: 1
data:
  train_limit: 64
"""
_MB = 1e6


def measure(trials: int, every: int, *, drawn: bool) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield, after every `every` trials, their number and the megabytes of each kind of process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(ROOT / "conf", root / "conf")
        (root / "experiments" / "memory").mkdir(parents=True)
        (root / "experiments" / "memory" / "experiment.yaml").write_text(EXPERIMENT)
        overrides = [f"study.trials={trials}"] + ([] if drawn else ["tracking.figures.of=[]"])
        command = [sys.executable, "-m", "poolstudy", "run", "memory", *overrides]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as study:
            assert study.stdout is not None
            workers = _Workers(study.pid)
            for line in study.stdout:
                if " trials done" in line and int(line.split()[0]) % every == 0:
                    yield int(line.split()[0]), _memory(study.pid) | {"worker RSS": workers.greatest()}
            workers.stop()
        if study.returncode != 0:
            raise SystemExit(study.returncode)


class _Workers:
    """Largest worker, read twice a second."""

    def __init__(self, coordinator: int) -> None:
        self._coordinator = psutil.Process(coordinator)
        self._greatest = 0.0
        self._over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            for server in _children(self._coordinator):
                for worker in _children(server):
                    self._greatest = max(self._greatest, _of(worker).get("RSS", 0.0))

    def greatest(self) -> float:
        greatest, self._greatest = self._greatest, 0.0
        return greatest

    def stop(self) -> None:
        self._over.set()


def _memory(coordinator: int) -> dict[str, float]:
    processes = {"coordinator": psutil.Process(coordinator)}
    # The server is the child that has loaded TensorFlow; the other one tracks shared memory.
    processes["server"] = max(_children(processes["coordinator"]), key=lambda child: _of(child).get("RSS", 0.0))
    return {f"{name} {kind}": value for name, one in processes.items() for kind, value in _of(one).items()}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children())
    except psutil.NoSuchProcess:
        return []


def _of(process: psutil.Process) -> dict[str, float]:
    try:
        found = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
    return {"RSS": found.rss / _MB, "PSS": getattr(found, "pss", found.uss) / _MB}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--undrawn", action="store_true", help="render no pictures")
    options = parser.parse_args()
    headed = False
    for done, megabytes in measure(options.trials, options.every, drawn=not options.undrawn):
        if not headed:
            print("trials", *(f"{name:>16}" for name in megabytes), "(MB)")
            headed = True
        print(f"{done:6}", *(f"{value:16.1f}" for value in megabytes.values()), flush=True)


if __name__ == "__main__":
    main()
