"""Numbers as people read them: aligned, with a true minus, and no more digits than they bear."""

MINUS = "\N{MINUS SIGN}"
_DECIMALS = {"accuracy": 4, "loss": 4, "_seconds": 1, "per_second": 0}


def number(value: float | None, name: str = "") -> str:
    """12345.0 as 12,345 and 0.67222 as 0.6722; the metric's name says how many decimals it bears."""
    return "–" if value is None else f"{value:,.{_decimals(name, value)}f}".replace("-", MINUS)


def difference(value: float | None, name: str = "") -> str:
    """The same with its sign; a zero has none."""
    if value is None:
        return ""
    text = f"{value:+,.{_decimals(name, value)}f}".replace("-", MINUS)
    return text[1:] if not text.strip(f"+0.,{MINUS}") else text


def percent(share: float, decimals: int = 0) -> str:
    return f"{100 * share:.{decimals}f} %"


def seconds(value: float) -> str:
    """8.3 as 8.3 s, 75 as 1 min 15 s, 3720 as 1 h 02 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _decimals(name: str, value: float) -> int:
    known = next((decimals for ending, decimals in _DECIMALS.items() if name.endswith(ending)), None)
    if known is not None:
        return known
    return 0 if value == int(value) or abs(value) >= 1000 else 4


NUMBERS = {"number": number, "difference": difference, "percent": percent, "seconds": seconds}
