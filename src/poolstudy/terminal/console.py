"""Consoles of any width and encoding: output never fails for a character that cannot be encoded."""

import io
import sys

from rich.console import Console


def stdout_console() -> Console:
    """Return a console on standard output; characters that its encoding is missing become question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


def encodable(console: Console, text: str, plain: str) -> str:
    """Return the text, or `plain` (ASCII) if the console's encoding cannot write the text."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return plain
    return text
