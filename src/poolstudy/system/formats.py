"""Times and sizes for people to read."""

import math
import time


def clock(seconds: float) -> str:
    """Format a time: 95 as "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(amount: int) -> str:
    """Format bytes: "55 MB", "1.6 GB"."""
    if amount < 1e9:
        return f"{max(1, round(amount / 1e6))} MB"
    return f"{amount / 1e9:.1f} GB" if amount < 1e10 else f"{amount / 1e9:.0f} GB"


def rounded(seconds: float) -> str:
    """Format an approximate time; from five minutes on, round up to whole minutes."""
    return clock(seconds if seconds < 300 else 60 * math.ceil(seconds / 60)).removesuffix(" 0 s")


def now_ms() -> int:
    """Return milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)
