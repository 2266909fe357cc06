"""The command doctor: checks that Optuna's database, MLflow's and the files of every study agree, and fixes them.

Optuna's database is the authority. A study that a process works on is left alone, and so is what other projects
may have put into a store that they share with this one. Nothing that has ended is ever deleted.
"""

from poolstudy.checks.doctor.doctor import examine

__all__ = ["examine"]
