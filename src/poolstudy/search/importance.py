"""Importance of each dimension of a study, by two of Optuna's evaluators."""

import warnings

from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

from poolstudy.search.history import StudyHistory

_SEED = 0  # of fANOVA's random forest


def importances(history: StudyHistory) -> dict[str, dict[str, float]]:
    """Return, by evaluator, each dimension's share of the objective's variation, the largest first.

    Duplicates are left out. Empty if fewer than two trials are complete, or all have the same objective.
    """
    if len({trial.value for trial in history.ranked()}) < 2:
        return {}
    evaluators = {"PED-ANOVA": PedAnovaImportanceEvaluator(), "fANOVA": FanovaImportanceEvaluator(seed=_SEED)}
    shares = {}
    for name, evaluator in evaluators.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shares[name] = get_param_importances(history.study_of_attempts, evaluator=evaluator)
        except (ValueError, RuntimeError):  # too few trials, or none that differ
            continue
    return {name: share for name, share in shares.items() if any(share.values())}
