"""Who is compared, each in a process and a folder of its own, sharing nothing but the job.

`ours` is poolstudy's own command; `plain` and `tuner` are scripts, as one would write them; `abreast` starts the first
of them once a core.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Job, TrialDone, TrialsDone, python
from benchmarks.contenders import ours


@dataclass(frozen=True)
class Contender:
    """One way to do the job.

    Attributes:
        title: in tables.
        command: what is measured; it is run in the fresh folder, which it may prepare.
        results: what it reached, read from the folder afterwards.
    """

    title: str
    command: Callable[[Job, Path], list[str]]
    results: Callable[[Path], list[TrialDone]]


def _script(title: str, name: str, *options: str) -> Contender:
    def command(job: Job, folder: Path) -> list[str]:
        job.save(folder)
        return python(f"benchmarks.contenders.{name}", str(folder), *options)

    return Contender(title, command, _written)


def _written(folder: Path) -> list[TrialDone]:
    files = sorted(folder.glob("trials-*.json"))  # one of each process
    return [trial for file in files for trial in TrialsDone.validate_json(file.read_bytes())]


CONTENDERS = {
    "poolstudy": Contender("poolstudy", ours.command, ours.results),
    "plain": _script("plain script: Optuna, Keras fit, MLflow", "plain"),
    "abreast": _script("plain script, a process a core", "abreast"),
    "autolog": _script("plain script with MLflow's autolog", "plain", "--autolog"),
    "tuner": _script("KerasTuner", "tuner"),
}
