"""Where commands print: a terminal or a pipe of whatever width and encoding, never a traceback for its sake."""

import io
import sys

from rich.console import Console


def stdout_console() -> Console:
    """The standard output; what its encoding lacks becomes a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, markup=False, emoji=False)


def encodable(console: Console, text: str, plain: str) -> str:
    """The text, or the plain one (ASCII) where the console's encoding cannot write the text."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return plain
    return text
