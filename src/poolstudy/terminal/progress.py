"""Display of downloads: a bar on a terminal, plain lines elsewhere."""

from typing import Self

from rich import progress
from rich.console import Console
from rich.table import Column

_SPEED_FROM = 72  # columns; a narrower terminal has no room for the speed beside a readable bar


class DownloadProgress:
    """A callback that displays how far each file is; use it as a context.

    Args:
        console: a terminal gets a bar for each file, anything else a line at every tenth.
        quiet: display nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = progress.Progress(*_columns(console.width), console=console, expand=True)
        self._tasks: dict[str, progress.TaskID] = {}
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Display that so many bytes of a file are there, of `total` if that is known."""
        if self._quiet:
            return
        if self._console.is_interactive:
            self._draw(file, done, total)
        else:
            self._print(file, done, total)

    def _draw(self, file: str, done: int, total: int | None) -> None:
        if file not in self._tasks:
            self._bars.start()  # only now: without a download there is no bar
            self._tasks[file] = self._bars.add_task(file, total=None)
        elif not done:
            self._bars.reset(self._tasks[file])  # another mirror begins it anew
        self._bars.update(self._tasks[file], total=total, completed=done)

    def _print(self, file: str, done: int, total: int | None) -> None:
        share, unit = (done * 10 // total * 10, "%") if total else (done // 4_000_000 * 4, "MB")
        line = f"downloading {file}: {share} {unit}" if share else f"downloading {file}"
        if line != self._line:
            self._line = line
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _columns(width: int) -> list[progress.ProgressColumn]:
    """Return name, bar, size, speed, time left: the bar takes what the others leave, a long name is cut."""
    with_speed = width >= _SPEED_FROM
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width - (46 if with_speed else 28)))
    return [
        progress.TextColumn("{task.description}", markup=False, table_column=name),
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        progress.DownloadColumn(table_column=Column(no_wrap=True)),
        *([progress.TransferSpeedColumn(table_column=Column(no_wrap=True))] if with_speed else []),
        progress.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
    ]
