"""What libraries say of their own accord: kept in a file, for when something fails."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from poolstudy.system.files import appended

_TALKERS = ("mlflow", "optuna", "alembic", "sqlalchemy", "tensorflow", "absl")


def redirect_logging(log: Path) -> None:
    """Libraries' warnings go to the end of `log`, none to the terminal.

    To be called when the libraries are imported: some of them put their own way of talking in place then.
    """
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a log that cannot be written is not to be told on the terminal
    for name in _TALKERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


@contextlib.contextmanager
def redirect_output(log: Path) -> Iterator[None]:
    """What is started in here, or is no Python, prints to the end of `log`: descriptors 1 and 2 are inherited.

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
