"""The ledger's second book: MLflow keeps every run. Nothing else here knows MLflow.

Names of tags, params, metrics and files are the public contract; see docs/tracking.md.
"""

from poolstudy.tracking.queries import (
    attach,
    check_writable,
    count_runs,
    dashboard_link,
    find_run,
    latest_study,
    reading_mlflow,
    run_link,
    study_run,
)
from poolstudy.tracking.repair import RunRepair, every_run, move, moved
from poolstudy.tracking.run import PICTURES, TRAINED_FILES, FileName, StoredRun
from poolstudy.tracking.store import MLFLOW_ERRORS, database_of, is_own, local_path, resolved_uri
from poolstudy.tracking.tracker import STATUS, TrackedRun, Tracker, params_of, tags_of

__all__ = [
    "MLFLOW_ERRORS",
    "PICTURES",
    "STATUS",
    "TRAINED_FILES",
    "FileName",
    "RunRepair",
    "StoredRun",
    "TrackedRun",
    "Tracker",
    "attach",
    "check_writable",
    "count_runs",
    "dashboard_link",
    "database_of",
    "every_run",
    "find_run",
    "is_own",
    "latest_study",
    "local_path",
    "move",
    "moved",
    "params_of",
    "reading_mlflow",
    "resolved_uri",
    "run_link",
    "study_run",
    "tags_of",
]
