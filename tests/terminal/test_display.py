import io
import time
from functools import partial
from types import SimpleNamespace

import pytest
from rich.console import Console

from poolstudy.spec.records import CountedTrial, EpochRecord
from poolstudy.spec.space import HyperParameters
from poolstudy.terminal import display as module
from poolstudy.terminal.display import Display, leaderboard

NETWORK = HyperParameters(pooling="average", pool_size=3, filters=(32, 64), dropout=0.4)
NOON = 43_200.0  # on the first day of 1970


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the time to 63 s past noon in Greenwich, 12 s after the start of every trial."""
    clock = {"monotonic": lambda: 100.0, "time": lambda: NOON + 63, "localtime": time.gmtime, "strftime": time.strftime}
    monkeypatch.setattr(module, "time", SimpleNamespace(**clock))
    monkeypatch.setattr(module, "_Row", partial(module._Row, began=88.0))


def record(epoch: int, val_loss: float, val_accuracy: float) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1, accuracy=0.5, val_loss=val_loss, val_accuracy=val_accuracy, seconds=2)


def ended(slot: int, objective: float) -> CountedTrial:
    return CountedTrial(slot=slot, state="complete", objective=objective, run_id="r", hyperparameters=NETWORK)


def text_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def play(console: Console, *, quiet: bool = False) -> str:
    """Run a trial with its least loss in epoch 2 and its highest accuracy in epoch 3; another trial fails."""
    with Display(
        console, 3, 5, "best_val_accuracy", "mlruns/logs/x.log", quiet=quiet, seconds_left=lambda: 8
    ) as display:
        display.count(1, [ended(1, 0.5)])
        display.started(7, "trial-0002", NETWORK)
        for epoch in (record(1, 0.9, 0.7), record(2, 0.5, 0.8), record(3, 0.6, 0.9)):
            display.epoch(7, epoch)
        display.count(2, [ended(2, 0.8), ended(1, 0.5)])
        display.ended(7, "complete", "")
        display.started(8, "trial-0003", NETWORK)
        display.ended(8, "failed", "loss is nan")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_every_event_is_a_plain_line() -> None:
    lines = play(Console(file=io.StringIO(), width=80)).splitlines()
    assert lines[0] == "trial-0002  starts  average 3x3 · 32-64 filters · dropout 0.4"
    assert lines[2] == "trial-0002  epoch 2/5  val_accuracy 0.8000  val_loss 0.5000  2.0 s"
    assert lines[4] == "trial-0002  complete  average 3x3 · 32-64 filters · dropout 0.4  0.8000 in epoch 2, 12 s"
    assert lines[5] == "2 of 3 trials done, best 0.8000 (trial-0002), about 8 s left"
    assert "\x1b" not in "".join(lines)


def test_a_failure_names_the_log() -> None:
    text = play(Console(file=io.StringIO(), width=80))
    assert "trial-0003  failed    average 3x3 · 32-64 filters · dropout 0.4  no epoch, 12 s" in text
    assert "(loss is nan; see mlruns/logs/x.log)" in text


def test_quiet_prints_failures_only() -> None:
    (line,) = play(Console(file=io.StringIO(), width=80), quiet=True).splitlines()
    assert line.startswith("trial-0003  failed")


def test_a_warning_is_printed_even_if_quiet() -> None:
    console = Console(file=io.StringIO(), width=80)
    Display(console, 3, 5, "best_val_accuracy", quiet=True).warn("Warning, too little disk.")
    assert text_of(console) == ["Warning, too little disk."]


def test_a_lost_and_a_returned_server_are_reported_once_each_even_if_quiet() -> None:
    console = Console(file=io.StringIO(), width=80)
    display = Display(console, 3, 5, "best_val_accuracy", quiet=True)
    for pending, away in ((0, None), (1, (NOON, "refused")), (9, (NOON, "refused")), (9, None), (0, None)):
        display.tracking(0, pending, away)
    assert text_of(console) == [
        "MLflow away since 12:00:00 (refused): training goes on, uploads wait on disk",
        "MLflow answers again after 1 min 3 s: 9 uploads follow",
    ]


def live_lines(width: int) -> list[str]:
    """Return the live table with two trials done and one in its first epoch."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = Display(console, 3, 5, "best_val_accuracy")
    display.count(2, [ended(1, 0.9), ended(2, 0.8)])
    display.started(7, "trial-0003", NETWORK)
    display.epoch(7, record(1, 0.9, 0.7))
    plain = Console(file=io.StringIO(), width=width)
    plain.print(display._table())
    return text_of(plain)


def test_a_terminal_shows_the_best_so_far_a_line_for_each_worker_and_the_bar() -> None:
    lines = live_lines(80)
    assert lines[0] == "Best by best_val_accuracy"
    assert lines[2].split() == ["trial-0001", "average", "3x3", "32-64", "0.4", "0.9000", "complete"]
    assert lines[4].split() == ["training", "pooling", "filters", "dropout", "epoch", "val_acc"]
    assert lines[5].split() == ["trial-0003", "average", "3x3", "32-64", "0.4", "1/5", "0.7000"]
    assert lines[7] == "2 of 3 trials done, best 0.9000 (trial-0001), time left unknown yet"


def test_forty_columns_are_enough() -> None:
    lines = live_lines(40)
    assert max(map(len, lines)) <= 40
    assert "…" not in "".join(lines)
    assert lines[2].split() == ["0001", "average", "3x3", "0.9000", "complete"]


def test_the_leaderboard_fits_80_columns() -> None:
    best = [ended(1, 0.9), ended(2, 0.9)]
    console = Console(file=io.StringIO(), width=80)
    console.print(leaderboard(best, "best_val_accuracy"))
    text = "\n".join(text_of(console))
    assert "…" not in text
    assert "trial-0002  average 3x3  32-64    0.4      0.9000" in text
