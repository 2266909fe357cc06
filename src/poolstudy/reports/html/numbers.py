"""Numbers as text: with a true minus, and with decimals by the metric's name."""

MINUS = "\N{MINUS SIGN}"
_DECIMALS = {"accuracy": 4, "loss": 4, "_seconds": 1, "per_second": 0}


def number(value: float | None, name: str = "") -> str:
    """Format 12345.0 as 12,345, 0.67222 as 0.6722 and None as –, with the decimals of the metric `name`."""
    return "–" if value is None else f"{value:,.{_decimals(name, value)}f}".replace("-", MINUS)


def difference(value: float | None, name: str = "") -> str:
    """Format a number with its sign; None becomes empty, and zero has no sign."""
    if value is None:
        return ""
    text = f"{value:+,.{_decimals(name, value)}f}".replace("-", MINUS)
    return text[1:] if not text.strip(f"+0.,{MINUS}") else text


def percent(share: float, decimals: int = 0) -> str:
    return f"{100 * share:.{decimals}f} %"


def _decimals(name: str, value: float) -> int:
    others = 0 if value == int(value) or abs(value) >= 1000 else 4
    return next((decimals for ending, decimals in _DECIMALS.items() if name.endswith(ending)), others)
