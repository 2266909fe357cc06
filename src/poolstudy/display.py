"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poolstudy.records import Ended, EpochRecord, State, trial_name
from poolstudy.space import HyperParameters, Pooling

_COLOURS: dict[Pooling, str] = {"average": "bright_blue", "max": "dark_orange"}


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
    """

    def __init__(self, console: Console, trials: int, epochs: int) -> None:
        self._console, self._trials, self._epochs = console, trials, epochs
        self._rows: dict[int, _Row] = {}
        self._done = 0
        self._began_with = 0
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def began(self, done: int, best: tuple[float, str] | None) -> None:
        """The study starts, or goes on, with so many trials done; `best` is (objective, trial's name)."""
        self._done, self._began_with, self._best = done, done, best
        self._began = time.monotonic()

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

    def ended(self, key: int, state: State, done: int, best: tuple[float, str] | None, reason: str) -> None:
        """An attempt ended; `done` trials of the study are, now."""
        row = self._rows.pop(key)
        self._done, self._best = done, best
        reached = f"{row.best.val_accuracy:.4f} in epoch {row.best.epoch}" if row.best else "no epoch"
        network = f"{row.hyperparameters.kind} {row.hyperparameters.widths} dropout {row.hyperparameters.dropout:g}"
        seconds = time.monotonic() - row.began
        why = f"  ({reason})" if reason else ""
        self.say(f"{row.name}  {state:<8}  {network}  {reached}, {seconds:.0f} s{why}")
        if not self._console.is_terminal:
            self.say(self._summary())

    def _summary(self) -> str:
        best = f"best {self._best[0]:.4f} ({self._best[1]})" if self._best else "none complete yet"
        return f"{self._done} of {self._trials} trials done, {best}, {self._left()}"

    def _left(self) -> str:
        ended = self._done - self._began_with
        if self._done >= self._trials:
            return "none left"
        if not ended:
            return "time left unknown yet"
        seconds = (time.monotonic() - self._began) / ended * (self._trials - self._done)
        return f"about {clock(seconds)} left"

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 1), expand=False)
        for heading in ("trial", "pooling", "filters", "dropout", "epoch", "val_accuracy"):
            table.add_column(heading, no_wrap=True)
        for row in list(self._rows.values()):  # another thread draws
            table.add_row(*self._cells(row))
        bar = Table.grid()
        bar.add_row(ProgressBar(total=self._trials, completed=self._done, width=60))
        return Group(table, bar, Text(self._summary()))

    def _cells(self, row: _Row) -> Iterator[Text]:
        yield Text(row.name)
        yield from _configuration(row.hyperparameters)
        yield Text(f"{row.last.epoch if row.last else 0}/{self._epochs}")
        yield Text(f"{row.last.val_accuracy:.4f}" if row.last else "…")


def clock(seconds: float) -> str:
    """95 as "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def leaderboard(best: Sequence[Ended], metric: str) -> Table:
    """The best trials as a table, average and max pooling in their colours."""
    table = Table(title=f"Best by {metric}", box=None, padding=(0, 1), title_justify="left")
    for heading in ("trial", "pooling", "filters", "dropout", metric, "state"):
        table.add_column(heading, no_wrap=True)
    for one in best:
        name, score = Text(trial_name(one.slot)), Text(f"{one.objective:.4f}")
        table.add_row(name, *_configuration(one.hyperparameters), score, Text(one.state))
    return table


def _configuration(parameters: HyperParameters) -> Iterator[Text]:
    yield Text(parameters.kind, style=_COLOURS[parameters.pooling])
    yield Text(parameters.widths)
    yield Text(f"{parameters.dropout:g}")
