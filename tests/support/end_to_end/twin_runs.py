"""Runs on twins during which something goes wrong: who is measured, when it happens, and what is left afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ruamel.yaml import YAML

from devices.access import connect
from devices.deployment.built_runner import write_manifest
from devices.transports.adb.link import adb_transport
from devices.transports.shell.conversation import Patience
from devices.transports.ssh.link import ssh_transport
from suite.measuring import job, reaching
from tests.support.end_to_end.suite_runs import SHAPE, Bench, Ran
from tests.support.twins.twin_devices import Twin

BOARD, OTHER = "board", "other"
"""The twin that has the fault, and a device beside it that must not be affected."""

FAULT_TIMEOUT_S = 400.0  # an emulated board on a very busy host

RESTART_S = 30.0
"""The time in which a twin restarts on a busy host; a user's board gets a minute."""

Outcome = tuple[int, int, str]
"""Ordinal, attempt and status of a session."""


class OverBeforeError(Exception):
    """A run ended before its fault could happen."""


class TwinRun:
    """A run of tiny in fp32 on a twin and on a second, local device, and queries for what it left."""

    def __init__(self, bench: Bench, *, steps: int = 8, **board: Any) -> None:
        self.bench, self.steps = bench, steps
        self.last: Ran | None = None
        other = {"kind": "local", "emulated": True, "threads": 1}
        YAML().dump({"devices": {BOARD: board, OTHER: other}}, bench.folder / "inventory.yaml")

    def __call__(self, *, sessions: int = 2, steps: int | None = None, energy_window_s: float = 0) -> Ran:
        """Runs to the end in this process. Even with a power sensor, a session only takes as long as its steps, unless
        there is an energy window, for which it goes on with more.
        """
        amount = ("--sessions", str(sessions), "--steps", str(steps or self.steps))
        window = ("--energy-window", str(energy_window_s))
        self.last = self.bench("run", "--device", "all", *SHAPE, "--quant", "fp32", *amount, *window, "--json")
        return self.last

    def sessions(self, device: str = BOARD) -> list[Outcome]:
        """The sessions of a device in the order in which they were committed."""
        return self.bench.rows(
            "SELECT s.ordinal, s.attempt, s.status FROM session s JOIN measurement m ON m.id = s.measurement_id "
            f"JOIN device d ON d.id = m.device_id WHERE d.name = '{device}' ORDER BY s.committed_at, s.rowid"
        )

    def steps_in(self, ordinal: int, attempt: int = 0) -> int:
        """How many steps of a session of the board have arrived so far."""
        return sum(line.startswith('{"event":"step"') for line in self._lines(ordinal, attempt))

    def readings_in(self, ordinal: int) -> int:
        """How many readings of the sensor that is read most often have arrived so far."""
        samples = [line for line in self._lines(ordinal) if line.startswith('{"event":"sample"')]
        return max(Counter(re.findall(r'"sensor":"([^"]*)"', "\n".join(samples))).values(), default=0)

    def _lines(self, ordinal: int, attempt: int = 0) -> list[str]:
        logs = self.bench.home.glob(f"runs/*/*.{BOARD}-*.s{ordinal}.a{attempt}.jsonl")
        return [line for log in logs for line in log.read_text().splitlines()]

    @contextlib.contextmanager
    def fault(
        self, happen: Callable[[], Any], *, ordinal: int = 1, after_steps: int = 3, after_readings: int = 0
    ) -> Iterator[None]:
        """Calls `happen` in mid-session, while the block runs. Raises its error, TimeoutError or OverBeforeError."""
        over, raised = threading.Event(), []

        def wait_and_act() -> None:
            try:
                end_s = time.monotonic() + FAULT_TIMEOUT_S
                while self.steps_in(ordinal) < after_steps or self.readings_in(ordinal) < after_readings:
                    if over.is_set():
                        raise OverBeforeError(f"the run ended before session {ordinal} came to its step {after_steps}")
                    if time.monotonic() > end_s:
                        raise TimeoutError(
                            f"session {ordinal} came not to its step {after_steps} in {FAULT_TIMEOUT_S:.0f} s"
                        )
                    time.sleep(0.02)
                happen()
            except Exception as error:  # noqa: BLE001 - raised again where the test sees it
                raised.append(error)

        thread = threading.Thread(target=wait_and_act, name="fault")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if raised:
            if self.last is not None:
                raised[0].add_note(f"The run left with {self.last.code} and printed:\n{self.last.err}")
            raise raised[0]


def steps_to_hit(twin: Twin) -> int:
    """Returns enough steps to last a second or more: long enough to be hit in the middle."""
    return 8 if twin.board.processor.emulated_as else 500


def outcome(ran: Ran, device: str = BOARD) -> Mapping[str, Any]:
    """Returns the only measurement of a device; the run must not have printed a traceback."""
    assert "Traceback" not in ran.err
    (found,) = [item for item in ran.document["measurements"] if item["device"] == device]
    return MappingProxyType(found)


def runners_in(twin: Twin, word: str = "job.json") -> list[int]:
    """Returns the runners that are left in a twin, or what else has `word` in its arguments, after giving them time to
    be ended.
    """
    end_s = time.monotonic() + 60
    while (left := twin.machine.named(word)) and time.monotonic() < end_s:
        time.sleep(0.05)
    return left


def warm_up_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets any two steps end the warm-up: emulated ones vary so much that it would take as long as it may."""
    monkeypatch.setattr(job, "WARM_UP_TOLERANCE", 1.0)


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notices silence sooner than a user would want, but in the real way.

    A healthy emulated device may take many seconds to answer while all tests run.
    """
    warm_up_briefly(monkeypatch)
    patience = Patience(silence_s=2.0, answer_s=20.0, grace_s=2.0)
    transports = dict(connect.TRANSPORTS) | {
        "ssh": lambda entry: ssh_transport(entry, patience=patience),
        "adb": lambda entry: adb_transport(entry, patience=patience),
    }
    monkeypatch.setattr(connect, "TRANSPORTS", MappingProxyType(transports))
    monkeypatch.setattr(reaching, "RECONNECT_SECONDS", (2.0, RESTART_S))


_PLAY = r"""
folder=${0%/*}
name() { sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p" job.json | head -n 1; }
session=$(name session)
ordinal=${session##*.s}
ordinal=${ordinal%%.*}
program=$(name program)
program=${program%/*}
lines=0
while IFS= read -r line; do
    case $line in
    sleep*) sleep "${line#* }" ;;
    run*) . "$folder/${line#* }" ;;
    *)
        printf '%s\n' "$line" | sed "s/SESSION/$session/; s/LINES/$lines/"
        lines=$((lines + 1)) ;;
    esac
done <"$folder/${program##*/}"
"""
_ELF_MACHINES = {"aarch64": 183, "x86_64": 62}  # e_machine of elf(5)
_SECOND_NS = 10**9


def scripted_runner(bench: Bench, twin: Twin, *, pause_s: float = 0.2, steps: int = 12, during: str = "") -> Path:
    """Makes a folder for `runner:` of the twin's entry: a shell script that prints a session of fp32 in real time.

    `during` is shell code that is run in the middle of each session (`$ordinal` is its number).
    """
    folder, machine = bench.folder / "own runner", twin.board.processor.machine
    folder.mkdir()
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, _ELF_MACHINES[machine]) + bytes(44)
    (folder / "runner").write_bytes(header)  # from which the suite identifies the program's machine
    (folder / "play").write_text(_PLAY)
    (folder / "during").write_text(during or ":\n")
    for record in (bench.home / "artifacts").glob("*/artifact.json"):
        if json.loads(record.read_text())["workload"]["quant"] == "fp32":
            (folder / record.parent.name).write_text("".join(_lines(record.parent, machine, steps, pause_s)))
    write_manifest(folder, ("sh", "{folder}/play"), {"machine": machine})
    return folder


def _lines(artifact: Path, machine: str, steps: int, pause_s: float) -> Iterator[str]:
    references = (json.loads(path.read_text()) for path in artifact.glob("reference-*.json"))
    losses = next(document["losses"] for document in references if document["of"]["seed"] == 7)
    begin = 5 * _SECOND_NS

    def event_line(**event: Any) -> str:
        return re.sub(r'"LINES"', "LINES", json.dumps(event, separators=(",", ":"))) + "\n"

    yield event_line(
        **{"event": "header", "schema": 1, "session": "SESSION", "runner": "scripted", "clock": "CLOCK_MONOTONIC"},
        **{"t_ns": begin, "pid": 1, "machine": machine, "kernel": "6", "cpu": "none", "cpu_count": 1},
        **{"cpu_features": [], "threads": 1, "cpus_allowed": [0], "executorch": "1.5.1"},
    )
    loaded = {"rss_kib": 8000, "hwm_kib": 8000, "swap_kib": 0, "program_bytes": 1}
    yield event_line(event="load", t0_ns=begin, t1_ns=begin + _SECOND_NS, **loaded)
    for index in range(2 + steps):
        t0 = begin + (1 + index) * _SECOND_NS
        phase = "measured" if index >= 2 else "warm_up"
        step = {"index": index, "phase": phase, "t0_ns": t0, "t1_ns": t0 + _SECOND_NS}
        yield event_line(event="step", **step, losses=losses[min(index, len(losses) - 1)])
        yield f"sleep {pause_s}\n"
        if index == 5:
            yield "run during\n"
    faults = {"minor_faults": 0, "major_faults": 0, "sampler_cpu_ns": 0, "t_ns": begin + 99 * _SECOND_NS}
    memory = {"hwm_kib": 9000, "swap_kib": 0}
    ending = {"cause": "completed", "reason": "", "error_code": None, "stage": None, "steps": 2 + steps}
    yield event_line(event="footer", **ending, **memory, **faults)
    yield event_line(event="end", lines="LINES")
