"""When Python looks for cyclic garbage: seldom while libraries are loaded, and never among what they made that stays.

MLflow and Optuna make a million objects that stay. To look through them again and again while they are loaded takes
half a second, and to do so once more at the end another one. And as long as they are counted with the others, Python
waits until a quarter as many have been added (the documentation of `gc`): the garbage of thousands of trials piles up.
"""

import gc

_USUAL = gc.get_threshold()
_SELDOM = 50_000  # new objects


def loading() -> None:
    """A million objects will be made that stay."""
    gc.set_threshold(_SELDOM)


def loaded() -> None:
    """All that is there now stays."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
