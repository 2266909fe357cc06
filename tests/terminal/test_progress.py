import io

import pytest
from rich.console import Console

from poolstudy.terminal.progress import DownloadProgress

NAME = "train-images-idx3-ubyte.gz"


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, force_interactive=True, color_system=None)


def shown(progress: DownloadProgress, width: int) -> list[str]:
    """Return the bars as they would be drawn now."""
    plain = Console(file=io.StringIO(), width=width)
    plain.print(progress._bars.get_renderable())
    return [line.rstrip() for line in text(plain).splitlines()]


def test_in_a_pipe_a_line_at_every_tenth() -> None:
    console = Console(file=io.StringIO(), width=20)
    with DownloadProgress(console) as progress:
        progress("a.gz", 0, None)
        for done in range(0, 1001, 25):
            progress("a.gz", done, 1000)
    shares = [f"downloading a.gz: {share} %" for share in range(10, 101, 10)]
    assert text(console).splitlines() == ["downloading a.gz", *shares]


def test_in_a_pipe_a_new_beginning_is_shown_and_an_unknown_length_in_megabytes() -> None:
    console = Console(file=io.StringIO(), width=80)
    with DownloadProgress(console) as progress:
        for done in (0, 599, 600, 0, 500):
            progress("a.gz", done, 1000)
        progress("b.gz", 9_000_000, None)
    assert text(console).splitlines() == [
        "downloading a.gz",
        "downloading a.gz: 50 %",
        "downloading a.gz: 60 %",
        "downloading a.gz",
        "downloading a.gz: 50 %",
        "downloading b.gz: 8 MB",
    ]


@pytest.mark.parametrize(
    ("width", "name", "bar", "rest"),
    [
        (40, "train-image…", 8, "13.2/26.4 MB --:--"),  # 40 - 12 - 12 - 5, less three gaps
        (80, NAME, 32, "13.2/26.4 MB ? --:--"),  # 80 - 26 - 12 - 1 - 5, less four
    ],
)
def test_on_a_terminal_a_bar_that_fits(width: int, name: str, bar: int, rest: str) -> None:
    console = terminal(width)
    with DownloadProgress(console) as progress:
        progress(NAME, 0, None)
        progress(NAME, 13_200_000, 26_400_000)
    half = "━" * (bar // 2)
    assert shown(progress, width) == [f"{name} {half:<{bar}} {rest}"]
    assert shown(progress, width)[0] in text(console)  # it stays


def test_a_file_begun_anew_has_its_bar_begin_anew() -> None:
    with DownloadProgress(terminal(80)) as progress:
        progress(NAME, 1000, 1000)
        progress(NAME, 0, None)
        progress(NAME, 250, 1000)
        (task,) = progress._bars.tasks
        assert (task.completed, task.finished) == (250, False)


def test_each_file_has_a_bar() -> None:
    with DownloadProgress(terminal(80)) as progress:
        progress("a.gz", 1, 2)
        progress("b.gz", 0, None)
    assert [line.split()[0] for line in shown(progress, 80)] == ["a.gz", "b.gz"]


@pytest.mark.parametrize("console", [terminal(80), Console(file=io.StringIO())], ids=["terminal", "pipe"])
def test_quiet_is_quiet_and_so_is_no_download(console: Console) -> None:
    with DownloadProgress(console, quiet=True) as progress:
        progress("a.gz", 1, 2)
    with DownloadProgress(console):
        pass
    assert text(console) == ""
