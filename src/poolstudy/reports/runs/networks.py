"""The sections about each network itself: how it learned, its layers, weights and kernels, what its layers see."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from poolstudy.reports.html import charts
from poolstudy.reports.html.numbers import MINUS
from poolstudy.reports.runs import comparison as compared
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison
from poolstudy.reports.runs.lines import NONE, Cell, Line, Section, image_of
from poolstudy.spec.records import best_epoch


def sections(comparison: Comparison) -> Iterator[Section]:
    """Every one of them; some may have no lines."""
    entries = comparison.entries
    yield Section("Learning curves", _ABOUT_CURVES, list(_curves(entries)))
    yield Section("Networks", "as Keras draws them", _diagrams(entries))
    yield Section("Weights", _ABOUT_WEIGHTS, list(_weights(entries)))
    yield Section("Kernels", _ABOUT_KERNELS, list(_kernels(comparison)))
    yield Section("Feature maps", _ABOUT_MAPS, list(_maps(comparison)))


# Curves and layers


_ABOUT_CURVES = "validation in the pooling's colour, training in grey, the validation of the other runs behind it"


def _frames(entries: Sequence[ComparedRun]) -> dict[str, charts.Frame]:
    """The axes of the curves of each metric, the same for every run."""
    last = max((record.epoch for entry in entries for record in entry.history), default=1)
    return {
        metric: charts.Frame((1 if last > 1 else 0.5, max(last, 1.5)), span)
        for metric, span in compared.loss_and_accuracy(entries).items()
    }


def ghosts(entries: Sequence[ComparedRun]) -> list[Markup]:
    """The validation curves of all runs, by metric, which stand behind each run's own."""
    return [
        charts.ghosts(frame, f"ghost-{metric}", [_points(one, f"val_{metric}") for one in entries])
        for metric, frame in _frames(entries).items()
    ]


def _points(entry: ComparedRun, metric: str) -> list[tuple[float, float]]:
    return [(record.epoch, getattr(record, metric)) for record in entry.history]


def _curves(entries: Sequence[ComparedRun]) -> Iterator[Line]:
    frames = _frames(entries)
    for metric, about in (("loss", "nats, by epoch"), ("accuracy", "share of images, by epoch")):
        cells = [_curve(entry, metric, frames[metric]) for entry in entries]
        if any(cell is not NONE for cell in cells):
            yield Line(metric, cells, about)


def _curve(entry: ComparedRun, metric: str, frame: charts.Frame) -> Cell:
    if not entry.history:
        return NONE
    best = best_epoch(entry.history)
    training, validation = _points(entry, metric), _points(entry, f"val_{metric}")
    value = dict(validation)[best]
    said = f"{value:.4f} in epoch {best}"
    what = f"{metric} of {len(entry.history)} epochs, validation {said}"
    return Cell(
        below=said, chart=charts.curve(frame, f"ghost-{metric}", training, validation, best, _kind(entry), what)
    )


def _kind(entry: ComparedRun) -> str:
    return entry.pooling or "unknown"


def _diagrams(entries: Sequence[ComparedRun]) -> list[Line]:
    cells = [
        Cell(picture=pixel_images.smaller(entry.diagram), kind="diagram") if entry.diagram else NONE
        for entry in entries
    ]
    return [Line("layers", cells, "with their shapes")] if any(entry.diagram for entry in entries) else []


# Weights and kernels


_ABOUT_WEIGHTS = (
    "untrained as a grey area, trained as an outline: share of the weights in each bin, in percent; all runs share "
    "bins and axes, and the outermost bins hold what lies beyond"
)
_ABOUT_KERNELS = "trained, on one colour scale: red above zero, blue below"


def _weights(entries: Sequence[ComparedRun]) -> Iterator[Line]:
    for name in compared.names_of([entry.trained for entry in entries]):
        if not name.endswith("/kernel"):
            continue
        edges, found = compared.histograms(entries, name)
        highest = max(max((*one.untrained, *one.trained)) for one in found if one)
        frame = charts.Frame((edges[0], edges[-1]), (0, highest))
        cells = [_histogram(entry, one, edges, frame) for entry, one in zip(entries, found, strict=True)]
        yield Line(name.replace("/", " "), cells, "% of weights, by weight")


def _histogram(
    entry: ComparedRun, found: compared.Histogram | None, edges: Sequence[float], frame: charts.Frame
) -> Cell:
    if found is None:
        return NONE
    said = f"{found.mean:+.3f} ± {found.deviation:.3f}".replace("-", MINUS)
    what = f"histogram of the trained weights, {said}"
    return Cell(below=said, chart=charts.histogram(frame, edges, found.untrained, found.trained, _kind(entry), what))


def _kernels(comparison: Comparison) -> Iterator[Line]:
    limit = comparison.kernel_limit
    scale = pixel_images.scale_png(pixel_images.WEIGHT_SCALE), f"{MINUS}{limit:g}", f"{limit:g}"
    for name in compared.names_of([entry.trained for entry in comparison.entries]):
        kernels = [entry.trained.get(name) for entry in comparison.entries]
        if not any(kernel is not None and kernel.ndim == 4 for kernel in kernels):
            continue
        cells = [
            NONE
            if kernel is None
            else _pixels(
                pixel_images.to_png(pixel_images.kernel_picture(kernel), pixel_images.WEIGHT_SCALE, -limit, limit),
                pixel_images.kernel_caption(kernel),
            )
            for kernel in kernels
        ]
        yield Line(name.partition("/")[0], cells, scale=scale)


# Feature maps


_ABOUT_MAPS = (
    "what each layer makes of the same image; all runs share one scale for an image and a layer, from 0 to what one "
    "value in 200 is above"
)


def _maps(comparison: Comparison) -> Iterator[Line]:
    entries = comparison.entries
    for image in comparison.examples:
        for place, layer in enumerate(compared.names_of([entry.maps.get(image, {}) for entry in entries])):
            most = compared.brightest(entries, image, layer)
            layers = [entry.maps.get(image, {}).get(layer) for entry in entries]
            cells = [
                NONE
                if one is None
                else _pixels(
                    pixel_images.to_png(pixel_images.maps_picture(one), pixel_images.MAP_SCALE, 0, most),
                    pixel_images.maps_caption(one),
                )
                for one in layers
            ]
            scale = pixel_images.scale_png(pixel_images.MAP_SCALE), "0", f"{most:.2g}"
            shown = image_of(comparison, image) if place == 0 else None
            about = _class(comparison, image) if place == 0 else ""
            yield Line(layer, cells, about, scale=scale, image=shown)


def _class(comparison: Comparison, image: int) -> str:
    return "" if comparison.labels is None else comparison.class_names[comparison.labels[image]]


def _pixels(picture: bytes, below: str = "") -> Cell:
    return Cell(picture=picture, below=below, kind="pixels")
