"""Effect of a setting of poolstudy: the comparison's eight networks with and without it, in turn.

python -m benchmarks.settings execution.workers=1 execution.threads_per_worker=2
python -m benchmarks.settings tracking.figures.of=[] --images 48000 --rounds 2
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import ROOT, Job, with_data
from benchmarks.contenders import ours
from benchmarks.machine import machine
from benchmarks.measure import Taken, measured


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.settings", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="+", metavar="key=value")
    parser.add_argument("--images", type=int, default=6_000, help="training images (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs with and without it (%(default)s)")
    options = parser.parse_args(arguments)
    job = with_data(Job(images=options.images))
    ways: dict[str, list[str]] = {"as it is": [], " ".join(options.overrides): options.overrides}
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, overrides in ways.items():
            taken[name].append(_once(job, overrides))
    print(f"{job.trials} networks, {job.epochs} epochs, {job.images:,} images; {machine()}", end="\n\n")
    print("| setting | n | wall, median (least to most) | processor time |", "| --- | --- | --- | --- |", sep="\n")
    for name, times in taken.items():
        walls = [one.seconds for one in times]
        spread = f"{median(walls):.1f} s ({min(walls):.1f} to {max(walls):.1f})"
        print(f"| {name} | {len(times)} | {spread} | {median(one.cpu_seconds for one in times):.1f} s |")


def _once(job: Job, overrides: list[str]) -> Taken:
    folder = Path(tempfile.mkdtemp(prefix="bench-settings-"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
    taken = measured([*ours.command(job, folder), *overrides], folder, environment, timeout=3600)
    shutil.rmtree(folder)  # kept after a failure: it has the output
    return taken


if __name__ == "__main__":
    main()
