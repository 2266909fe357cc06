"""Ctrl-C and SIGTERM: a first one is noted, for an end in good order; a second one ends the process at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Use as a context; `signal` is the number of the signal that came, or None.

    Until `begin` Ctrl-C raises KeyboardInterrupt, as it does anyway.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._raise)
        return self

    def begin(self) -> None:
        """From here on a first signal is noted only.

        Raises:
            KeyboardInterrupt: Ctrl-C came before, and what was being imported swallowed it, as some libraries do.
        """
        if self.signal is not None:
            raise KeyboardInterrupt
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _raise(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        raise KeyboardInterrupt

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
