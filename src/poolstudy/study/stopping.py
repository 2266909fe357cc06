"""Rules that stop a study before all its trials are done."""

import time
from pathlib import Path

from poolstudy.errors import StoreError, StudyStopped
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import State
from poolstudy.study.uploader import Away


class StopRules:
    """Rules of one study, counted from now; `store` and `log` are for the messages."""

    def __init__(self, config: StudyConfig, store: str, log: Path) -> None:
        self._config, self._store, self._log = config, store, log
        self._failures_in_a_row, self._last_reason = 0, ""
        self._began = time.monotonic()

    def trial_ended(self, state: State, reason: str, *, tried_again: bool) -> None:
        """Count a trial, unless it is to be tried again."""
        if state in ("complete", "pruned"):
            self._failures_in_a_row = 0
        elif not tried_again:
            self._failures_in_a_row += 1
            self._last_reason = reason

    def timed_out(self) -> bool:
        """Return whether study.timeout has passed: no further trial starts then."""
        timeout = self._config.study.timeout
        return timeout is not None and time.monotonic() - self._began > timeout

    def check(self, away: Away | None) -> None:
        """Refuse to go on.

        Raises:
            StudyStopped: too many trials failed in a row.
            StoreError: MLflow's store was away for too long.
        """
        if self._failures_in_a_row >= self._config.execution.max_failures_in_a_row:
            raise StudyStopped(
                f"{self._failures_in_a_row} trials failed in a row, the last because {self._last_reason}",
                "trials that train",
                f"change the configuration, or raise execution.max_failures_in_a_row (see {self._log})",
            )
        patience = self._config.tracking.patience
        if away and time.monotonic() - away.began > patience:
            raise StoreError(
                f"MLflow's store {self._store} has been away for {patience:g} s ({away.reason})",
                "an answer within tracking.patience",
                "start it again; the same command then goes on and uploads what waits on disk",
            )

    def check_failed(self, done: int, failed: tuple[int, str] | None) -> None:
        """Refuse to call a study done that tried its whole space, if configurations failed.

        Args:
            failed: the number of slots that failed or were given up, and the last reason; None if there are none.

        Raises:
            StudyStopped: some failed.
        """
        if failed:
            raise StudyStopped(
                f"{done} trials done and {failed[0]} failed, the last because {failed[1]}",
                f"{self._config.study.trials} trials, but the space holds no other configuration",
                f"change the configuration and study.name (see {self._log})",
            )
