"""From MLflow's runs to the entries of a comparison: what cannot be read is left out, and noted."""

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from poolstudy.data.loading import SearchData, digest, find_folder, load_search_data, scaled
from poolstudy.errors import ConfigurationError, DataError, StoreError, one_line
from poolstudy.network.forward import forward
from poolstudy.network.weights import saved_weights
from poolstudy.reports.runs.comparison import ComparedRun, Named, comparable, most_disputed
from poolstudy.spec.datasets import DigitsData, IdxData
from poolstudy.spec.records import DataIdentity, TrialSpec
from poolstudy.spec.space import Pooling
from poolstudy.tracking import StoredRun

T = TypeVar("T")
_SOURCE: TypeAdapter[IdxData | DigitsData] = TypeAdapter(IdxData | DigitsData)
_MACHINE: tuple[str, ...] = ("device", "threads", "processor")
_PACKAGES = ("tensorflow", "keras", "numpy")


def read_entry(run: StoredRun, folder: Path) -> ComparedRun:
    """All of a run but its network.

    Args:
        folder: an empty one of its own, for its files.
    """
    notes: list[str] = []

    def tried(what: Callable[[], T | None]) -> T | None:
        try:
            return what()
        except StoreError as error:
            notes.append(str(error))
            return None

    spec = tried(run.spec)
    environment = _environment(tried(lambda: run.text("environment.json")))
    diagram = tried(lambda: run.read("diagram.png", folder))
    entry = ComparedRun(
        run_id=run.run_id,
        name=run.name,
        study=run.study,
        standing=run.standing,
        kind=spec.hyperparameters.kind if spec else "",
        title=f"{spec.hyperparameters.widths} filters · dropout {spec.hyperparameters.dropout:g}" if spec else "",
        pooling=spec.hyperparameters.pooling if spec else _pooling(run),
        data=spec.data if spec else None,
        settings={**_settings(run, spec), **_surroundings(environment)},
        metrics=run.metrics,
        history=tried(run.history) or run.logged_epochs(),
        untrained=_arrays(tried(lambda: run.read("untrained.npz", folder)), notes),
        probabilities=_arrays(tried(lambda: run.read("validation.npz", folder)), notes).get("probabilities"),
        diagram=diagram.read_bytes() if diagram else None,
    )
    return replace(entry, notes=(*_told(run, entry), *notes))


def _told(run: StoredRun, entry: ComparedRun) -> Iterator[str]:
    """Why a run lacks what others have."""
    if run.state != "complete":
        reason = run.tags.get("poolstudy.reason")
        yield run.standing + (f": {reason}" if reason else "")
    if not run.files:
        yield "its files are gone: only what MLflow's database has of it is here"
    elif entry.probabilities is None and run.state == "complete":
        yield "it has no validation.npz: its answers are not known"
    if reason := run.tags.get("poolstudy.pictures"):
        yield reason


def _environment(text: str | None) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pooling(run: StoredRun) -> Pooling | None:
    known: dict[str, Pooling] = {"average": "average", "max": "max"}
    return known.get(run.params.get("pooling", ""))


def _settings(run: StoredRun, spec: TrialSpec | None) -> dict[str, str]:
    settings = dict(run.params)
    seed = settings.pop("seed", "")
    if spec:
        data, training = spec.data, spec.training
        settings["dense_units"], settings["deterministic"] = str(training.dense_units), str(training.deterministic)
        settings["data"] = f"{data.name} {' × '.join(map(str, data.image_shape))}"
        settings["training images"], settings["validation images"] = (
            f"{data.train_images:,}",
            f"{data.validation_images:,}",
        )
        settings["data digest"] = data.digest[:12]
    return {**settings, "seed": seed, "study": run.study}


def _surroundings(environment: dict[str, object]) -> dict[str, str]:
    found: dict[str, str] = {name: str(environment[name]) for name in _MACHINE if name in environment}
    packages, code = environment.get("packages"), environment.get("code")
    if isinstance(packages, dict):
        found |= {name: str(packages[name]) for name in _PACKAGES if name in packages}
    if isinstance(code, dict) and code.get("source_digest"):
        found["code"] = str(code["source_digest"])[:12]
    return found


def _arrays(path: Path | None, notes: list[str]) -> Named:
    if path is None:
        return {}
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        notes.append(f"{path.name} is damaged ({one_line(error)})")
        return {}


# The data


def find_data(runs: Sequence[StoredRun], entries: Sequence[ComparedRun], root: Path) -> tuple[SearchData | None, str]:
    """The data whose validation images the runs that can be compared answered to; else None, and why.

    They are looked for in the cache of studies, then where the run found them; nothing is downloaded.
    """
    indices = comparable(entries)
    identity = entries[indices[0]].data if indices else None
    if identity is None:
        return None, "no run has answers to validation images"
    data = _cached(root, identity) or _loaded(runs[indices[0]], root)
    if data is None or not _same(data, identity):
        return None, f"the images of {identity.name} ({identity.digest[:12]}) are not on this machine"
    return data, ""


def _cached(root: Path, identity: DataIdentity) -> SearchData | None:
    try:
        return SearchData.open(root / "mlruns" / "cache" / identity.digest[:16])
    except (OSError, ValueError, ValidationError):
        return None


def _loaded(run: StoredRun, root: Path) -> SearchData | None:
    try:
        source = _SOURCE.validate_python(_environment(run.text("environment.json")).get("data_source"))
        if source.format == "idx" and find_folder(source, root) is None:
            return None
        return load_search_data(source, root)
    except (StoreError, DataError, ConfigurationError, ValidationError):
        return None


def _same(data: SearchData, identity: DataIdentity) -> bool:
    found = {"validation_images": digest(data.validation_images), "validation_labels": digest(data.validation_labels)}
    return all(identity.parts.get(name) == value for name, value in found.items())


def note_incomparable(entries: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The entries, with a note where the answers of one cannot be compared with the others', image by image."""
    peers = comparable(entries)

    def told(index: int, entry: ComparedRun) -> ComparedRun:
        if index in peers or entry.probabilities is None:
            return entry
        leader = entries[peers[0]]
        same = entry.images == leader.images
        why = "has answers of another shape than" if same else "validated on other images than"
        return replace(entry, notes=(*entry.notes, f"{why} {leader.name}: not compared image by image"))

    return [told(index, entry) for index, entry in enumerate(entries)]


# The networks


def examples_of(entries: Sequence[ComparedRun], example: int) -> list[int]:
    """Which validation images are shown to the networks: the usual one, and the one they disagree on most."""
    predictions = [entries[index].probabilities for index in comparable(entries)]
    known = [one for one in predictions if one is not None]
    if not known:
        return []
    return list(dict.fromkeys([min(example, len(known[0]) - 1), *most_disputed(known, 1)]))


def with_network(
    entry: ComparedRun, run: StoredRun, folder: Path, data: SearchData | None, examples: Sequence[int]
) -> ComparedRun:
    """The entry with its trained weights, and what its layers make of the examples, where the data fit it."""
    try:
        path = run.read("model.keras", folder)
        if path is None:
            return entry
        trained, spec = saved_weights(path), run.spec()
        path.unlink()
    except (StoreError, ValueError) as error:
        return replace(entry, notes=(*entry.notes, f"model.keras cannot be read ({one_line(error)})"))
    maps = {}
    if data and spec and spec.data.image_shape == data.identity.image_shape:
        network = spec.hyperparameters
        maps = {
            image: forward(trained, network.pooling, network.pool_size, scaled(data.validation_images[image]))
            for image in examples
        }
    return replace(entry, trained=trained, maps=maps)
