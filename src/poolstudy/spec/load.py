"""Load a study's configuration with Hydra from conf/ and experiments/; every error is one line."""

import contextlib
import difflib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from poolstudy.errors import ConfigurationError, one_line
from poolstudy.spec.config import StudyConfig, TrackingSection
from poolstudy.spec.frozen import NAME
from poolstudy.spec.space import SearchSpace


def load_config(experiment: str, overrides: Sequence[str], root: Path) -> StudyConfig:
    """Return the configuration of an experiment, overrides applied.

    Args:
        experiment: the name of a folder of `root`/experiments, or the path of a YAML file.
        overrides: Hydra's grammar, `training.epochs=20` or `space=wide`.

    Raises:
        ConfigurationError: names the dotted path.
    """
    try:
        return StudyConfig.model_validate(_compose(_experiment_file(experiment, root), overrides, root))
    except ValidationError as error:
        raise _explain(error) from None


def load_tracking(root: Path) -> TrackingSection:
    """Return the settings of conf/tracking/local.yaml alone. Raises ConfigurationError if it cannot be read."""
    file = root / "conf" / "tracking" / "local.yaml"
    try:
        return TrackingSection.model_validate(OmegaConf.to_container(OmegaConf.load(file), resolve=True))
    except ValidationError as error:
        raise _explain(error) from None
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise _unreadable(file, error) from None


def _experiment_file(experiment: str, root: Path) -> Path:
    file = root / "experiments" / experiment / "experiment.yaml"
    if re.fullmatch(NAME, experiment) and file.is_file():
        return file
    with contextlib.suppress(OSError, ValueError):  # not a valid file name
        if experiment.endswith(".yaml") and Path(experiment).is_file():
            return Path(experiment).resolve()
    known = sorted(path.parent.name for path in root.glob("experiments/*/experiment.yaml"))
    expected = f"one of {', '.join(known)}, or the path of a YAML file"
    raise ConfigurationError(f"no experiment {experiment!r}", expected, "see the folder experiments/")


def _compose(file: Path, overrides: Sequence[str], root: Path) -> dict[str, Any]:
    for override in overrides:
        if override.lstrip("+~").startswith("hydra"):
            raise ConfigurationError(f"override {override!r}", "keys of the study", "leave Hydra's own alone")
    conf = str(root / "conf").replace("\\", "\\\\").replace("'", "\\'")
    searchpath = f"hydra.searchpath=['file://{conf}']"
    dimensions = [override for override in overrides if override.split("=")[0] in _DIMENSIONS]
    others = [override for override in overrides if override not in dimensions]
    try:
        with warnings.catch_warnings(), initialize_config_dir(str(file.parent), version_base="1.3"):
            warnings.simplefilter("ignore")  # Hydra's, about its older versions
            config = compose(file.stem, overrides=[searchpath, *others])
            composed = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            parsed = OverridesParser.create().parse_overrides(dimensions)
            replaced = {_DIMENSIONS[override.key_or_group]: _plain(override.value()) for override in parsed}
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain_hydra(error) from None
    except Exception as error:  # a syntax error from one of several YAML parsers
        raise _unreadable(file, error) from None
    if not isinstance(composed, dict):
        raise _unreadable(file, "it is not a mapping")
    if _is_huge(composed):
        raise _unreadable(file, f"a whole number of more than {_MAX_INT_BITS} bits")  # Python refuses to print them
    if isinstance(composed.get("space"), dict):
        composed["space"].update(replaced)
    return {str(key): value for key, value in composed.items()}


# Hydra would merge an override into the given value, but a range, say, can be replaced by choices.
_DIMENSIONS = {f"space.{name}": name for name in SearchSpace.model_fields}
_MAX_INT_BITS = 1024


def _is_huge(value: Any) -> bool:
    """Return whether a value is, or contains, a whole number of more than `_MAX_INT_BITS` bits."""
    if isinstance(value, Mapping | list):
        return any(map(_is_huge, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, int) and value.bit_length() > _MAX_INT_BITS


def _plain(value: Any) -> Any:
    """Return an override's value without Hydra's quotes."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _unreadable(file: Path, error: object) -> ConfigurationError:
    return ConfigurationError(f"{file} cannot be read ({one_line(error)})", "a study's YAML", "fix the file")


def _explain_hydra(error: Exception) -> ConfigurationError:
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(unknown[1])
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '[^']+':(.*?)Config", text, re.S):
        options = ", ".join(missing[2].split())
        return ConfigurationError(f"no {missing[1]}.yaml in conf/", f"one of {options}", "choose one of them")
    first = one_line(text.split("See https", maxsplit=1)[0])
    return ConfigurationError(first, "overrides such as training.epochs=20", "quote values with = or brackets")


def _unknown_key(key: str) -> ConfigurationError:
    if key in known_keys():
        chosen = f"a key of the chosen {key.split('.', maxsplit=1)[0]}"
        return ConfigurationError(f"{key} does not belong here", chosen, "leave it out, or choose another")
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    expected = f"{near[0]}, perhaps" if near else "a key of conf/"
    return ConfigurationError(f"unknown key {key}", expected, "see conf/ for what can be set")


def known_keys() -> list[str]:
    """Return every dotted key that a configuration may have, sections left out."""
    keys = set(_model_keys(StudyConfig))
    return sorted(key for key in keys if key and not any(other.startswith(f"{key}.") for other in keys))


def _model_keys(kind: Any, path: str = "") -> Iterator[str]:
    yield path
    for model in (kind, *getattr(kind, "__args__", ())):
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield from _model_keys(field.annotation, f"{path}.{name}".lstrip("."))


def _explain(error: ValidationError) -> ConfigurationError:
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
    given = "a mapping" if isinstance(detail["input"], Mapping) else repr(detail["input"])
    return ConfigurationError(f"{path}: {given}", expected, remedy)


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return the key as a user writes it, without the names that Pydantic gives to a union's members."""
    parts = ["sampler"] if location[:1] == ("trials",) else []  # validated early, to span the space
    for index, part in enumerate(map(str, location)):
        member = index == 1 and location[0] in {"data", "sampler", "pruner"}  # a union's: its `format` or `name`
        if not member and part != "constrained-int" and "[" not in part:
            parts.append(part)
    return ".".join(parts)


def find_root(start: Path) -> Path:
    """Return the project's folder, `start` or one above it. Raises ConfigurationError if there is none."""
    for folder in (start, *start.parents):
        if (folder / "conf").is_dir() and (folder / "experiments").is_dir():
            return folder
    found = f"no conf/ and experiments/ in {start} or above it"
    raise ConfigurationError(found, "a poolstudy project", "change to its folder")
