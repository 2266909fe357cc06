"""Times and sizes as a person says them."""

import math


def clock(seconds: float) -> str:
    """95 as "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(amount: int) -> str:
    """Bytes as a person says them: 55 MB, 1.6 GB."""
    if amount < 1e9:
        return f"{max(1, round(amount / 1e6))} MB"
    return f"{amount / 1e9:.1f} GB" if amount < 1e10 else f"{amount / 1e9:.0f} GB"


def rounded(seconds: float) -> str:
    """A time that is known roughly: in whole minutes from five on."""
    return clock(seconds if seconds < 300 else 60 * math.ceil(seconds / 60)).removesuffix(" 0 s")
