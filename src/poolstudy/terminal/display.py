"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere, little if quiet."""

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
"""As in the pictures, as near as terminals have them."""
_NARROW = 64  # columns; below it a table leaves out what matters least
_SHOWN = 3  # of the best so far


@dataclass
class _Row:
    name: str
    hyperparameters: HyperParameters
    last: EpochRecord | None = None
    best: EpochRecord | None = None  # of least validation loss
    began: float = field(default_factory=time.monotonic)


class Display:
    """Told what happens, says it. Use as a context.

    Args:
        console: where to say it; live if it is a terminal.
        trials: how many are to be done.
        epochs: at most, of one trial.
        metric: what the study ranks by.
        log: named when something fails.
        quiet: says failures only.
        seconds_left: how much longer the study takes; None where nobody knows.
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
        self._drawing = self._waiting = 0
        self._away: tuple[float, str] | None = None
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def warn(self, line: str) -> None:
        """One line that stays, also where it is quiet."""
        self._print(line)

    def say(self, line: str) -> None:
        """One line that stays."""
        if not self._quiet:
            self._print(line)

    def count(self, done: int, best: Iterable[CountedTrial]) -> None:
        """So many trials of the study are done, the best first."""
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
        network = f"{row.hyperparameters.kind} {row.hyperparameters.widths} dropout {row.hyperparameters.dropout:g}"
        line = f"{row.name}  {state:<8}  {network}  {reached}, {time.monotonic() - row.began:.0f} s"
        if reason:
            self._print(f"{line}  ({reason}; see {self._log})")
        else:
            self.say(line)
        if not self._console.is_terminal:
            self.say(self._summary())

    def tracking(self, drawing: int, waiting: int, away: tuple[float, str] | None) -> None:
        """How far MLflow is behind.

        Args:
            drawing: trials that are done but for their pictures.
            waiting: things that MLflow is still to be told.
            away: since when it does not answer (seconds since 1970), and why; None where it does.
        """
        self._drawing, self._waiting = drawing, waiting
        if away and not self._away:
            since = time.strftime("%H:%M:%S", time.localtime(away[0]))
            self.warn(f"MLflow away since {since} ({away[1]}): training goes on, what is to be logged waits on disk")
        elif self._away and not away:
            after = clock(time.time() - self._away[0])
            self.warn(f"MLflow answers again after {after}: {waiting} things are being logged")
        self._away = away

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _summary(self) -> str:
        complete = [one for one in self._best if one.state == "complete"]
        best = f"best {complete[0].objective:.4f} ({trial_name(complete[0].slot)})" if complete else "none complete yet"
        return f"{self._done} of {self._trials} trials done, {best}, {self._left()}"

    def _left(self) -> str:
        if self._done >= self._trials:
            return "none left"
        seconds = self._seconds_left()
        return "time left unknown yet" if seconds is None else f"about {clock(seconds)} left"

    def _picture(self) -> Group:
        narrow = self._console.width < _NARROW
        table = _table(("training", "pooling", "filters", "dropout", "epoch", "val_acc"), narrow)
        for row in list(self._rows.values()):  # another thread draws
            epoch = f"{row.last.epoch if row.last else 0}/{self._epochs}"
            value = f"{row.last.val_accuracy:.4f}" if row.last else "…"
            _add(table, narrow, row.name, row.hyperparameters, epoch, value)
        bar = Table.grid()  # which ends its line; a bar alone does not
        width = min(60, self._console.width - 1)
        bar.add_row(ProgressBar(total=self._trials, completed=self._done, width=width))
        best = [leaderboard(self._best, self._metric, narrow=narrow)] if self._best else []
        drawing = f", {self._drawing} being drawn" if self._drawing else ""
        waiting = f", {self._waiting} things wait for MLflow" if self._away else ""
        return Group(*best, table, bar, Text(self._summary() + drawing + waiting))


def leaderboard(best: Sequence[CountedTrial], metric: str, *, narrow: bool = False) -> Table:
    """The best trials as a table, average and max pooling in their colours; `narrow`: for 40 columns."""
    value = "value" if narrow else metric
    table = _table(("trial", "pooling", "filters", "dropout", value, "state"), narrow)
    table.title = f"Best by {metric}"
    table.title_justify = "left"
    for one in best:
        _add(table, narrow, trial_name(one.slot), one.hyperparameters, f"{one.objective:.4f}", one.state)
    return table


def _table(headings: tuple[str, str, str, str, str, str], narrow: bool) -> Table:
    name, pooling, filters, dropout, first, second = headings
    table = Table(box=None, padding=(0, 1), expand=False)
    for heading in (name, pooling, first, second) if narrow else (name, pooling, filters, dropout, first, second):
        table.add_column(heading, no_wrap=True)
    return table


def _add(table: Table, narrow: bool, name: str, parameters: HyperParameters, first: str, second: str) -> None:
    network = [] if narrow else [Text(parameters.widths), Text(f"{parameters.dropout:g}")]
    kind = Text(parameters.kind, style=TERMINAL_COLOURS[parameters.pooling])
    table.add_row(Text(name.removeprefix("trial-") if narrow else name), kind, *network, Text(first), Text(second))
