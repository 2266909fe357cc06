"""From MLflow's runs to the entries of a comparison: what cannot be read is left out, with a note."""

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
from poolstudy.network.forward import maps_of
from poolstudy.network.weights import saved_weights
from poolstudy.reports.runs.comparison import ComparedRun, Named, comparable, most_disputed
from poolstudy.spec.datasets import DataSettings
from poolstudy.spec.records import DataIdentity, TrialSpec
from poolstudy.spec.space import Pooling
from poolstudy.tracking import StoredRun

T = TypeVar("T")
_SOURCE: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)
_MACHINE: tuple[str, ...] = ("device", "threads", "processor")
_PACKAGES = ("tensorflow", "keras", "numpy")
_POOLING: dict[str | None, Pooling] = {"average": "average", "max": "max"}


def read_entry(run: StoredRun, folder: Path) -> ComparedRun:
    """Return all of a run but its network; its files go to `folder`, an empty one of its own."""
    notes: list[str] = []

    def tried(read: Callable[[], T | None]) -> T | None:
        try:
            return read()
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
        title=spec.hyperparameters.details if spec else "",
        pooling=spec.hyperparameters.pooling if spec else _POOLING.get(run.params.get("pooling")),
        data=spec.data if spec else None,
        settings={**_settings(run, spec), **_machine(environment)},
        metrics=run.metrics,
        history=tried(run.history) or run.logged_epochs(),
        untrained=_arrays(tried(lambda: run.read("untrained.npz", folder)), notes),
        probabilities=_arrays(tried(lambda: run.read("validation.npz", folder)), notes).get("probabilities"),
        diagram=diagram.read_bytes() if diagram else None,
    )
    return replace(entry, notes=(*_missing(run, entry), *notes))


def _missing(run: StoredRun, entry: ComparedRun) -> Iterator[str]:
    """Yield why a run has less than others."""
    if run.state != "complete":
        reason = run.tags.get("poolstudy.reason")
        yield run.standing + (f": {reason}" if reason else "")
    if not run.files:
        yield "its files are gone: only MLflow's database still has the run"
    elif entry.probabilities is None and run.state == "complete":
        yield "it has no validation.npz: its predictions are not known"
    if reason := run.tags.get("poolstudy.pictures"):
        yield reason


def _environment(text: str | None) -> dict[str, object]:
    try:
        environment = json.loads(text or "{}")
    except ValueError:
        return {}
    return environment if isinstance(environment, dict) else {}


def _settings(run: StoredRun, spec: TrialSpec | None) -> dict[str, str]:
    settings = dict(run.params)
    seed = settings.pop("seed", "")
    if spec:
        data, training = spec.data, spec.training
        usual = {"dense_units": training.dense_units, "deterministic": training.deterministic}
        # From the spec, not the params: what an older run does not have means its default.
        settings |= {name: str(value) for name, value in (usual | spec.hyperparameters.flat()).items()}
        settings |= {
            "data": f"{data.name} {' × '.join(map(str, data.image_shape))}",
            "training images": f"{data.train_images:,}",
            "validation images": f"{data.validation_images:,}",
            "data digest": data.digest[:12],
        }
    return {**settings, "seed": seed, "study": run.study}


def _machine(environment: dict[str, object]) -> dict[str, str]:
    settings = {name: str(environment[name]) for name in _MACHINE if name in environment}
    packages, code = environment.get("packages"), environment.get("code")
    if isinstance(packages, dict):
        settings |= {name: str(packages[name]) for name in _PACKAGES if name in packages}
    if isinstance(code, dict) and code.get("source_digest"):
        settings["code"] = str(code["source_digest"])[:12]
    return settings


def _arrays(path: Path | None, notes: list[str]) -> Named:
    if path is None:
        return {}
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        notes.append(f"{path.name} is damaged ({one_line(error)})")
        return {}


def find_data(runs: Sequence[StoredRun], entries: Sequence[ComparedRun], root: Path) -> tuple[SearchData | None, str]:
    """Return the data with the validation images of the runs that can be compared; else None, and why.

    Look in the cache of studies, then where the run found them; download nothing.
    """
    indices = comparable(entries)
    identity = entries[indices[0]].data if indices else None
    if identity is None:
        return None, "no run has predictions of validation images"
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
    digests = {"validation_images": digest(data.validation_images), "validation_labels": digest(data.validation_labels)}
    return all(identity.parts.get(name) == value for name, value in digests.items())


def note_incomparable(entries: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Return the entries, with a note on each whose predictions cannot be compared image by image."""
    peers = comparable(entries)
    noted = list(entries)
    for index, entry in enumerate(entries):
        if index not in peers and entry.probabilities is not None:
            leader = entries[peers[0]]
            same = entry.images == leader.images
            why = "has predictions of another shape than" if same else "validated on other images than"
            note = f"{why} {leader.name}: not compared image by image"
            noted[index] = replace(entry, notes=(*entry.notes, note))
    return noted


def examples_of(entries: Sequence[ComparedRun], example: int) -> list[int]:
    """Return the validation images whose feature maps are shown: the usual one, and the most disputed one."""
    predictions = [entries[index].probabilities for index in comparable(entries)]
    known = [probabilities for probabilities in predictions if probabilities is not None]
    if not known:
        return []
    return list(dict.fromkeys([min(example, len(known[0]) - 1), *most_disputed(known, 1)]))


def with_network(
    entry: ComparedRun, run: StoredRun, folder: Path, data: SearchData | None, examples: Sequence[int]
) -> ComparedRun:
    """Return the entry with its trained weights, and its maps of the examples where the data fit it."""
    try:
        path, spec = run.read("model.keras", folder), run.spec()
        if path is None or spec is None:
            return entry
        trained = saved_weights(path, spec.layers)
        path.unlink()
    except (StoreError, ValueError) as error:
        return replace(entry, notes=(*entry.notes, f"model.keras cannot be read ({one_line(error)})"))
    maps = {}
    if data and spec.data.image_shape == data.identity.image_shape:
        maps = {image: maps_of(spec.layers, trained, scaled(data.validation_images[image])) for image in examples}
    return replace(entry, trained=trained, maps=maps)
