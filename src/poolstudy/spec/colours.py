"""Colours of average and max pooling, the same in pictures, pages and MLflow's charts."""

from typing import Final

from poolstudy.spec.space import Pooling

# From Okabe and Ito's palette for colour-blind readers (https://jfly.uni-koeln.de/color).
COLOURS: Final[dict[Pooling, str]] = {"average": "#0072B2", "max": "#D55E00"}
NEUTRAL: Final = "#8C8C8C"
"""Colour of everything that has no pooling."""
_LIGHTER: Final = (0.0, 0.3, -0.3, 0.5, -0.5)  # towards white, or black below 0


def shade(pooling: Pooling, slot: int) -> str:
    """Return one of five shades "#rrggbb" of the pooling's colour; neighbouring slots differ."""
    lighter = _LIGHTER[slot % len(_LIGHTER)]
    target = 255 if lighter > 0 else 0
    channels = (int(COLOURS[pooling][start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(channel + abs(lighter) * (target - channel)):02x}" for channel in channels)
