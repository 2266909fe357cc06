"""Settings of a study, validated once, then frozen."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from poolstudy.errors import without_password
from poolstudy.spec.datasets import DataSettings, Positive
from poolstudy.spec.dimensions import Value
from poolstudy.spec.frozen import Frozen, Name
from poolstudy.spec.layers import layers
from poolstudy.spec.records import FigureSettings, TrainingSettings, leaves
from poolstudy.spec.space import HyperParameters, SearchSpace

Natural = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class Objective(Frozen):
    metric: Literal["best_val_accuracy", "best_val_loss"] = "best_val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    @property
    def epoch_metric(self) -> Literal["val_accuracy", "val_loss"]:
        """Metric that is reported at each epoch, for pruning."""
        return "val_accuracy" if self.metric == "best_val_accuracy" else "val_loss"

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.metric == "best_val_loss") != (self.direction == "minimize"):
            raise ValueError(f"direction {self.direction} does not fit metric {self.metric}")
        return self


class StudySection(Frozen):
    """`trials` counts those that end complete or pruned; `timeout` is in seconds, for one start."""

    name: Name
    trials: Positive
    timeout: Seconds | None = None
    seed: Natural = 42
    objective: Objective = Objective()


class TrainingSection(TrainingSettings):
    """Training settings, and the values of hyperparameters that the space does not sample."""

    always_written = TrainingSettings.always_written | {"learning_rate", "batch_size"}

    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(**self.model_dump(include=set(TrainingSettings.model_fields)))

    @property
    def fixed(self) -> dict[str, Value]:
        return {name: getattr(self, name) for name in _FIXED}


_FIXED = tuple(name for name in HyperParameters.model_fields if name in TrainingSection.__annotations__)


class TpeSampler(Frozen):
    name: Literal["tpe"]
    n_startup_trials: Natural = 10


class RandomSampler(Frozen):
    name: Literal["random"]


class QmcSampler(Frozen):
    """Scrambled Sobol sequence."""

    name: Literal["qmc"]


class GridSampler(Frozen):
    name: Literal["grid"]


class ListSampler(Frozen):
    """Given configurations, trained in order; they are also the search space."""

    name: Literal["list"]
    trials: Annotated[tuple[HyperParameters, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len({tuple(trial.flat()) for trial in self.trials}) > 1:
            raise ValueError("all trials must have the same number of convolutions, and give the same settings")
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
    """Settings of the execution; of these only the thread count can change a trial's result, in its last bits.

    Attributes:
        workers: trials at once; "auto" is one per core, or `workers_per_gpu` per GPU.
        workers_per_gpu: trials at once on a GPU; "auto" depends on the measured gain, memory and cores.
        trials_per_process: trials that a worker process trains on a GPU before a new one replaces it; "auto" is 20,
            because a process is expensive to start there. On the CPU it is always one.
        retries: further attempts at a slot whose worker process died.
        trial_timeout: seconds after which a trial counts as hung.
        max_failures_in_a_row: number of failed slots in a row that ends the study.
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
    """Settings of the figures; `of` lists the states whose trials get them."""

    of: tuple[Literal["complete", "pruned", "failed"], ...] = ("complete", "pruned", "failed")

    @property
    def settings(self) -> FigureSettings:
        return FigureSettings(**self.model_dump(include=set(FigureSettings.model_fields)))


class TrackingSection(Frozen):
    """Settings of MLflow; the `uri` is fixed for a study, the rest may change between starts.

    Attributes:
        uri: of MLflow's store.
        artifacts: folder of the artifacts, for SQLite stores.
        patience: seconds that the store may be unreachable before the study stops.
    """

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlruns/mlflow.db"
    artifacts: Annotated[str, Field(min_length=1)] = "mlruns/artifacts"
    patience: Seconds = 600.0
    figures: FiguresSection = FiguresSection()


class StudyConfig(Frozen):
    """Settings of a whole study. Raises pydantic.ValidationError if it cannot be run."""

    study: StudySection
    data: DataSettings
    space: SearchSpace
    training: TrainingSection
    sampler: Annotated[TpeSampler | RandomSampler | QmcSampler | GridSampler | ListSampler, Field(discriminator="name")]
    pruner: Annotated[MedianPruner | HyperbandPruner | NoPruner, Field(discriminator="name")]
    execution: ExecutionSection
    tracking: TrackingSection

    @model_validator(mode="before")
    @classmethod
    def _list_is_the_space(cls, given: Any) -> Any:
        """Span the space by the listed trials if the sampler is `list`."""
        match given:
            case {"sampler": {"name": "list", **settings}, "training": Mapping() as training}:
                fixed = {key: training[key] for key in _FIXED if key in training}
                trials = settings.get("trials")
                if isinstance(trials, list):
                    trials = [fixed | trial if isinstance(trial, dict) else trial for trial in trials]
                    sampler = ListSampler.model_validate({"name": "list", **settings, "trials": trials})
                    return {**given, "sampler": sampler.model_dump(), "space": SearchSpace.spanned(sampler.trials)}
        return given

    @model_validator(mode="after")
    def _geometry(self) -> Self:
        shape, classes = self.data.image_shape, len(self.data.class_names)
        for network in self.space.probes():
            layers(network, shape, classes, self.training.dense_units)
        return self

    @model_validator(mode="after")
    def _grid_is_finite(self) -> Self:
        size = self.space.size()
        if self.sampler.name == "grid" and (size is None or size > 100_000):
            raise ValueError("sampler.name=grid needs a finite space of at most 100,000: give every range a wide step")
        return self

    def fingerprint(self) -> dict[str, Value]:
        """Return the settings that may not change from start to start, by dotted key."""
        free = {"study": {"trials", "timeout", "name"}, "data": {"path", "search", "mirrors"}}
        free["tracking"] = set(TrackingSection.model_fields) - {"uri"}
        return dict(leaves(_without_password(self.model_dump(mode="json", exclude={**free, "execution": True}))))

    def defaults(self) -> dict[str, Value]:
        """Return what a key means that an older study does not have, by dotted key."""
        return dict(leaves(_defaults(self)))

    def recorded(self) -> dict[str, Any]:
        """Return all settings as JSON values without passwords, to be stored with the study."""
        return _without_password(self.model_dump(mode="json"))


def _without_password(settings: dict[str, Any]) -> dict[str, Any]:
    tracking = settings["tracking"]
    return {**settings, "tracking": {**tracking, "uri": without_password(tracking["uri"])}}


def _defaults(settings: BaseModel) -> dict[str, Any]:
    """Return the defaults of a section's fields, and of the sections in it."""
    found: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found[name] = _defaults(value)
        elif not field.is_required():
            found[name] = field.get_default(call_default_factory=True)
    return found
