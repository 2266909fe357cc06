"""Comparison of poolstudy with other tools, in turn, on the same eight networks.

    python -m benchmarks                                  all of it; two rounds take forty minutes on two cores
    python -m benchmarks --images 6000 --rounds 1         a quick look
    python -m benchmarks --only poolstudy,plain --rounds 3

Each run is saved as it ends, and the same command again measures the missing ones. Results of other code or of another
machine are set aside.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cases import CONFIGURATIONS, ROOT, Job, python, with_data
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import code_digest, machine, versions
from benchmarks.measure import measured
from benchmarks.report import RECORD, Record, Run, write

RESULTS = ROOT / "benchmarks" / "results"
_CEILING = "ceiling"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    job = Job(options.images, options.epochs, options.trials)
    folder = RESULTS / job.label
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "runs.json"
    record = _begun(file, job, fresh=options.fresh)
    job = with_data(job)
    for round_ in range(1, options.rounds + 1):
        for name in options.only:
            if _times(record, name) >= round_:
                continue
            print(f"{datetime.now(UTC).astimezone():%H:%M:%S}  round {round_}  {name}", flush=True)
            try:
                record = _with_one_more(record, name, job, options.timeout)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
            record.save(file)
    print(write(record, folder) if record.runs else "nothing was measured")
    print(f"table.md, plot.png, figures.json and runs.json: {os.path.relpath(folder)}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    everyone = [*CONTENDERS, _CEILING]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48_000, help="training images (%(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each network (%(default)s)")
    most = len(CONFIGURATIONS)
    parser.add_argument("--trials", type=int, default=most, choices=range(1, most + 1), help="networks (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each contender (%(default)s)")
    parser.add_argument("--only", type=_names, default=everyone, help=f"of {','.join(everyone)}")
    parser.add_argument("--timeout", type=float, default=7200, help="limit of one run, in seconds (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="set aside the earlier runs")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTENDERS and name != _CEILING:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join([*CONTENDERS, _CEILING])}")
    return names


def _begun(file: Path, job: Job, *, fresh: bool) -> Record:
    """Return the runs of this job by this code on this machine; set other runs aside."""
    new = Record(job, machine())
    if not file.exists():
        return new
    known = RECORD.validate_json(file.read_bytes())
    if not fresh and known.machine == new.machine and {run.code for run in known.runs} <= {code_digest()}:
        return known
    aside = file.rename(file.with_name(f"runs-before-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"))
    print(f"Earlier runs, with other code or on another machine, are now in {os.path.relpath(aside)}")
    return new


def _times(record: Record, name: str) -> int:
    return len(record.gflops) if name == _CEILING else len(record.of(name))


def _with_one_more(record: Record, name: str, job: Job, timeout: float) -> Record:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"  # poolstudy has it off by itself
    if name == _CEILING:
        command = python("benchmarks.ceiling")
        said = subprocess.run(command, env=environment, capture_output=True, check=True, text=True, timeout=timeout)
        return dataclasses.replace(record, gflops=(*record.gflops, float(said.stdout.split()[-1])))
    contender = CONTENDERS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    taken = measured(contender.command(job, folder), folder, environment, timeout)
    trials = tuple(contender.results(folder))
    if sorted(trial.configuration for trial in trials) != list(range(job.trials)):
        raise OSError(f"not each of {job.trials} networks was trained once; see {folder}/output.log")
    shutil.rmtree(folder)  # kept where something failed
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return dataclasses.replace(record, runs=(*record.runs, Run(name, taken, trials, now, versions(), code_digest())))


if __name__ == "__main__":
    raise SystemExit(main())
