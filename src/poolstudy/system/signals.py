"""Ctrl-C and SIGTERM: the first lets the program end in good order, a second ends the process at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Context manager; `signal` is the number of the signal that came, or None.

    Before `begin`, Ctrl-C raises KeyboardInterrupt as usual.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._raise)
        return self

    def begin(self) -> None:
        """Record the first signal in `signal` from here on, without raising.

        Raises:
            KeyboardInterrupt: Ctrl-C came before, and a library that was being imported suppressed it.
        """
        if self.signal is not None:
            raise KeyboardInterrupt
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._record)
        signal.signal(signal.SIGINT, self._record)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _raise(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        raise KeyboardInterrupt

    def _record(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
