"""Learning curves: loss and accuracy by epoch, the best epoch marked."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from poolstudy.figures.style import COLOURS, INK, NEUTRAL, new_figure, plain
from poolstudy.records import TrialResult
from poolstudy.space import Pooling


def learning_curves(result: TrialResult, pooling: Pooling, heading: str) -> Figure:
    """Training (grey) and validation (the pooling's colour), loss on the left, accuracy on the right."""
    figure = new_figure(6.4, 3.2)
    figure.suptitle(heading, fontsize=10, color=INK)
    for axes, metric, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("nats", "share"), strict=True):
        _curve(plain(axes), result, metric, COLOURS[pooling])
        axes.set_ylabel(f"{metric} ({unit})", fontsize=9)
        axes.set_xlabel("epoch", fontsize=9)
    return figure


def _curve(axes: Axes, result: TrialResult, metric: str, colour: str) -> None:
    epochs = [record.epoch for record in result.history]
    training = [getattr(record, metric) for record in result.history]
    validation = [getattr(record, f"val_{metric}") for record in result.history]
    best = getattr(result.best, f"val_{metric}")
    axes.plot(epochs, training, color=NEUTRAL, marker=".", linewidth=1.5, label="training")
    axes.plot(epochs, validation, color=colour, marker=".", linewidth=2, label="validation")
    axes.axvline(result.best_epoch, color=colour, linewidth=0.8, linestyle=":")
    axes.plot([result.best_epoch], [best], "o", mfc="white", mec=colour, mew=1.8, ms=8, label=f"best epoch: {best:.4f}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08)
    axes.legend(fontsize=8, frameon=False)
