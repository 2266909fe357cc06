"""`python -m poolstudy`, and the program `poolstudy`."""

import gc
import sys

from poolstudy.cli import main

MANY = 50_000
"""New objects, before it is looked for garbage; Python's own measure is 700."""


def program() -> int:
    """The command line, as a process of its own; its exit code.

    MLflow and Optuna make a million objects that stay. To look for garbage among them again and again while they
    are loaded takes half a second, and to do so once more at the end another one.
    """
    gc.set_threshold(MANY)
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(program())
