"""Learning curves: loss and accuracy by epoch, the best epoch marked."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from poolstudy.figures.style import COLOURS, INK, NEUTRAL, SMALL, new_figure, plain
from poolstudy.records import TrialResult
from poolstudy.space import Pooling

_UNITS = {"loss": "nats", "accuracy": "share"}


def learning_curves(result: TrialResult, pooling: Pooling, heading: str) -> Figure:
    """Training in grey, validation in the pooling's colour: loss on the left, accuracy on the right."""
    figure = new_figure(6.4, 3.2, heading)
    figure.subplots_adjust(left=0.09, right=0.985, top=0.89, bottom=0.14, wspace=0.27)
    for axes, metric in zip(figure.subplots(1, 2), _UNITS, strict=True):
        best = _curve(plain(axes), result, metric, COLOURS[pooling])
        axes.set_ylabel(f"{metric} ({_UNITS[metric]})", fontsize=9)
        axes.set_xlabel("epoch", fontsize=9)
        axes.legend(fontsize=8, frameon=False, title=f"best epoch {result.best_epoch}: {best:.4f}", title_fontsize=8)
    return figure


def small_learning_curves(result: TrialResult, pooling: Pooling, heading: str) -> Figure:
    """The same to be read at 256 pixels: one above the other, the best values as the panels' titles."""
    figure = new_figure(SMALL, SMALL, heading)
    figure.subplots_adjust(left=0.15, right=0.97, top=0.83, bottom=0.08, hspace=0.3)
    for axes, metric in zip(figure.subplots(2, 1, sharex=True), _UNITS, strict=True):
        best = _curve(plain(axes, 10), result, metric, COLOURS[pooling])
        axes.set_title(f"{metric}: {best:.4f} in epoch {result.best_epoch}", fontsize=9, loc="left", color=INK)
    return figure


def _curve(axes: Axes, result: TrialResult, metric: str, colour: str) -> float:
    """Draws both curves of a metric; returns the validation's value in the best epoch."""
    epochs = [record.epoch for record in result.history]
    training = [getattr(record, metric) for record in result.history]
    validation = [getattr(record, f"val_{metric}") for record in result.history]
    best = float(getattr(result.best, f"val_{metric}"))
    axes.plot(epochs, training, color=NEUTRAL, marker=".", linewidth=1.5, label="training")
    axes.plot(epochs, validation, color=colour, marker=".", linewidth=2, label="validation")
    axes.axvline(result.best_epoch, color=colour, linewidth=0.8, linestyle=":")
    axes.plot([result.best_epoch], [best], "o", mfc="white", mec=colour, mew=1.8, ms=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.7, len(epochs) + 0.3)
    return best
