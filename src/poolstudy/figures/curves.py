"""Learning curves: loss and accuracy by epoch, the best epoch marked."""

from matplotlib.figure import Figure

from poolstudy.figures.panel import Bounds, Panel, round_ticks
from poolstudy.figures.style import GREY_INK, SMALL, new_figure, write_text
from poolstudy.spec.colours import COLOURS, NEUTRAL
from poolstudy.spec.records import TrialResult
from poolstudy.spec.space import Pooling

_UNITS = {"loss": "nats", "accuracy": "share"}


def learning_curves(result: TrialResult, pooling: Pooling, heading: str) -> Figure:
    """Draw loss (left) and accuracy (right), training in grey, validation in the pooling's colour."""
    figure, colour = new_figure(6.4, 3.2, heading), COLOURS[pooling]
    for left, (metric, unit) in zip((0.09, 0.585), _UNITS.items(), strict=True):
        best = _curve(figure, (left, 0.145, 0.4, 0.66), result, metric, colour, size=8, x_labels=True)
        write_text(figure, left - 0.055, 0.825, f"{metric} ({unit})", 9)
        write_text(figure, left + 0.4, 0.825, f"best epoch {result.best_epoch}: {best:.4f}", 9, colour, ha="right")
        write_text(figure, left + 0.16, 0.02, "epoch", 9, ha="center")
    write_text(figure, 0.53, 0.02, "training", 9, GREY_INK, ha="right")
    write_text(figure, 0.55, 0.02, "validation", 9, colour)
    return figure


def small_learning_curves(result: TrialResult, pooling: Pooling, heading: str) -> Figure:
    """Draw loss above accuracy, readable at 256 pixels."""
    figure = new_figure(SMALL, SMALL, heading)
    for bottom, metric in zip((0.5, 0.08), _UNITS, strict=True):
        bounds = (0.15, bottom, 0.82, 0.33)
        best = _curve(figure, bounds, result, metric, COLOURS[pooling], size=9, x_labels=bottom < 0.4)
        write_text(figure, 0.15, bottom + 0.345, f"{metric}: {best:.4f} in epoch {result.best_epoch}", 9)
    return figure


def _curve(
    figure: Figure, bounds: Bounds, result: TrialResult, metric: str, colour: str, *, size: float, x_labels: bool
) -> float:
    """Draw both curves of a metric and return the validation value of the best epoch."""
    names = ("epoch", metric, f"val_{metric}")
    epochs, training, validation = ([getattr(record, name) for record in result.history] for name in names)
    best = float(getattr(result.best, f"val_{metric}"))
    low, high = min(training + validation), max(training + validation)
    room = 0.07 * (high - low) or 0.05
    panel = Panel(figure, bounds, (0.7, len(epochs) + 0.3), (low - room, high + room))
    x_ticks = round_ticks(1, len(epochs), 9, whole=True) if x_labels else ()
    panel.scales(size, x_ticks=x_ticks, y_ticks=round_ticks(*panel.y, 6))
    panel.line([result.best_epoch] * 2, panel.y, colour, 0.8, linestyle=":")
    panel.line(epochs, training, NEUTRAL, 1.5, marker=".")
    panel.line(epochs, validation, colour, 2, marker=".")
    panel.line([result.best_epoch], [best], colour, 0, marker="o", mfc="white", mew=1.8, ms=8)
    return best
