"""What a person sees while files are downloaded: a bar on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

_SPEED_FROM = 72  # columns; a narrower terminal has no room for the speed beside a bar one can read


class DownloadProgress:
    """Told how far a file is, says it. Use as a context.

    Args:
        console: where to say it; a bar for each file if it is a terminal, else a line at every tenth.
        quiet: says nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = Progress(*_columns(console.width), console=console, expand=True)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """So many bytes of a file are there, of `total` if that is known."""
        if self._quiet:
            return
        if self._console.is_interactive:
            self._draw(file, done, total)
        else:
            self._say(file, done, total)

    def _draw(self, file: str, done: int, total: int | None) -> None:
        if file not in self._tasks:
            self._bars.start()  # not before: where nothing is downloaded nothing is drawn
            # What is there already is no part of the speed.
            self._tasks[file] = self._bars.add_task(file, total=total, completed=done)
            return
        task = self._tasks[file]
        if done < self._bars.tasks[task].completed:
            self._bars.reset(task, total=total, completed=done)  # it begins anew, and so does its clock
        else:
            self._bars.update(task, total=total, completed=done)

    def _say(self, file: str, done: int, total: int | None) -> None:
        step, share = done >> 22, f": {done / 1e6:.0f} MB" if done else ""
        if total:
            step, share = done * 10 // total, f": {done * 100 // total} %"
        if self._said.get(file) != step:
            self._said[file] = step
            self._console.print(f"downloading {file}{share}", highlight=False, markup=False, soft_wrap=True)


def _columns(width: int) -> list[ProgressColumn]:
    """Name, bar, size, speed, time left: the bar takes what the others leave, a long name is cut."""
    with_speed = width >= _SPEED_FROM
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width - (46 if with_speed else 28)))
    return [
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        DownloadColumn(table_column=Column(no_wrap=True)),
        *([TransferSpeedColumn(table_column=Column(no_wrap=True))] if with_speed else []),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
    ]
