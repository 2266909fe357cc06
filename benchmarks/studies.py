"""A finished study from the Optuna and MLflow databases: when each trial was asked for, trained and ended."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState

from poolstudy.search.attempts import late_runs, run_of
from poolstudy.search.storage import storage_of
from poolstudy.spec.records import EpochRecord, TrialSpec
from poolstudy.tracking.queries import latest_study
from poolstudy.tracking.run import StoredRun
from poolstudy.tracking.store import opened, search


@dataclass(frozen=True)
class Told:
    """Attempt at a trial; times are in seconds since 1970.

    Attributes:
        asked, ended: from Optuna: before it was sampled, and after it was trained and saved.
        epochs: each with the time when it was logged.
    """

    spec: TrialSpec
    state: str
    asked: float
    ended: float
    epochs: tuple[tuple[float, EpochRecord], ...]

    @property
    def counts(self) -> bool:
        return self.state in ("complete", "pruned")

    @property
    def training(self) -> float:
        """Seconds within its epochs."""
        return sum(record.seconds for _, record in self.epochs)

    @property
    def life(self) -> float:
        """Seconds in which it occupied its worker."""
        return self.ended - self.asked


@dataclass(frozen=True)
class Study:
    """Study; `trials` in the order in which they were asked for, `pruner` by its name."""

    name: str
    pruner: str
    trials: tuple[Told, ...]

    @property
    def places(self) -> int:
        """Largest number of trials that ran at once."""
        steps = sorted(
            itertools.chain(((one.asked, 1) for one in self.trials), ((one.ended, -1) for one in self.trials))
        )
        return max(itertools.accumulate(step for _, step in steps))

    @property
    def seconds(self) -> float:
        """Seconds from the first ask to the last end, including any pause."""
        return max(one.ended for one in self.trials) - min(one.asked for one in self.trials)


def read(root: Path, name: str) -> Study:
    """Read a study of the project at `root`.

    Raises:
        StoreError: there is no such study.
    """
    uri = f"sqlite:///{(root / 'mlruns' / 'mlflow.db').resolve()}"
    client = opened(uri)
    (own,) = (run for run in search(client, [latest_study(uri, name)], "tags.`poolstudy.kind` = 'study'"))
    study = StoredRun.of(client, own)
    runs = {run.run_id: run for run in study.trials()}
    book = optuna.load_study(study_name=name, storage=storage_of(root / "mlruns" / "optuna.db"))
    late = late_runs(book.user_attrs)
    asked = {run_of(one, late): one for one in book.get_trials(deepcopy=False) if one.state.is_finished()}
    told = [_told(runs[run_id], asked[run_id]) for run_id in runs.keys() & asked.keys()]
    return Study(name, study.params["pruner"], tuple(sorted(told, key=lambda one: one.asked)))


def _told(run: StoredRun, trial: optuna.trial.FrozenTrial) -> Told:
    assert trial.state != TrialState.RUNNING
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    spec = run.spec()
    assert spec is not None
    times = {point.step: point.timestamp / 1000 for point in run.client.get_metric_history(run.run_id, "val_loss")}
    return Told(
        spec=spec,
        state=str(trial.user_attrs.get("state", "")),
        asked=trial.datetime_start.timestamp(),
        ended=trial.datetime_complete.timestamp(),
        epochs=tuple((times[record.epoch], record) for record in run.logged_epochs()),
    )
