"""A comparison as an HTML page: its rows as charts, pixels and texts."""

import numpy as np
from markupsafe import Markup, escape

from poolstudy.reports.html import charts, embedded, page
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison, Histogram, settings_of
from poolstudy.reports.runs.rows import AnyRow, Curve, CurveRow, DiagramRow, HistogramRow, PictureRow, Section, TextRow

_ON_PAPER = 5  # runs that stand side by side on a page of paper


def comparison_page(comparison: Comparison, sections: list[Section]) -> str:
    """Return the whole page."""
    entries = comparison.entries
    rows = [row for section in sections for row in section.rows]
    content = {
        "title": comparison.title,
        "comparison": comparison,
        "many": len(entries) > _ON_PAPER,
        "sections": sections,
        "same": settings_of(entries)[1],
        "ghosts": [
            charts.ghosts(
                charts.Frame(row.x, row.y), f"ghost-{row.title}", [cell.validation for cell in row.cells if cell]
            )
            for row in rows
            if isinstance(row, CurveRow)
        ],
        "is_table": lambda section: all(_kind(row) == "text" for row in section.rows),
        "kind": _kind,
        "image_png": pixel_images.image_png,
        "scale": _scale,
        "drawn": lambda row, run: _drawn(row, run, entries[run]),
    }
    return page("compare.html", content)


def _kind(row: AnyRow) -> str:
    if not isinstance(row, TextRow):
        return ""
    return "text" if row.image is None else "text image"


def _scale(row: AnyRow) -> Markup:
    """Return the colour scale below a row's title."""
    if not isinstance(row, PictureRow) or row.colours is None:
        return Markup()
    png = pixel_images.to_png(np.linspace(0, 1, 64, dtype=np.float32)[None], row.colours, 0, 1)
    scale = Markup('<div class="scale"><span>{}</span><img src="{}" alt=""><span>{}</span></div>')
    return scale.format(row.ends[0], embedded(png), row.ends[1])


def _drawn(row: AnyRow, run: int, entry: ComparedRun) -> Markup:
    """Return a run's cell; nothing for a missing one."""
    own = entry.pooling or "unknown"
    what = escape(f"{row.title} of {entry.name}, {row.caption(run)}".removesuffix(", "))
    drawn = Markup()
    match row, row.cells[run]:
        case TextRow(), str(text):
            drawn = Markup('<span class="words">{}</span>').format(text)
        case CurveRow(), Curve() as cell:
            frame, ghost = charts.Frame(row.x, row.y), f"ghost-{row.title}"
            drawn = charts.curve(frame, ghost, cell.training, cell.validation, cell.best, own, what)
        case HistogramRow(), Histogram() as cell:
            frame = charts.Frame(row.x, row.y)
            drawn = charts.histogram(frame, row.edges, cell.untrained, cell.trained, own, what)
        case PictureRow(), np.ndarray() as cell:
            colours = row.colours or pixel_images.own_colours(entry.pooling)
            png = pixel_images.to_png(cell, colours, *row.scale)
            drawn = _img(png, "pixels", what)
            if texts := row.texts[run] if row.texts else None:
                dark = pixel_images.is_dark(cell, colours, *row.scale)
                pairs = [list(zip(*both, strict=True)) for both in zip(texts, dark, strict=True)]
                names = [name if len(name) <= 11 else f"{name[:10]}…" for name in row.names]
                drawn = charts.matrix(embedded(png), pairs, names, what)
        case DiagramRow(), bytes(png):
            drawn = _img(pixel_images.smaller(png), "diagram", what)
    return drawn


def _img(png: bytes, kind: str, what: str) -> Markup:
    return Markup('<img class="{}" src="{}" alt="{}" decoding="async">').format(kind, embedded(png), what)
