"""Exports in a separate process, as exports take gigabytes that Python would keep and their libraries are noisy.

The process starts with the first order and ends with the block, even if orders belong to several plans, as its start
takes as long as a small export. If it dies, the next order gets a new process. Its output goes to a log, which is kept
under its own name after an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from foundation.causes import cause_line
from foundation.errors import UserError
from foundation.text import decode
from suite.errors import SuiteError
from suite.planning.plan import Plan
from workloads.estimates.estimate import estimate
from workloads.export.artifact import ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.reference.expected_losses import ReferenceLosses, from_document

Notify = Callable[[str], None]

PROCESS = (sys.executable, "-m", "suite.preparing.export_process")
"""The command of the exporting process, followed by the folder of artifacts and the log."""

_LOG_TAIL_BYTES = 4096
_GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Order:
    """A setting of a plan to export if its program is missing.

    `accumulation` is that of the device for which reference losses are requested, or None for no losses.
    """

    plan: Plan
    quant: str
    accumulation: Accumulation | None

    def line(self) -> str:
        """Returns the order as a line for the exporting process."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}, default=Plan.document)

    @classmethod
    def from_line(cls, line: str) -> Order:
        """Reverses `line`. Raises the UserErrors of a plan."""
        plan, quant, accumulation = (json.loads(line)[field.name] for field in fields(cls))
        return cls(Plan.from_document(plan), quant, None if accumulation is None else Accumulation(accumulation))


@contextlib.contextmanager
def exporter(artifacts: Path, log: Path) -> Iterator[Exporter]:
    """Opens the exporting process for the block. An exception abandons an export in progress."""
    made = Exporter(artifacts, log)
    try:
        yield made
        made.finish()
    finally:
        made.kill()


class Exporter:
    """Passes the settings of plans to the exporting process, one after the other."""

    def __init__(self, artifacts: Path, log: Path) -> None:
        self.artifacts, self.log = artifacts, log
        self._process: subprocess.Popen[str] | None = None

    def export(
        self, plan: Plan, quant: str, on_progress: Notify, accumulation: Accumulation | None = Accumulation.FP32
    ) -> ReferenceLosses:
        """Exports a setting of a plan if it is missing. Returns the reference losses of its first steps.

        They are those for a device with `accumulation`; None for no losses yet. `on_progress` gets lines of progress.
        Raises UserError for what the user can fix, and SuiteError if the process dies.
        """
        process = self._process or self._start()
        answer = self._ask(process, Order(plan, quant, accumulation), on_progress)
        if answer is None:
            code, self._process = process.wait(), None  # the next setting gets a new one
            ArtifactCache(self.artifacts).remove_abandoned()
            raise SuiteError(self._epitaph(plan, quant, code, self._keep_log(plan, quant)))
        if "user_error" in answer:
            raise UserError(answer["user_error"])
        return from_document(answer)

    def finish(self) -> None:
        """Lets the process end on its own."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)

    def kill(self) -> None:
        """Ends the process if it is still running, and removes its incomplete output, which can be gigabytes."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            ArtifactCache(self.artifacts).remove_abandoned()

    def _start(self) -> subprocess.Popen[str]:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_bytes(b"")
            log = self.log.open("ab")
        except OSError as error:
            raise UserError(
                f"the log of exports cannot be written to {self.log} ({error.strerror}, error {error.errno}): "
                "make its folder writable or set SUITE_HOME to another one"
            ) from error
        argv = [*PROCESS, str(self.artifacts), str(self.log)]
        with log:
            # Waiting threads yield their core; on a busy host, spinning ones take it from the threads they wait for.
            environ = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
            # In its own session, so that Ctrl-C reaches only us, and we end it.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=environ,
            )
        return self._process

    def _ask(self, process: subprocess.Popen[str], order: Order, on_progress: Notify) -> dict[str, Any] | None:
        """Returns the answer, or None if the process dies."""
        if process.stdin is None or process.stdout is None:
            return None
        try:
            process.stdin.write(order.line() + "\n")
            process.stdin.flush()
        except OSError:
            return None
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "progress" not in answer:
                return answer
            on_progress(answer["progress"])
        return None

    def _keep_log(self, plan: Plan, quant: str) -> Path:
        """Renames the log so that the next process does not overwrite it. Returns the new path."""
        name = re.sub(r"[^\w.-]+", "_", f"{plan.model}-{quant}")
        try:
            return self.log.replace(self.log.with_name(f"{self.log.stem}-{name}{self.log.suffix}"))
        except OSError:
            return self.log

    def _epitaph(self, plan: Plan, quant: str, code: int, log: Path) -> str:
        """Describes how the process died."""
        named = f"{plan.model} {quant}"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return (
                f"the process that exports {named} was killed by {name}, usually by the kernel for lack of memory: "
                f"close other programs or choose a smaller model (its log is {log})"
            )
        free, needed = shutil.disk_usage(log.parent).free, _program_bytes(plan, quant)
        if free < needed:  # then the log is incomplete too
            return (
                f"exporting {named} failed, and the disk of {log.parent} has {free / 1e6:.0f} MB free, but the "
                f"program alone takes about {needed / 1e6:.0f} MB: free space there or set SUITE_HOME to another disk"
            )
        words = _logged_cause(log)
        detail = f" ({words})" if words else ""
        return f"exporting {named} failed with exit code {code}{detail}: see the log {log}"


def _program_bytes(plan: Plan, quant: str) -> int:
    workload = next(item for item in plan.workloads(answers=1) if item.quant == quant)
    return estimate(workload, plan.config).deployed_bytes


def _logged_cause(log: Path) -> str:
    try:
        text = decode(log.read_bytes()[-_LOG_TAIL_BYTES:])
    except OSError:
        return ""
    return cause_line(text, limit=300).removeprefix(": ")
