"""The rows of a sheet, top to bottom; in each all runs share the scale."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from poolstudy.figures.confusion import confusion_counts
from poolstudy.figures.style import INK, legible
from poolstudy.reports.runs import comparison as compared
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison
from poolstudy.reports.runs.sheet.pieces import COLUMN, Box, Draw, Line, ink, missing, show, write
from poolstudy.spec.colours import NEUTRAL
from poolstudy.spec.records import best_epoch

_DISPUTED = 8  # images


def lines_of(comparison: Comparison) -> Iterator[Line]:
    entries = comparison.entries
    yield from _curves(entries)
    if any(entry.diagram for entry in entries):
        yield _diagrams(entries)
    names = compared.names_of([entry.trained for entry in entries])
    for name in names:
        if name.endswith("/kernel"):
            yield _histograms(entries, name)
    limit = comparison.kernel_limit
    for name in names:
        kernels = [entry.trained.get(name) for entry in entries]
        if any(kernel is not None and kernel.ndim == 4 for kernel in kernels):
            pictures = [None if kernel is None else pixel_images.kernel_picture(kernel) for kernel in kernels]
            title = f"{name.partition('/')[0]} kernels\n−{limit:g} (blue) to {limit:g} (red)"
            yield _pictured(title, pictures, pixel_images.WEIGHT_SCALE, -limit, limit)
    for image in comparison.examples[:1]:
        yield from _maps(comparison, image)
    yield from _confusions(comparison)
    yield from _disputed(comparison)


def _curves(entries: Sequence[ComparedRun]) -> Iterator[Line]:
    last = max((len(entry.history) for entry in entries), default=0)
    for metric, (low, high) in compared.loss_and_accuracy(entries).items() if last else ():

        def draw(axes: Axes, box: Box, run: int, metric: str = metric) -> None:
            entry = entries[run]
            if not entry.history:
                missing(axes, box)
                return
            epochs = [record.epoch for record in entry.history]
            training, validation = (
                [getattr(record, name) for record in entry.history] for name in (metric, f"val_{metric}")
            )
            best = best_epoch(entry.history)
            axes.plot(*box.place(epochs, training), color=NEUTRAL, linewidth=1)
            axes.plot(*box.place(epochs, validation), color=ink(entry), linewidth=1.6)
            axes.plot(*box.place([best], [validation[best - 1]]), "o", color=ink(entry), ms=4)

        unit = "nats" if metric == "loss" else "share"
        margin = 0.05 * (high - low) or 0.05
        yield Line(f"{metric} ({unit})\nby epoch", 1.1, draw, (0.8, last + 0.2), (low - margin, high + margin))


def _diagrams(entries: Sequence[ComparedRun]) -> Line:
    pictures = [pixel_images.read(entry.diagram) if entry.diagram else None for entry in entries]
    height = 3.0

    def draw(axes: Axes, box: Box, run: int) -> None:
        picture = pictures[run]
        if picture is None:
            missing(axes, box)
        else:
            width = min(COLUMN, height * picture.shape[1] / picture.shape[0])
            show(axes, box.left, box.bottom + box.height, width, picture, interpolation="antialiased")

    return Line("layers", height, draw)


def _histograms(entries: Sequence[ComparedRun], name: str) -> Line:
    edges, found = compared.histograms(entries, name)
    highest = max(max((*one.untrained, *one.trained)) for one in found if one)

    def draw(axes: Axes, box: Box, run: int) -> None:
        one = found[run]
        if one is None:
            missing(axes, box)
            return
        sides = np.repeat(edges, 2).tolist()
        if one.untrained:
            axes.fill(*box.place(sides, _outline(one.untrained)), color=NEUTRAL, alpha=0.4, linewidth=0)
        axes.plot(*box.place(sides, _outline(one.trained)), color=ink(entries[run]), linewidth=1.3)

    title = f"{name.replace('/', ' ')}\n% of weights,\nby weight"
    return Line(title, 1.0, draw, (edges[0], edges[-1]), (0, highest * 1.05))


def _outline(shares: Sequence[float]) -> list[float]:
    """The heights of a histogram at both sides of each of its edges."""
    return [0, *np.repeat(shares, 2).tolist(), 0]


def _maps(comparison: Comparison, image: int) -> Iterator[Line]:
    entries = comparison.entries
    for place, layer in enumerate(compared.names_of([entry.maps.get(image, {}) for entry in entries])):
        most = compared.brightest(entries, image, layer)
        layers = [entry.maps.get(image, {}).get(layer) for entry in entries]
        pictures = [None if one is None else pixel_images.maps_picture(one) for one in layers]
        shown = None if place or comparison.images is None else np.asarray(comparison.images[image])
        yield _pictured(f"{layer} maps\n0 to {most:.2g}", pictures, pixel_images.MAP_SCALE, 0, most, shown)


def _confusions(comparison: Comparison) -> Iterator[Line]:
    predictions, labels = comparison.predictions(), comparison.labels
    if labels is None:
        return
    classes = len(comparison.class_names)
    counts = [None if one is None else confusion_counts(labels, one.argmax(axis=1), classes) for one in predictions]
    shares = [None if one is None else np.sqrt(one / np.maximum(one.sum(axis=1, keepdims=True), 1)) for one in counts]
    yield _pictured("confusion matrix\nshare of the true class", shares, colormaps["Greys"], 0, 1)
    if counts[0] is not None:
        better = [None if one is None else compared.improvement(counts[0], one) for one in counts]
        limit = float(max(np.abs(one).max() for one in better if one is not None) or 1)
        title = f"against the first run:\ngreen better, purple\nworse, to {limit:g} images"
        yield _pictured(title, [None, *better[1:]], pixel_images.BETTER_SCALE, -limit, limit)


def _pictured(
    title: str,
    pictures: Sequence[NDArray[np.floating] | None],
    colours: Colormap,
    low: float,
    high: float,
    image: NDArray[np.uint8] | None = None,
) -> Line:
    """A line of pictures of numbers, one a run, on one scale, as high as the highest of them."""
    tallest = max((one.shape[0] / one.shape[1] for one in pictures if one is not None), default=0.2)

    def draw(axes: Axes, box: Box, run: int) -> None:
        picture = pictures[run]
        if picture is None:
            missing(axes, box)
        else:
            scale = {"cmap": colours, "vmin": low, "vmax": high, "interpolation": "nearest"}
            show(axes, box.left, box.bottom + box.height, COLUMN, picture, **scale)

    return Line(title, max(0.8 if image is not None else 0.4, tallest * COLUMN), draw, image=image)


def _disputed(comparison: Comparison) -> Iterator[Line]:
    predictions, labels, names = comparison.predictions(), comparison.labels, comparison.class_names
    known = [one for one in predictions if one is not None]
    if labels is None or comparison.images is None:
        return
    for image in compared.most_disputed(known, _DISPUTED):
        true = int(labels[image])
        shown = np.asarray(comparison.images[image])
        draw = _answers(predictions, image, true, names)
        yield Line(f"            {legible(names[true], true)}", 0.4, draw, image=shown)


def _answers(predictions: Sequence[NDArray[np.float32] | None], image: int, true: int, names: tuple[str, ...]) -> Draw:
    def draw(axes: Axes, box: Box, run: int) -> None:
        one = predictions[run]
        if one is None:
            missing(axes, box)
            return
        taken = int(one[image].argmax())
        right = taken == true
        text = f"{'right' if right else 'wrong'}: {legible(names[taken], taken)} {one[image][taken]:.2f}"
        write(axes, box.left, box.bottom + box.height, text, 8, INK if right else pixel_images.WORSE)

    return draw
