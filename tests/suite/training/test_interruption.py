"""A process that is interrupted on purpose, and one that dies by itself: each is reported as what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from devices.processes import ProcessEnd
from suite.errors import SuiteError
from suite.planning.plan import Plan
from suite.sessions.collect import collect
from suite.sessions.record import SessionRecord
from suite.training import trainer
from suite.training.plan import TrainingPlan
from tests.support.suite.recorded_session import header, load, record, steps, text

PLAN = TrainingPlan(Plan(("board",), model="tiny", quants=("fp32",)), steps=8, disturbed=True)
LABEL = "prge fp32, seed 7, disturbed"
AGAIN = f"{LABEL}: interrupted after 4 of 8 steps; again from step 0"
KILLED = "the runner was killed by SIGKILL"


def died(number: int, name: str) -> SessionRecord:
    return collect("s", text([header(), load(), *steps()], end=False), ProcessEnd(128 + number, name))


class Processes:
    """Takes the place of the processes of a training, each of which ends as it is said here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: SessionRecord) -> None:
        self.ends, self.most, self.notes = list(ends), list[int](), list[str]()
        monkeypatch.setattr(trainer, "_training_job", lambda *_: SimpleNamespace(steps=8))
        monkeypatch.setattr(trainer, "_carry_out", self._carry_out)

    def _carry_out(self, _ground: Any, _job: Any, _label: str, most_steps: int = 0) -> tuple[Any, Any, Sequence[str]]:
        """Ends as the next of `ends`; a process that would complete is interrupted if it was asked for."""
        self.most.append(most_steps)
        if most_steps and self.ends[0].complete:
            raise trainer._Interruption
        return self.ends.pop(0), SimpleNamespace(energy_sensors=()), ["it was hot", "it was hot again"]

    def make(self, plan: TrainingPlan = PLAN) -> Any:
        course: Any = SimpleNamespace(label=LABEL, plan=plan)
        device = SimpleNamespace(entry=SimpleNamespace(name="board"))
        ground: Any = SimpleNamespace(device=device, note=self.notes.append, cool_down=lambda: None)
        return trainer._make_steps(course, ground, None, 0, 8)


def test_an_interruption_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, record())
    assert processes.make().note == "it was hot"
    assert (processes.most, processes.notes) == ([4, 0], [AGAIN])


def test_a_process_that_dies_before_it_is_interrupted_is_named_and_the_next_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes(monkeypatch, died(9, "SIGKILL"), record())
    note = processes.make().note
    assert note.startswith(f"made again: {KILLED}")
    assert note.endswith("; it was hot")
    assert processes.most == [4, 4, 0]
    assert processes.notes[0].startswith(f"{LABEL}: {KILLED}") and processes.notes[0].endswith("again from step 0")
    assert processes.notes[1:] == [AGAIN]


def test_a_process_that_always_dies_ends_the_training_without_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, *[died(11, "SIGSEGV")] * 3)
    with pytest.raises(SuiteError, match="steps 0 to 8 can't be made: the runner crashed with SIGSEGV"):
        processes.make()
    assert (processes.most, [AGAIN in note for note in processes.notes]) == ([4, 4, 4], [False] * 3)


def test_a_training_that_is_not_disturbed_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(monkeypatch, record())
    processes.make(replace(PLAN, disturbed=False))
    assert (processes.most, processes.notes) == ([0], [])
