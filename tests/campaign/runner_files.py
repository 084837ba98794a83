"""Damaged jobs and states, read by the runner itself: each run ends with a footer, none by a signal."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from tests.campaign.limits import Outcome, attempt, fault_of
from tests.campaign.mutations import mutate

JOB, STATE = "job.json", "state.safetensors"
FILES = {"job of the runner": JOB, "state for the runner": STATE}
_CODES = frozenset({0, 1})
_SECONDS = 5.0
"""When the runner is asked to stop, as a damaged job may ask for a billion steps."""
_GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Jobs:
    """A folder with the runner, a good job, and the state that such a job left.

    The job has no `state_out`: the runner replaces that file, and damage could make it any file.
    """

    folder: Path
    runner: Path

    @classmethod
    def of_home(cls, home: Path, folder: Path) -> Jobs:
        """Takes runner, program and job from a home with a run."""
        folder.mkdir()
        runner = next(path for path in (home / "runner").glob("*/runner") if path.is_file())
        job: dict[str, Any] = json.loads(next(home.glob("runs/*/*fp32*.job.json")).read_text())
        for path in home.glob("device/*/artifacts/*/program.pte"):
            if path.parent.name in job["program"]:
                shutil.copy(path, folder)
        job["program"] = "program.pte"
        job["data"] = [_copied(home, folder, name) for name in job["data"]]
        for each in job["inputs"]:
            if "file" in each:
                shutil.copy(next(home.glob(f"runs/*/{each['file']}")), folder)
        made = cls(folder, runner)
        (folder / JOB).write_text(json.dumps({**job, "state_out": STATE}))
        made._require_success()
        (folder / JOB).write_text(json.dumps({**job, "state_in": STATE}))
        made._require_success()
        return made

    def _require_success(self) -> None:
        ended = attempt(lambda: _run(self.runner), self.folder)
        if ended.code:
            raise SystemExit(f"the good job ended with {ended.code}:\n{ended.err}")


def _copied(home: Path, folder: Path, path: str) -> str:
    """Copies a data file that a job names; returns its new name."""
    found = Path(path)
    name = f"{found.parent.name}-{found.name}"
    shutil.copy(next(home.glob(f"device/*/weights/{found.parent.name}/{found.name}")), folder / name)
    return name


def damage_job(jobs: Jobs, kind: str, seed: int) -> Outcome:
    """Lets the runner read a damaged file; returns how that ended, and what is wrong with it."""
    work = jobs.folder.with_name("try")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(jobs.folder, work)
    path = work / FILES[kind]
    if seed:
        path.write_bytes(mutate(path.read_bytes(), random.Random(f"{kind} {seed}")))
    ended = attempt(lambda: _run(jobs.runner), work)
    return Outcome(ended, fault_of(ended, _CODES), had_effect=bool(seed))


def _run(runner: Path) -> int:
    """Runs the job in the current folder, with its sentence on standard error; returns the runner's exit code."""
    with subprocess.Popen(
        [runner, JOB], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate(timeout=_GRACE_SECONDS)
    record = collect("s", output.decode(errors="replace").splitlines(), ProcessEnd(rc=process.returncode))
    if record.footer is None:
        print(f"no footer: {record.sentence}", file=sys.stderr)
        return 3
    print(record.sentence, file=sys.stderr)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def trials(home: Path, folder: Path) -> dict[str, Callable[[int], Outcome]]:
    """Returns, for each kind, a function that makes the try with a given seed."""
    jobs = Jobs.of_home(home, folder)
    return {kind: partial(damage_job, jobs, kind) for kind in FILES}
