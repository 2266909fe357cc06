"""Display of a running study: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poolstudy.spec.records import CountedTrial, EpochRecord, State, trial_name
from poolstudy.spec.space import HyperParameters, Pooling
from poolstudy.system.formats import clock

TERMINAL_COLOURS: dict[Pooling, str] = {"average": "bright_blue", "max": "dark_orange"}
"""Terminal colours nearest to those of the figures."""
_NARROW = 64  # columns; a narrower table leaves some out
_SHOWN = 3  # best trials


@dataclass
class _Row:
    name: str
    hyperparameters: HyperParameters
    last: EpochRecord | None = None
    best: EpochRecord | None = None  # with the least validation loss
    began: float = field(default_factory=time.monotonic)


class Display:
    """Display of a study's progress; use as a context.

    Args:
        trials: the number of trials to do.
        epochs: of one trial at most.
        metric: the objective's name.
        log: path shown with a failure.
        quiet: print failures and warnings only.
        seconds_left: returns the time left; None if unknown.
    """

    def __init__(
        self,
        console: Console,
        trials: int,
        epochs: int,
        metric: str,
        log: str = "",
        *,
        quiet: bool = False,
        seconds_left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._console, self._trials, self._epochs, self._metric = console, trials, epochs, metric
        self._log, self._quiet, self._seconds_left = log, quiet, seconds_left
        self._rows: dict[int, _Row] = {}
        self._done, self._best = 0, list[CountedTrial]()
        self._rendering = self._pending = 0
        self._away: tuple[float, str] | None = None
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def warn(self, line: str) -> None:
        """Print a line that stays, even if quiet."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def say(self, line: str) -> None:
        """Print a line that stays, unless quiet."""
        if not self._quiet:
            self.warn(line)

    def count(self, done: int, best: Iterable[CountedTrial]) -> None:
        """Show the number of trials that count, and the best of them, best first."""
        self._done, self._best = done, list(islice(best, _SHOWN))

    def started(self, key: int, name: str, hyperparameters: HyperParameters) -> None:
        self._rows[key] = _Row(name, hyperparameters)
        if not self._console.is_terminal:
            self.say(f"{name}  starts  {hyperparameters.title()}")

    def epoch(self, key: int, record: EpochRecord) -> None:
        row = self._rows[key]
        row.last = record
        if row.best is None or record.val_loss < row.best.val_loss:
            row.best = record
        if not self._console.is_terminal:
            values = f"val_accuracy {record.val_accuracy:.4f}  val_loss {record.val_loss:.4f}"
            self.say(f"{row.name}  epoch {record.epoch}/{self._epochs}  {values}  {record.seconds:.1f} s")

    def ended(self, key: int, state: State, reason: str) -> None:
        row = self._rows.pop(key)
        reached = f"{row.best.val_accuracy:.4f} in epoch {row.best.epoch}" if row.best else "no epoch"
        network = row.hyperparameters.title()
        line = f"{row.name}  {state:<8}  {network}  {reached}, {time.monotonic() - row.began:.0f} s"
        if reason:
            self.warn(f"{line}  ({reason}; see {self._log})")
        else:
            self.say(line)
        if not self._console.is_terminal:
            self.say(self._summary())

    def tracking(self, rendering: int, pending: int, away: tuple[float, str] | None) -> None:
        """Show how far MLflow is behind.

        Args:
            rendering: trials whose figures are being rendered.
            pending: uploads that MLflow has yet to receive.
            away: since when MLflow does not answer (seconds since 1970), and why; None if it answers.
        """
        self._rendering, self._pending = rendering, pending
        if away and not self._away:
            since = time.strftime("%H:%M:%S", time.localtime(away[0]))
            self.warn(f"MLflow away since {since} ({away[1]}): training goes on, uploads wait on disk")
        elif self._away and not away:
            after = clock(time.time() - self._away[0])
            self.warn(f"MLflow answers again after {after}: {pending} uploads follow")
        self._away = away

    def _summary(self) -> str:
        complete = [trial for trial in self._best if trial.state == "complete"]
        best = f"best {complete[0].objective:.4f} ({trial_name(complete[0].slot)})" if complete else "none complete yet"
        return f"{self._done} of {self._trials} trials done, {best}, {self._left()}"

    def _left(self) -> str:
        if self._done >= self._trials:
            return "none left"
        seconds = self._seconds_left()
        return "time left unknown yet" if seconds is None else f"about {clock(seconds)} left"

    def _table(self) -> Group:
        narrow = self._console.width < _NARROW
        rows = [
            (row.name, row.hyperparameters, f"{row.last.epoch}/{self._epochs}", f"{row.last.val_accuracy:.4f}")
            if row.last
            else (row.name, row.hyperparameters, f"0/{self._epochs}", "…")
            for row in list(self._rows.values())  # rich refreshes in another thread
        ]
        table = _network_table(("training", "epoch", "val_acc"), rows, narrow)
        bar = Table.grid()  # ends its line; a bar alone does not
        width = min(60, self._console.width - 1)
        bar.add_row(ProgressBar(total=self._trials, completed=self._done, width=width))
        best = [leaderboard(self._best, self._metric, narrow=narrow)] if self._best else []
        rendering = f", {self._rendering} being rendered" if self._rendering else ""
        pending = f", {self._pending} uploads wait for MLflow" if self._away else ""
        return Group(*best, table, bar, Text(self._summary() + rendering + pending))


def leaderboard(best: Sequence[CountedTrial], metric: str, *, narrow: bool = False) -> Table:
    """Return the best trials as a table; `narrow`: for 40 columns."""
    rows = [(trial_name(one.slot), one.hyperparameters, f"{one.objective:.4f}", one.state) for one in best]
    table = _network_table(("trial", "value" if narrow else metric, "state"), rows, narrow)
    table.title, table.title_justify = f"Best by {metric}", "left"
    return table


def _network_table(
    headings: tuple[str, str, str], rows: Sequence[tuple[str, HyperParameters, str, str]], narrow: bool
) -> Table:
    """Return a row a network: its name and pooling, its other settings unless narrow, and two values."""
    table = Table(box=None, padding=(0, 1), expand=False)
    also = any(network.extras for _, network, _, _ in rows)
    settings = [] if narrow else ["filters", "dropout", *(["also"] if also else [])]
    for heading in (headings[0], "pooling", *settings, *headings[1:]):
        table.add_column(heading, no_wrap=True)
    for name, network, first, second in rows:
        texts = (network.widths, f"{network.dropout:g}", network.extras)[: len(settings)]
        kind = Text(network.kind, style=TERMINAL_COLOURS[network.pooling])
        cells = [Text(text) for text in (*texts, first, second)]
        table.add_row(Text(name.removeprefix("trial-") if narrow else name), kind, *cells)
    return table
