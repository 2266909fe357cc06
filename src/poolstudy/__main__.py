"""`python -m poolstudy`, and the program `poolstudy`."""

import sys

from poolstudy.cli import main
from poolstudy.system import gc_tuning


def program() -> int:
    """Run the command line and return its exit code."""
    gc_tuning.loading()
    code = main()
    gc_tuning.loaded()  # no garbage collection at exit
    return code


if __name__ == "__main__":
    sys.exit(program())
