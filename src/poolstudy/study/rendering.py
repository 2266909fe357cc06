"""Pictures of attempts that have ended, drawn by processes of their own while others train."""

from collections import Counter, deque
from pathlib import Path

from poolstudy.execution import Event, Failed, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.config import FiguresSection
from poolstudy.trial import tasks
from poolstudy.trial.attempt_folder import AttemptFolder

_TIMEOUT = 600.0  # seconds; a drawing takes one or two, unless something it calls hangs
JOB = "draw"
"""The job's name in the engine's keys."""


class RenderQueue:
    """Draws what there is to draw.

    Args:
        data: folder of the saved `SearchData`.
        at_once: how many are drawn at the same time.
        retries: how often a drawing is tried again whose process died.
    """

    def __init__(
        self, engine: LocalEngine, data: Path, settings: FiguresSection, *, at_once: int, retries: int
    ) -> None:
        self._engine, self._data, self._settings = engine, data, settings
        self._at_once, self._retries = at_once, retries
        self._lost: Counter[int] = Counter()
        self._waiting: deque[AttemptFolder] = deque()
        self._drawn: dict[int, AttemptFolder] = {}  # being drawn, by Optuna's number

    def pending(self) -> int:
        """How many are not drawn yet."""
        return len(self._waiting) + len(self._drawn)

    def add(self, folder: AttemptFolder) -> bool:
        """Takes an attempt that has ended, and answers True, if there is something to draw of it."""
        end = folder.ended
        if end is None or folder.result is None or end.state not in self._settings.of:
            return False
        self._waiting.append(folder)
        self._start()
        return True

    def handle(self, event: Event) -> tuple[AttemptFolder, str] | None:
        """What became of a drawing: whose it is, and why it could not be drawn, if so; None: it is tried again."""
        number = event.key[1]
        folder = self._drawn.pop(number)
        self._lost[number] += isinstance(event, Lost)
        again = isinstance(event, Lost) and self._lost[number] <= self._retries
        if again:
            self._waiting.append(folder)
        self._start()
        if again:
            return None
        return folder, f"not drawn: {event.reason}" if isinstance(event, Failed | Lost) else ""

    def _start(self) -> None:
        while self._waiting and len(self._drawn) < self._at_once:
            folder = self._waiting.popleft()
            attempt = folder.attempt
            self._drawn[attempt.number] = folder
            task = tasks.DrawTask(attempt.spec, self._data, folder.path, self._settings.settings)
            self._engine.start((JOB, attempt.number), task, _TIMEOUT)
