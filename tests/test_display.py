import io

from rich.console import Console

from poolstudy.display import Display, clock, leaderboard
from poolstudy.records import Ended, EpochRecord
from poolstudy.space import HyperParameters

NETWORK = HyperParameters(pooling="average", pool_size=3, filters=(32, 64), dropout=0.4)


def record(epoch: int, val_loss: float, val_accuracy: float) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=1, accuracy=0.5, val_loss=val_loss, val_accuracy=val_accuracy, seconds=2)


def play(console: Console) -> str:
    """One trial whose second epoch has the least loss and whose third the highest accuracy."""
    with Display(console, trials=3, epochs=5) as display:
        display.began(done=1, best=(0.5, "trial-0001"))
        display.started(7, "trial-0002", NETWORK)
        for epoch in (record(1, 0.9, 0.7), record(2, 0.5, 0.8), record(3, 0.6, 0.9)):
            display.epoch(7, epoch)
        display.ended(7, "complete", done=2, best=(0.8, "trial-0002"), reason="")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_every_event_is_a_plain_line() -> None:
    lines = play(Console(file=io.StringIO(), width=80)).splitlines()
    assert lines[0] == "trial-0002  starts  average 3x3 · 32-64 filters · dropout 0.4"
    assert lines[2] == "trial-0002  epoch 2/5  val_accuracy 0.8000  val_loss 0.5000  2.0 s"
    assert lines[4] == "trial-0002  complete  average 3x3 32-64 dropout 0.4  0.8000 in epoch 2, 0 s"
    assert lines[5].startswith("2 of 3 trials done, best 0.8000 (trial-0002), about")
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_the_picture_has_a_line_for_each_worker_and_the_bar() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    display = Display(console, trials=3, epochs=5)
    display.started(7, "trial-0002", NETWORK)
    display.epoch(7, record(1, 0.9, 0.7))
    plain = Console(file=io.StringIO(), width=80)
    plain.print(display._picture())
    assert isinstance(plain.file, io.StringIO)
    lines = [line.rstrip() for line in plain.file.getvalue().splitlines()]
    assert lines[0].split() == ["trial", "pooling", "filters", "dropout", "epoch", "val_accuracy"]
    assert lines[1].split() == ["trial-0002", "average", "3x3", "32-64", "0.4", "1/5", "0.7000"]
    assert lines[3] == "0 of 3 trials done, none complete yet, time left unknown yet"


def test_the_leaderboard_fits_80_columns() -> None:
    best = [Ended(slot=n, state="complete", objective=0.9, run_id="r", hyperparameters=NETWORK) for n in (1, 2)]
    console = Console(file=io.StringIO(), width=80)
    console.print(leaderboard(best, "best_val_accuracy"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert "trial-0002  average 3x3  32-64    0.4      0.9000" in text


def test_times_are_said_as_a_person_would() -> None:
    assert [clock(seconds) for seconds in (9.4, 95, 3600, 7260)] == ["9 s", "1 min 35 s", "1 h 0 min", "2 h 1 min"]
