"""HTML pages of one file each, which load nothing from the network.

Jinja escapes all text from outside (names, tags, reasons, classes); only our own charts are inserted as markup.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from poolstudy.reports.html.numbers import number


def page(template: str, content: Mapping[str, Any]) -> str:
    """Render a page from "compare.html" or "report.html" and the variables that the template uses."""
    return _PAGES.get_template(template).render(content)


def embedded(picture: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def breakable(name: str) -> Markup:
    """Escape a name and allow a line break after each underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


_LOADER = FileSystemLoader(Path(__file__).parent / "templates")
_PAGES = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGES.filters |= {"number": number, "embedded": embedded, "breakable": breakable}
