"""Optuna: the trials of a study, asked for and recorded. No other package imports Optuna."""

from poolstudy.search.attempts import late_runs
from poolstudy.search.history import StudyAttempt, StudyHistory, read_histories
from poolstudy.search.search import Search
from poolstudy.search.storage import OPTUNA_ERRORS, known
from poolstudy.spec.records import Attempt

__all__ = ["OPTUNA_ERRORS", "Attempt", "Search", "StudyAttempt", "StudyHistory", "known", "late_runs", "read_histories"]
