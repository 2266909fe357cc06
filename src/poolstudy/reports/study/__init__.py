"""Report on a study: an HTML page with rankings, importances, times and Optuna's own plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolstudy.spec.load import load_tracking
from poolstudy.system import logs
from poolstudy.system.files import replacing, writing_to
from poolstudy.tracking import attach, check_writable, reading_mlflow, resolved_uri, study_run


@dataclass(frozen=True)
class Reported:
    """Written files: the page, the table of trials and the plots as PNG; and the run that has them too."""

    page: Path
    table: Path
    pictures: Sequence[Path]
    run_id: str


def report(name: str | None, root: Path) -> Reported:
    """Write a study's report to mlruns/reports/<study>/ and, as report/, to the study's own run.

    Args:
        name: the study's; None for the latest one.
        root: the project's folder.

    Raises:
        StoreError: the study does not exist, or a store or folder cannot be read or written.
    """
    tracking = load_tracking(root)
    uri = resolved_uri(tracking.uri, root)
    study = study_run(uri, name)
    check_writable(study, uri, tracking.artifacts, root)
    log = root / "mlruns" / "logs" / "report.log"
    with logs.redirect_output(log), reading_mlflow(uri):
        from poolstudy.reports.study.page import plot_settings, report_page
        from poolstudy.reports.study.summary import StudySummary
        from poolstudy.search.history import read_history
        from poolstudy.search.plots import plots

        logs.redirect_logging(log)
        history = read_history(root / "mlruns" / "optuna.db", study.study)
        summary = StudySummary(study, history, {run.run_id: run for run in study.trials()})
        drawn = list(plots(history, *plot_settings(summary)))
        folder = root / "mlruns" / "reports" / study.study
        with writing_to(folder):
            pictures = [_write(folder / f"{plot.name}.png", plot.png) for plot in drawn]
            table = _write(folder / "trials.csv", history.frame().to_csv(index=False).encode())
            page = _write(folder / "report.html", report_page(summary, drawn).encode())
    attach(study, [table])
    attach(study, [page, *pictures], "report")
    return Reported(page, table, pictures, study.run_id)


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as part:
        part.write_bytes(content)
    return path
