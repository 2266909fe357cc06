"""How much of a study's variation each dimension accounts for, by two evaluators of Optuna's."""

import warnings

from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

from poolstudy.search.history import StudyHistory

_SEED = 0  # of fANOVA's forest: the same study has the same importance


def importances(history: StudyHistory) -> dict[str, dict[str, float]]:
    """By evaluator's name how much of the objective's variation each dimension accounts for, the first most.

    A configuration counts once, however often it was asked for. Nothing where fewer than two trials are complete, or
    all reached the same.
    """
    if len({one.value for one in history.ranked()}) < 2:
        return {}
    evaluators = {"PED-ANOVA": PedAnovaImportanceEvaluator(), "fANOVA": FanovaImportanceEvaluator(seed=_SEED)}
    found = {}
    for name, evaluator in evaluators.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = get_param_importances(history.study_of_attempts, evaluator=evaluator)
        except (ValueError, RuntimeError):  # too few trials, or nothing that varies
            continue
    return {name: one for name, one in found.items() if any(one.values())}
