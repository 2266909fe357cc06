"""Libraries' own output, kept in a file in case something fails."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from poolstudy.system.files import appended

_LOGGERS = ("mlflow", "optuna", "alembic", "sqlalchemy", "tensorflow", "absl")


def redirect_logging(log: Path) -> None:
    """Append libraries' warnings to `log` instead of the terminal.

    Call it after the imports: some libraries install their own handlers then.
    """
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # no traceback on the terminal when the log cannot be written
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


@contextlib.contextmanager
def redirect_output(log: Path) -> Iterator[None]:
    """Append the output of native code and of child processes to `log`: redirect descriptors 1 and 2 in the block.

    Raises:
        StoreError: the log cannot be written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with appended(log) as file:
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for descriptor, target in zip(kept, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
