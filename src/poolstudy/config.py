"""What was asked for: composed by Hydra from conf/ and experiments/, validated once, then frozen."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, Field, ValidationError, model_validator

from poolstudy.errors import ConfigurationError
from poolstudy.records import TrainingSettings
from poolstudy.sources import DigitsData, IdxData, Name
from poolstudy.space import Choices, Frozen, HyperParameters, SearchSpace, Value, check_geometry

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
        retries: how often a slot whose process died is tried again.
        trial_timeout: seconds after which a trial counts as hung.
        max_failures_in_a_row: that many failed slots, one after the other, end the study.
    """

    engine: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    threads_per_worker: Annotated[int, Field(ge=1, le=1024)] = 1
    workers_per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    require_gpu: bool = False
    retries: Natural = 2
    trial_timeout: Seconds | None = None
    max_failures_in_a_row: Positive = 5


class TrackingSection(Frozen):
    """Attributes: `uri` of MLflow's store; `artifacts` folder of SQLite stores; `diagram_dpi`."""

    uri: Annotated[str, Field(min_length=1)] = "sqlite:///mlruns/mlflow.db"
    artifacts: Annotated[str, Field(min_length=1)] = "mlruns/artifacts"
    diagram_dpi: Annotated[int, Field(ge=20, le=600)] = 96


class StudyConfig(Frozen):
    """A whole study. Raises pydantic.ValidationError where it cannot be run."""

    study: StudySection
    data: Annotated[IdxData | DigitsData, Field(discriminator="format")]
    space: SearchSpace
    training: TrainingSection
    sampler: Annotated[TpeSampler | RandomSampler | GridSampler | ListSampler, Field(discriminator="name")]
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
                if isinstance(trials, list) and all(isinstance(trial, dict) for trial in trials):
                    trials = [fixed | trial for trial in trials]
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
        if self.sampler.name == "grid" and self.space.size() is None:
            raise ValueError("sampler.name=grid needs a finite space: give every range a step")
        return self

    def fingerprint(self) -> dict[str, Value]:
        """Every setting that makes the study what it is, by dotted key.

        Where the data lie and how the trials are run may change from start to start.
        """
        free = {"study": {"trials", "timeout", "name"}, "data": {"path", "search", "mirrors"}}
        kept = self.model_dump(mode="json", exclude={**free, "execution": True, "tracking": True})
        return dict(_leaves(kept))


def _spanned(trials: Sequence[HyperParameters]) -> dict[str, Any]:
    columns = [trial.flat() for trial in trials]
    choices = {name: list(dict.fromkeys(row[name] for row in columns)) for name in columns[0]}
    filters = [choices.pop(name) for name in list(choices) if name.startswith("filters_")]
    return {**choices, "filters": filters}


def _pool_sizes(space: SearchSpace) -> Sequence[int]:
    dimension = space.pool_size
    values = dimension.choices if isinstance(dimension, Choices) else (dimension.low, dimension.high)
    return [int(value) for value in values]


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def load_config(experiment: str, overrides: Sequence[str], root: Path) -> StudyConfig:
    """The configuration of an experiment, overrides applied.

    Args:
        experiment: the name of a folder of `root`/experiments, or the path of a YAML file.
        overrides: Hydra's grammar, `training.epochs=20` or `space=wide`.
        root: the project's folder, which holds conf/.

    Raises:
        ConfigurationError: with the dotted path, before anything has started.
    """
    composed = _composed(_experiment_file(experiment, root), overrides, root)
    try:
        return StudyConfig.model_validate(composed)
    except ValidationError as error:
        raise _explained(error) from None


def load_tracking(root: Path) -> TrackingSection:
    """conf/tracking/local.yaml alone: where the studies of this project are tracked.

    Raises:
        ConfigurationError: it cannot be read.
    """
    file = root / "conf" / "tracking" / "local.yaml"
    try:
        return TrackingSection.model_validate(OmegaConf.to_container(OmegaConf.load(file), resolve=True))
    except ValidationError as error:
        raise _explained(error) from None
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise _unreadable(file, error) from None


def _experiment_file(experiment: str, root: Path) -> Path:
    named = root / "experiments" / experiment / "experiment.yaml"
    if re.fullmatch(r"[\w.-]+", experiment) and named.is_file():
        return named
    if experiment.endswith((".yaml", ".yml")) and Path(experiment).is_file():
        return Path(experiment).resolve()
    known = sorted(path.parent.name for path in root.glob("experiments/*/experiment.yaml"))
    raise ConfigurationError(
        f"no experiment {experiment!r}",
        f"one of {', '.join(known)}, or the path of a YAML file",
        "see the folder experiments/",
    )


def _composed(file: Path, overrides: Sequence[str], root: Path) -> dict[str, Any]:
    for override in overrides:
        if override.lstrip("+~").startswith("hydra"):
            raise ConfigurationError(f"override {override!r}", "keys of the study", "leave Hydra's own alone")
    conf = str(root / "conf").replace("\\", "\\\\").replace("'", "\\'")
    searchpath = f"hydra.searchpath=['file://{conf}']"
    try:
        with initialize_config_dir(str(file.parent), version_base="1.3"):
            config = compose(file.stem, overrides=[searchpath, *overrides])
            composed = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _hydra_explained(error) from None
    except Exception as error:  # a YAML file's syntax error, from one of several parsers
        raise _unreadable(file, error) from None
    if not isinstance(composed, dict):
        raise _unreadable(file, "it is no mapping")
    return {str(key): value for key, value in composed.items()}


def _unreadable(file: Path, error: object) -> ConfigurationError:
    reason = " ".join(str(error).split())
    return ConfigurationError(f"{file} cannot be read ({reason})", "a study's YAML", "mend the file")


def _hydra_explained(error: Exception) -> ConfigurationError:
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(unknown[1])
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '[^']+':(.*?)Config", text, re.S):
        options = ", ".join(missing[2].split())
        return ConfigurationError(f"no {missing[1]}.yaml in conf/", f"one of {options}", "choose one of them")
    first = " ".join(text.split("See https", maxsplit=1)[0].split())
    return ConfigurationError(first, "overrides such as training.epochs=20", "quote values with = or brackets")


def _unknown_key(key: str) -> ConfigurationError:
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    expected = f"{near[0]}, perhaps" if near else "a key of conf/"
    return ConfigurationError(f"unknown key {key}", expected, "see conf/ for what can be set")


def known_keys() -> list[str]:
    """Every dotted key that some configuration may have, sections left out."""
    keys = set(_model_keys(StudyConfig))
    return sorted(key for key in keys if key and not any(other.startswith(f"{key}.") for other in keys))


def _model_keys(kind: Any, path: str = "") -> Iterator[str]:
    yield path
    members = [kind, *getattr(kind, "__args__", ())]
    for model in members:
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield from _model_keys(field.annotation, f"{path}.{name}".lstrip("."))


def _explained(error: ValidationError) -> ConfigurationError:
    detail = error.errors()[0]
    path = _dotted(detail["loc"])
    remedy = "change it in the experiment or on the command line"
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path)
        case "missing":
            return ConfigurationError(f"no value for {path}", "one", remedy)
        case "value_error":
            message = f"{path}: {detail['ctx']['error']}".removeprefix(": ")
            return ConfigurationError(message, "settings that fit together", remedy)
        case "too_short":
            expected = f"at least {detail['ctx']['min_length']} of them"
        case "string_pattern_mismatch":
            expected = f"text that matches {detail['ctx']['pattern']}"
        case _:
            expected = detail["msg"].removeprefix("Input should be ")
    came = "a mapping" if isinstance(detail["input"], Mapping) else repr(detail["input"])
    return ConfigurationError(f"{path}: {came}", expected, remedy)


def _dotted(location: tuple[int | str, ...]) -> str:
    """The key as a user writes it: without the names that Pydantic gives to a union's members."""
    parts = ["sampler"] if location[:1] == ("trials",) else []  # read ahead, to span the space
    for part in map(str, location):
        member = len(parts) == 1 and parts[0] in {"data", "sampler", "pruner"} and part in _TAGS
        if not member and part != "constrained-int" and "[" not in part:
            parts.append(part)
    return ".".join(parts)


_TAGS = {"idx", "digits", "tpe", "random", "grid", "list", "median", "hyperband", "none"}


def find_root(start: Path) -> Path:
    """The project's folder: the nearest one, from `start` upwards, with conf/ and experiments/.

    Raises:
        ConfigurationError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "conf").is_dir() and (folder / "experiments").is_dir():
            return folder
    raise ConfigurationError(
        f"no conf/ and experiments/ in {start} or above it", "a poolstudy project", "change to its folder"
    )
