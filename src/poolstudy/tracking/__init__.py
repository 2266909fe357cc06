"""MLflow; no other package imports it. docs/tracking.md lists the tags, params, metrics and files of a run."""

from poolstudy.tracking.queries import attach as attach
from poolstudy.tracking.queries import check_writable as check_writable
from poolstudy.tracking.queries import count_runs as count_runs
from poolstudy.tracking.queries import dashboard_link as dashboard_link
from poolstudy.tracking.queries import find_run as find_run
from poolstudy.tracking.queries import latest_study as latest_study
from poolstudy.tracking.queries import reading_mlflow as reading_mlflow
from poolstudy.tracking.queries import run_link as run_link
from poolstudy.tracking.queries import study_run as study_run
from poolstudy.tracking.repair import RunRepair as RunRepair
from poolstudy.tracking.repair import every_run as every_run
from poolstudy.tracking.repair import move as move
from poolstudy.tracking.repair import moved as moved
from poolstudy.tracking.run import PICTURES as PICTURES
from poolstudy.tracking.run import STATUS as STATUS
from poolstudy.tracking.run import TRAINED_FILES as TRAINED_FILES
from poolstudy.tracking.run import FileName as FileName
from poolstudy.tracking.run import StoredRun as StoredRun
from poolstudy.tracking.store import MLFLOW_ERRORS as MLFLOW_ERRORS
from poolstudy.tracking.store import database_of as database_of
from poolstudy.tracking.store import is_own as is_own
from poolstudy.tracking.store import local_path as local_path
from poolstudy.tracking.store import resolved_uri as resolved_uri
from poolstudy.tracking.tracker import Tracker as Tracker
