"""Runs side by side: one page that loads nothing from the network, and the same as a picture."""

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolstudy.errors import ConfigurationError, RunNotFound, StoreError
from poolstudy.reports.runs.comparison import Comparison
from poolstudy.spec.load import load_tracking
from poolstudy.system import logs
from poolstudy.system.files import replacing, writing_to
from poolstudy.tracking import StoredRun, attach, check_writable, find_run, reading_mlflow, resolved_uri, study_run

MOST_RUNS = 50
BEST_RUNS = 5
"""The number of runs that are compared where none are named."""


@dataclass(frozen=True)
class Compared:
    """The files of a comparison, the run that has them as artifacts, and notes for the user."""

    page: Path
    picture: Path
    run_id: str
    notes: tuple[str, ...]


def compare(which: Sequence[str], root: Path) -> Compared:
    """Compare runs; write the page and the picture to mlruns/comparisons/, and to the run of the first one's study.

    If that study was never run here (a reproduction of a best.json), they go to the first run itself.

    Args:
        which: runs, as `find_run` takes them; the others are compared with the first. Empty: the best five of the
            latest study.
        root: the project's folder.

    Raises:
        RunNotFound: one does not exist, or is no run of a network.
        ConfigurationError: fewer than two runs, or more than fifty.
        StoreError: a store or folder cannot be read or written.
    """
    tracking = load_tracking(root)
    uri = resolved_uri(tracking.uri, root)
    runs, notes = _runs(uri, which)
    keeper = _keeper(uri, runs[0])
    check_writable(keeper, uri, tracking.artifacts, root)
    log = root / "mlruns" / "logs" / "compare.log"
    with logs.redirect_output(log), reading_mlflow(uri), tempfile.TemporaryDirectory() as folder:
        logs.redirect_logging(log)
        comparison = _read(runs, notes, root, Path(folder))
        paths = _write(comparison, root / "mlruns" / "comparisons", _name(runs))
    attach(keeper, paths, "compare")
    return Compared(*paths, keeper.run_id, tuple(notes))


def _keeper(uri: str, first: StoredRun) -> StoredRun:
    try:
        return study_run(uri, first.study)
    except StoreError:  # the study has no run of its own; if it is the store that fails, `attach` raises too
        return first


def _runs(uri: str, which: Sequence[str]) -> tuple[list[StoredRun], list[str]]:
    if which:
        named = [find_run(uri, text) for text in which]
    else:
        study = study_run(uri)
        with reading_mlflow(uri):
            named = study.ranked()[:BEST_RUNS]
    runs = list({run.run_id: run for run in named}.values())
    for run in runs:
        if run.kind not in ("trial", "reproduction"):
            raise RunNotFound(
                f"run {run.run_id} is a {run.kind}", "runs of one network each", "name its trials instead"
            )
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ConfigurationError(
            f"{len(runs)} run{'' if len(runs) == 1 else 's'} to compare",
            f"2 to {MOST_RUNS} different ones",
            "name others: poolstudy compare ID ID …",
        )
    twice = len(named) - len(runs)
    return runs, [f"{twice} of the runs named were named before: each is shown once"] if twice else []


def _read(runs: Sequence[StoredRun], notes: list[str], root: Path, folder: Path) -> Comparison:
    from poolstudy.reports.runs import reading

    figures = load_tracking(root).figures
    folders = [folder / run.run_id for run in runs]
    for own in folders:
        own.mkdir()
    entries = [reading.read_entry(run, own) for run, own in zip(runs, folders, strict=True)]
    data, why = reading.find_data(runs, entries, root)
    if why:
        notes.append(f"{why}: confusion matrices, feature maps and images are left out")
    examples = reading.examples_of(entries, figures.example_image)
    return Comparison(
        entries=tuple(
            reading.with_network(entry, run, own, data, examples)
            for entry, run, own in zip(reading.note_incomparable(entries), runs, folders, strict=True)
        ),
        images=data.validation_images if data else None,
        labels=data.validation_labels if data else None,
        class_names=data.identity.class_names if data else (),
        examples=tuple(examples) if data else (),
        kernel_limit=figures.kernel_limit,
        notes=tuple(notes),
    )


def _write(comparison: Comparison, folder: Path, name: str) -> tuple[Path, Path]:
    from poolstudy.reports.runs.page import comparison_page
    from poolstudy.reports.runs.rows import sections
    from poolstudy.reports.runs.sheet import save_sheet

    shown = sections(comparison)
    page, picture = folder / f"{name}.html", folder / f"{name}.png"
    with writing_to(folder):
        with replacing(page) as part:
            part.write_text(comparison_page(comparison, shown), encoding="utf-8")
        with replacing(picture) as part:
            save_sheet(comparison, shown, part)
    return page, picture


def _name(runs: Sequence[StoredRun]) -> str:
    """Return a name that depends on the runs and their order; a study's name in someone else's store is no path."""
    study = re.sub(r"[^A-Za-z0-9._-]", "_", runs[0].study)[:80]
    content = hashlib.sha256("".join(run.run_id for run in runs).encode()).hexdigest()
    return f"{study}-{len(runs)}-runs-{content[:8]}"
