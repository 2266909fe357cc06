"""What libraries say of their own accord: kept in a file, for when something fails."""

import logging
from pathlib import Path

_TALKERS = ("mlflow", "optuna", "alembic", "sqlalchemy", "tensorflow", "absl")


def keep_in(log: Path) -> None:
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
