"""`python -m poolstudy`, and the program `poolstudy`."""

import sys

from poolstudy.cli import main
from poolstudy.system import gc_tuning


def program() -> int:
    """The command line, as a process of its own; its exit code."""
    gc_tuning.loading()
    code = main()
    gc_tuning.loaded()  # Python ends without a last look
    return code


if __name__ == "__main__":
    sys.exit(program())
