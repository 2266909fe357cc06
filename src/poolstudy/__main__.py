"""`python -m poolstudy`, and the program `poolstudy`."""

import sys

from poolstudy import garbage
from poolstudy.cli import main


def program() -> int:
    """The command line, as a process of its own; its exit code."""
    garbage.loading()
    code = main()
    garbage.loaded()  # Python ends without a last look
    return code


if __name__ == "__main__":
    sys.exit(program())
