"""Values that a study's next configuration must have; its sampler chooses the others."""

import random
from collections.abc import Collection

from poolstudy.spec.config import StudyConfig
from poolstudy.spec.dimensions import Value
from poolstudy.spec.records import draw_seed
from poolstudy.spec.space import HyperParameters

_DUPLICATES_IN_A_ROW = 10  # then an unseen configuration is chosen at random


def planned_order(config: StudyConfig) -> list[dict[str, Value]] | None:
    """Return every configuration in order, or None if the sampler is neither `list` nor `grid`."""
    if config.sampler.name == "list":
        return [config.space.project(trial) for trial in config.sampler.trials]
    return _shuffled(config, config.study.seed) if config.sampler.name == "grid" else None


def required_values(
    config: StudyConfig,
    order: list[dict[str, Value]] | None,
    seen: Collection[HyperParameters],
    asks: int,
    duplicates: int,
) -> dict[str, Value] | None:
    """Return the values that the next configuration must have; {} if the sampler chooses all; None at the end.

    Args:
        order: as `planned_order` returned it.
        seen: the configurations asked for so far.
        asks: how often the study has asked for one, duplicates included.
        duplicates: the duplicates since the last new configuration.
    """
    if order is not None:
        return _first_unseen(config, order, seen)
    size = config.space.size()
    if size is not None and len(seen) >= size:
        return None
    if size is not None and duplicates >= _DUPLICATES_IN_A_ROW:
        return _first_unseen(config, _shuffled(config, draw_seed(config.study.seed, asks)), seen)
    if config.sampler.name == "tpe" and asks < config.sampler.n_startup_trials:
        # The random start takes the poolings in turn, so that the comparison of the two is fair.
        choices = config.space.pooling.choices
        return {"pooling": choices[asks % len(choices)]}
    return {}


def _shuffled(config: StudyConfig, seed: int) -> list[dict[str, Value]]:
    every = list(config.space.every())
    random.Random(seed).shuffle(every)
    return every


def _first_unseen(
    config: StudyConfig, candidates: list[dict[str, Value]], seen: Collection[HyperParameters]
) -> dict[str, Value] | None:
    fixed = config.training.fixed
    return next((flat for flat in candidates if config.space.hyperparameters(flat, **fixed) not in seen), None)
