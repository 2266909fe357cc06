"""Ctrl-C and SIGTERM: a first one is noted, for an end in good order; a second one ends the process at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Use as a context; `signal` is the number of the signal that came, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
