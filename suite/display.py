"""What a run shows while it works: progress bars on a terminal, plain lines in a pipe; always on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from suite.plan import Plan

OnStep = Callable[[str, int], None]
OnBytes = Callable[[str, int, int], None]


class Display:
    """Notes are lines that stay; bars live only while their work does. Text may come from devices: it is escaped."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        # A terminal gets lines broken between words, a pipe gets one line for each note.
        self.console.soft_wrap = not self.console.is_terminal

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(escape(text))

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Work of unknown length: a line in a pipe, a spinner on a terminal."""
        if not self.console.is_terminal:
            self.note(text)
        with self.waiting(text):
            yield

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A pause that only somebody who watches need know of: nothing in a pipe."""
        if not self.console.is_terminal:
            yield
            return
        with self._bar(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
            progress.add_task(escape(text), total=None)
            yield

    @contextlib.contextmanager
    def bytes(self, text: str) -> Iterator[OnBytes]:
        """A transfer: (file, bytes done, bytes in all)."""
        if not self.console.is_terminal:
            yield lambda _file, _done, _total: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with self._bar(*columns, TimeRemainingColumn()) as progress:
            task = progress.add_task(escape(text), total=None)
            yield lambda _file, done, total: progress.update(task, completed=done, total=total)

    @contextlib.contextmanager
    def steps(self, label: str, plan: Plan) -> Iterator[OnStep]:
        """The steps of one session: (phase, steps so far)."""
        if not self.console.is_terminal:
            yield lambda _phase, _steps: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with self._bar(*columns) as progress:
            task = progress.add_task(escape(label), total=plan.steps)
            warm_up = 0

            def on_step(phase: str, steps: int) -> None:
                nonlocal warm_up
                if phase != "measuring":
                    warm_up = steps
                progress.update(task, completed=steps - warm_up, description=escape(f"{label}, {phase}"))

            yield on_step

    def _bar(self, *columns: object) -> Progress:
        return Progress(*columns, console=self.console, transient=True)  # type: ignore[arg-type]
