"""What was asked for: the settings of a study, validated once, then frozen."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from poolstudy.errors import without_password
from poolstudy.spec.datasets import DigitsData, IdxData
from poolstudy.spec.records import FigureSettings, TrainingSettings, leaves
from poolstudy.spec.space import Frozen, HyperParameters, Name, SearchSpace, Value, check_geometry, extremes

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class Objective(Frozen):
    metric: Literal["best_val_accuracy", "best_val_loss"] = "best_val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    @property
    def epoch_metric(self) -> Literal["val_accuracy", "val_loss"]:
        """What is reported at each epoch, for pruning."""
        return "val_accuracy" if self.metric == "best_val_accuracy" else "val_loss"

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.metric == "best_val_loss") != (self.direction == "minimize"):
            raise ValueError(f"{self.metric} cannot be what to {self.direction}")
        return self


class StudySection(Frozen):
    """Attributes: `trials` that end complete or pruned; `timeout` of one start, in seconds."""

    name: Name
    trials: Positive
    timeout: Seconds | None = None
    seed: Natural = 42
    objective: Objective = Objective()


class TrainingSection(TrainingSettings):
    """The settings, and the values that hold where the space does not sample them."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(**self.model_dump(include=set(TrainingSettings.model_fields)))

    @property
    def fixed(self) -> dict[str, Value]:
        return {"learning_rate": self.learning_rate, "batch_size": self.batch_size}


class TpeSampler(Frozen):
    name: Literal["tpe"]
    n_startup_trials: Natural = 10


class RandomSampler(Frozen):
    name: Literal["random"]


class QmcSampler(Frozen):
    """A scrambled Sobol sequence."""

    name: Literal["qmc"]


class GridSampler(Frozen):
    name: Literal["grid"]


class ListSampler(Frozen):
    """Trains given configurations in order; they are the space."""

    name: Literal["list"]
    trials: Annotated[tuple[HyperParameters, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len({len(trial.filters) for trial in self.trials}) > 1:
            raise ValueError("all trials must have the same number of convolutions")
        return self


class MedianPruner(Frozen):
    name: Literal["median"]
    n_startup_trials: Natural = 5
    n_warmup_steps: Natural = 0


class HyperbandPruner(Frozen):
    name: Literal["hyperband"]
    min_resource: Positive = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class NoPruner(Frozen):
    name: Literal["none"]


class ExecutionSection(Frozen):
    """How the trials are run; nothing here changes what a trial is, but the thread count its bits.

    Attributes:
        workers: trials at once; "auto" is one a core, or `workers_per_gpu` a GPU.
        workers_per_gpu: trials at once on a GPU; "auto" is as many as measured gain, memory and cores allow.
        trials_per_process: so many trials a worker's process trains, one after the other, before a new one takes its
            place; "auto" is 20 on a GPU, where a process is dear to start. On the CPU it is one, whatever is said here.
        retries: how often a slot whose process died is tried again.
        trial_timeout: seconds after which a trial counts as hung.
        max_failures_in_a_row: that many failed slots, one after the other, end the study.
    """

    engine: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    threads_per_worker: Annotated[int, Field(ge=1, le=1024)] = 1
    workers_per_gpu: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    trials_per_process: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    require_gpu: bool = False
    retries: Natural = 2
    trial_timeout: Seconds | None = None
    max_failures_in_a_row: Positive = 5


class FiguresSection(FigureSettings):
    """How trials are drawn, and `of` which states: a pruned one has its pictures too, unless they cost too much."""

    of: tuple[Literal["complete", "pruned", "failed"], ...] = ("complete", "pruned", "failed")

    @property
    def settings(self) -> FigureSettings:
        return FigureSettings(**self.model_dump(include=set(FigureSettings.model_fields)))


class TrackingSection(Frozen):
    """Where runs are kept; a study's `uri` stays, the rest may change.

    Attributes:
        uri: of MLflow's store.
        artifacts: folder of the artifacts of SQLite stores.
        patience: seconds that the store may be away while the study runs; then the study stops.
    """

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlruns/mlflow.db"
    artifacts: Annotated[str, Field(min_length=1)] = "mlruns/artifacts"
    patience: Seconds = 600.0
    figures: FiguresSection = FiguresSection()


class StudyConfig(Frozen):
    """A whole study. Raises pydantic.ValidationError where it cannot be run."""

    study: StudySection
    data: Annotated[IdxData | DigitsData, Field(discriminator="format")]
    space: SearchSpace
    training: TrainingSection
    sampler: Annotated[TpeSampler | RandomSampler | QmcSampler | GridSampler | ListSampler, Field(discriminator="name")]
    pruner: Annotated[MedianPruner | HyperbandPruner | NoPruner, Field(discriminator="name")]
    execution: ExecutionSection
    tracking: TrackingSection

    @model_validator(mode="before")
    @classmethod
    def _list_is_the_space(cls, given: Any) -> Any:
        """With the sampler `list`, the space is spanned by the listed trials."""
        match given:
            case {"sampler": {"name": "list", **settings}, "training": Mapping() as training}:
                fixed = {k: training[k] for k in ("learning_rate", "batch_size") if k in training}
                trials = settings.get("trials")
                if isinstance(trials, list):
                    trials = [fixed | trial if isinstance(trial, dict) else trial for trial in trials]
                    sampler = ListSampler.model_validate({"name": "list", **settings, "trials": trials})
                    return {**given, "sampler": sampler.model_dump(), "space": _spanned(sampler.trials)}
        return given

    @model_validator(mode="after")
    def _geometry(self) -> Self:
        for size in _pool_sizes(self.space):
            check_geometry(self.data.image_shape[0], size, len(self.space.filters))
        return self

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        size = self.space.size()
        if self.sampler.name == "grid" and (size is None or size > 100_000):
            raise ValueError("sampler.name=grid needs a finite space of at most 100,000: give every range a wide step")
        return self

    def fingerprint(self) -> dict[str, Value]:
        """Every setting that makes the study what it is, by dotted key.

        Where the data lie and how the trials are run may change from start to start.
        """
        free = {"study": {"trials", "timeout", "name"}, "data": {"path", "search", "mirrors"}}
        free["tracking"] = set(TrackingSection.model_fields) - {"uri"}
        return dict(leaves(_kept(self.model_dump(mode="json", exclude={**free, "execution": True}))))

    def recorded(self) -> dict[str, Any]:
        """Everything, as it is kept with the study: JSON without passwords."""
        return _kept(self.model_dump(mode="json"))


def _kept(settings: dict[str, Any]) -> dict[str, Any]:
    tracking = settings["tracking"]
    return {**settings, "tracking": {**tracking, "uri": without_password(tracking["uri"])}}


def _spanned(trials: Sequence[HyperParameters]) -> dict[str, Any]:
    columns = [trial.flat() for trial in trials]
    choices = {name: list(dict.fromkeys(row[name] for row in columns)) for name in columns[0]}
    filters = [choices.pop(name) for name in list(choices) if name.startswith("filters_")]
    return {**choices, "filters": filters}


def _pool_sizes(space: SearchSpace) -> Sequence[int]:
    return [int(value) for value in extremes(space.pool_size)]
