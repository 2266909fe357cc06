"""Garbage collection around imports: seldom during them, and never of the objects that they leave.

MLflow and Optuna create a million lasting objects. Scanning them costs half a second during the imports and another
one at exit; while they count, a full collection waits for a quarter as many new objects (documentation of `gc`).
"""

import gc

_DEFAULT = gc.get_threshold()
_SELDOM = 50_000  # new objects


def loading() -> None:
    """Collect seldom, while libraries are imported."""
    gc.set_threshold(_SELDOM)


def loaded() -> None:
    """Exclude all present objects from collection and restore the default threshold."""
    gc.freeze()
    gc.set_threshold(*_DEFAULT)
