"""What a run shows while it works: progress bars on a terminal, plain lines in a pipe; always on standard error.

Devices work side by side, so there is one live area with a line for each piece of work under way.
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

OnStep = Callable[[str, int], None]
OnBytes = Callable[[str, int, int], None]


class _Amount(ProgressColumn):
    """How far a task is, in its own unit: bytes with their rate, steps, or nothing for a pause."""

    def __init__(self) -> None:
        super().__init__()
        self._transferred, self._rate, self._steps = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        if unit == "bytes":
            return Text.assemble(self._transferred.render(task), " ", self._rate.render(task))
        return self._steps.render(task) if unit == "steps" else Text("")


class Display:
    """Notes are lines that stay; bars live only while their work does. Threads may share it.

    Text may come from devices: it is escaped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        # A terminal gets lines broken between words, a pipe gets one line for each note.
        self.console.soft_wrap = not self.console.is_terminal
        self._changing = threading.Lock()
        self._live: Progress | None = None

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(escape(text))

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Work of unknown length: a line in a pipe, a moving bar on a terminal."""
        if not self.console.is_terminal:
            self.note(text)
        with self.waiting(text):
            yield

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A pause that only somebody who watches need know of: nothing in a pipe."""
        with self._task(text, "time", None):
            yield

    @contextlib.contextmanager
    def bytes(self, text: str) -> Iterator[OnBytes]:
        """A transfer: (file, bytes done, bytes in all)."""
        with self._task(text, "bytes", None) as update:
            yield lambda _file, done, total: update(done, total, text)

    @contextlib.contextmanager
    def steps(self, label: str, total: int) -> Iterator[OnStep]:
        """The steps of one session: (phase, steps so far)."""
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
        """A line of the live area while the block lasts; gives what changes (done, total, text)."""
        if not self.console.is_terminal:
            yield lambda _done, _total, _text: None
            return
        progress, task = self._add(text, unit, total)
        try:
            yield lambda done, total, text: progress.update(task, completed=done, total=total, description=escape(text))
        finally:
            self._remove(progress, task)

    def _add(self, text: str, unit: str, total: int | None) -> tuple[Progress, TaskID]:
        with self._changing:
            if self._live is None:
                columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeElapsedColumn())
                self._live = Progress(*columns, console=self.console, transient=True)
                self._live.start()
            return self._live, self._live.add_task(escape(text), total=total, unit=unit)

    def _remove(self, progress: Progress, task: TaskID) -> None:
        with self._changing:
            progress.refresh()  # its last state is seen, however short it was
            progress.remove_task(task)
            if not progress.task_ids:
                progress.stop()
                self._live = None
