"""Displays the progress of a run: bars on a terminal, plain lines in a pipe, always on standard error.

Devices work in parallel, so there is one live area with a line for each task in progress.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from foundation.text import harmless

OnStep = Callable[[str, int], None]
OnBytes = Callable[[str, int, int], None]


class _Amount(ProgressColumn):
    """Renders a task's progress in its unit: bytes with their rate, steps, or nothing for a pause."""

    def __init__(self) -> None:
        super().__init__()
        self._transferred, self._rate, self._steps = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        if unit == "bytes":
            return Text.assemble(self._transferred.render(task), " ", self._rate.render(task))
        return self._steps.render(task) if unit == "steps" else Text("")


def _plain(text: str) -> str:
    return escape(harmless(text))


class Display:
    """Displays notes, which are lines that stay, and bars, which last as long as their work. Threads may share it.

    Text may come from devices: it is not interpreted as markup or escape sequences.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        # On a terminal lines wrap between words; in a pipe each note is one line.
        self.console.soft_wrap = not self.console.is_terminal
        self._changing = threading.Lock()
        self._live: Progress | None = None

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        self.console.print(_plain(text))

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Displays work of unknown length: a line in a pipe, a moving bar on a terminal."""
        if not self.console.is_terminal:
            self.note(text)
        with self.waiting(text):
            yield

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Displays a pause on a terminal, nothing in a pipe."""
        with self._task(text, "time", None):
            yield

    @contextlib.contextmanager
    def bytes(self, text: str) -> Iterator[OnBytes]:
        """Displays a transfer; yields a callback for (file, bytes done, total bytes)."""
        with self._task(text, "bytes", None) as update:
            yield lambda _file, done, total: update(done, total, text)

    @contextlib.contextmanager
    def steps(self, label: str, total: int) -> Iterator[OnStep]:
        """Displays the steps of one session; yields a callback for (phase, steps so far)."""
        warm_up = 0

        def on_step(phase: str, steps: int) -> None:
            nonlocal warm_up
            if phase != "measuring":
                warm_up = steps
            update(steps - warm_up, total, f"{label}, {phase}")

        with self._task(label, "steps", total) as update:
            yield on_step

    @contextlib.contextmanager
    def _task(self, text: str, unit: str, total: int | None) -> Iterator[Callable[[int, int, str], None]]:
        """Adds a line to the live area for the block; yields what updates it (done, total, text)."""
        if not self.console.is_terminal:
            yield lambda _done, _total, _text: None
            return
        progress, task = self._add(text, unit, total)
        try:
            yield lambda done, total, text: progress.update(task, completed=done, total=total, description=_plain(text))
        finally:
            self._remove(progress, task)

    def _add(self, text: str, unit: str, total: int | None) -> tuple[Progress, TaskID]:
        with self._changing:
            if self._live is None:
                columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeElapsedColumn())
                self._live = Progress(*columns, console=self.console, transient=True)
                self._live.start()
            return self._live, self._live.add_task(_plain(text), total=total, unit=unit)

    def _remove(self, progress: Progress, task: TaskID) -> None:
        with self._changing:
            progress.refresh()  # so that its last state is visible, however brief
            progress.remove_task(task)
            if not progress.task_ids:
                progress.stop()
                self._live = None
