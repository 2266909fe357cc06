"""Rendering of attempts' figures in worker processes, while others train."""

from collections import Counter, deque
from pathlib import Path

from poolstudy.execution import Event, Failed, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.config import FiguresSection
from poolstudy.trial import tasks
from poolstudy.trial.attempt_folder import AttemptFolder

_TIMEOUT = 600.0  # seconds; it takes one or two, unless a library hangs
JOB = "render"
"""Name of the job in the engine's keys."""


class RenderQueue:
    """Attempts whose figures wait or are being rendered.

    Args:
        data: folder of the saved `SearchData`.
        at_once: limit on the attempts that are rendered at the same time.
        retries: how often a rendering is tried again after its process died.
    """

    def __init__(
        self, engine: LocalEngine, data: Path, settings: FiguresSection, *, at_once: int, retries: int
    ) -> None:
        self._engine, self._data, self._settings = engine, data, settings
        self._at_once, self._retries = at_once, retries
        self._lost: Counter[int] = Counter()
        self._waiting: deque[AttemptFolder] = deque()
        self._rendering: dict[int, AttemptFolder] = {}  # by the number of the Optuna trial

    def pending(self) -> int:
        """Return how many attempts are not rendered yet."""
        return len(self._waiting) + len(self._rendering)

    def add(self, folder: AttemptFolder) -> bool:
        """Add an attempt that has ended; return False if it has nothing to render."""
        end = folder.ended
        if end is None or folder.result is None or end.state not in self._settings.of:
            return False
        self._waiting.append(folder)
        self._start()
        return True

    def handle(self, event: Event) -> tuple[AttemptFolder, str] | None:
        """Return the attempt that was rendered, and why if it could not be; None if it is tried again."""
        number = event.key[1]
        folder = self._rendering.pop(number)
        again = isinstance(event, Lost) and self._lost[number] < self._retries
        if again:
            self._lost[number] += 1
            self._waiting.append(folder)
        self._start()
        if again:
            return None
        return folder, f"not drawn: {event.reason}" if isinstance(event, Failed | Lost) else ""

    def _start(self) -> None:
        while self._waiting and len(self._rendering) < self._at_once:
            folder = self._waiting.popleft()
            attempt = folder.attempt
            self._rendering[attempt.number] = folder
            task = tasks.DrawTask(attempt.spec, self._data, folder.path, self._settings.settings)
            self._engine.start((JOB, attempt.number), task, _TIMEOUT)
