"""The disk: the images, the two databases, space for the trials."""

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from poolstudy.checks.finding import Finding, some
from poolstudy.data.loading import find_folder, load_search_data
from poolstudy.errors import DataError, StoreError, one_line, without_password
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.datasets import DataSettings, IdxData
from poolstudy.study.startup_estimate import trial_bytes
from poolstudy.system.formats import size

_LOW = 2e9  # bytes
_NOT_YET = "is not made yet: the first study makes it"


def data(section: DataSettings, root: Path) -> Finding:
    """Check that the images are here and right, with every check of a study's start.

    Raises:
        ConfigurationError: they do not fit the settings.
    """
    where = ", part of scikit-learn"
    try:
        if section.format == "idx":
            folder = find_folder(section, root)
            if folder is None:
                return _not_here(section)
            where = f" in {folder}, checksums right"
        identity = load_search_data(section, root).identity
    except DataError as error:
        return Finding("error", "data", str(error))
    images = f"{identity.train_images:,} training and {identity.validation_images:,} validation images"
    return Finding("ok", "data", f"{identity.name}{where}: {images}")


def _not_here(section: IdxData) -> Finding:
    remedy = f"put {section.images.file} and {section.labels.file} into {(*section.search, 'data.path')[0]}"
    found = f"{section.name} is not in {', '.join(section.search) or 'data.path'}"
    if not section.mirrors:
        return Finding("error", "data", found, remedy)
    found += f": would be downloaded from {section.mirrors[0]}"
    return Finding("warning", "data", found, f"without a network: {remedy}")


def tracking_store(uri: str, root: Path) -> Finding:
    """Check that MLflow's store answers."""
    from poolstudy.tracking import count_runs, database_of, resolved_uri

    try:
        uri = resolved_uri(uri, root)
        database = database_of(uri)
        where = str(database or without_password(uri))
        if uri.startswith(("http://", "https://")):
            return _server(uri, where)
        if database and not database.exists():
            return Finding("ok", "MLflow", f"{where} {_NOT_YET}")
        studies, runs = count_runs(uri)
    except StoreError as error:
        return Finding("error", "MLflow", str(error))
    return Finding("ok", "MLflow", f"{where}: {some(studies, 'study', 'studies')}, {some(runs, 'other run')}")


def _server(uri: str, where: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5):
            return Finding("ok", "MLflow", f"{where} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        found = f"{where} does not answer ({one_line(error)})"
        return Finding("error", "MLflow", found, "start it, or unset MLFLOW_TRACKING_URI")


def optuna_store(database: Path) -> Finding:
    """Check that Optuna's database can be read."""
    if not database.exists():
        return Finding("ok", "Optuna", f"{database} {_NOT_YET}")
    from poolstudy.search.storage import count_trials

    try:
        studies, trials = count_trials(database)
    except StoreError as error:
        return Finding("error", "Optuna", str(error))
    return Finding("ok", "Optuna", f"{database}: {some(studies, 'study', 'studies')}, {some(trials, 'trial')}")


def disk_space(folder: Path, config: StudyConfig) -> Finding:
    """Check that the disk has space for a study's trials, and that the folder can be written."""
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("error", "disk", f"{folder} cannot be written", "fix its permissions")
    trials = config.study.trials
    free, need = shutil.disk_usage(folder).free, trials * trial_bytes(config)
    takes = f"{some(trials, 'trial takes', 'trials take')} up to {size(need)}"
    found = f"{free / 1e9:.1f} GB free at {folder}; {takes}"
    if free < max(need, _LOW):
        return Finding("warning", "disk", found, "free space, or lower study.trials")
    return Finding("ok", "disk", found)
