"""The ledger's second book: MLflow keeps every run. Nothing else here knows MLflow.

Names of tags, params, metrics and files are the public contract; see docs/tracking.md.
"""

from poolstudy.tracking.queries import (
    attach,
    check_writable,
    count,
    dashboard_link,
    find_run,
    latest_study,
    readable,
    run_link,
    study_run,
)
from poolstudy.tracking.repair import Mender, every_run, move, moved
from poolstudy.tracking.run import PICTURES, TRAINED_FILES, FileName, FoundRun
from poolstudy.tracking.store import STORE_ERRORS, database_of, is_own, place, resolved_uri
from poolstudy.tracking.tracker import STATUS, TrackedRun, Tracker, params_of, tags_of

__all__ = [
    "PICTURES",
    "STATUS",
    "STORE_ERRORS",
    "TRAINED_FILES",
    "FileName",
    "FoundRun",
    "Mender",
    "TrackedRun",
    "Tracker",
    "attach",
    "check_writable",
    "count",
    "dashboard_link",
    "database_of",
    "every_run",
    "find_run",
    "is_own",
    "latest_study",
    "move",
    "moved",
    "params_of",
    "place",
    "readable",
    "resolved_uri",
    "run_link",
    "study_run",
    "tags_of",
]
