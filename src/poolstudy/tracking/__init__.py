"""The ledger's second book: MLflow keeps every run. Nothing else here knows MLflow.

Names of tags, params, metrics and files are the public contract; see docs/tracking.md.
"""

from poolstudy.tracking.found import FoundRun
from poolstudy.tracking.reading import count, dashboard_link, find_run, latest_study, readable, run_link
from poolstudy.tracking.store import STORE_ERRORS, resolved_uri
from poolstudy.tracking.writing import STATUS, TrackedRun, Tracker

__all__ = [
    "STATUS",
    "STORE_ERRORS",
    "FoundRun",
    "TrackedRun",
    "Tracker",
    "count",
    "dashboard_link",
    "find_run",
    "latest_study",
    "readable",
    "resolved_uri",
    "run_link",
]
