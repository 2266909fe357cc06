"""Pages that open anywhere: one HTML file each, with everything in it, that asks no network for anything.

Whatever comes from outside (names, tags, reasons, classes) is escaped by Jinja; the only markup that goes
through as it is are our own charts, which hold numbers alone.
"""

import base64
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from poolstudy.reports.html.numbers import NUMBERS

_EMBEDDED = {b"\x89PNG": "image/png"}


def page(template: str, content: Mapping[str, Any]) -> str:
    """A whole page.

    Args:
        template: "compare.html" or "report.html".
        content: what the template names.
    """
    return _environment().get_template(template).render(content)


def embedded(picture: bytes) -> str:
    """A PNG as an address that holds the picture itself."""
    return f"data:{_EMBEDDED[picture[:4]]};base64,{base64.b64encode(picture).decode()}"


def breakable(name: str) -> Markup:
    """A name that may be broken after each of its underscores, where it is narrow."""
    return escape(name).replace("_", Markup("_<wbr>"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("poolstudy.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {**NUMBERS, "embedded": embedded, "breakable": breakable}
    return environment
