"""Runs a peer in a process that `suite.peers.rounds` starts. It prints what a runner prints (docs/contracts.md).

    python -m suite.peers.process JOB.json

It loads the peer, repeats its work to warm up and then as often as the job requires, timing each, and writes the logits
that prove which work was done. What libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json
from suite.peers.peer import JobSensor, PeerJob, Performer

_STATUS = Path("/proc/self/status")


class Output:
    """The lines of this process. From now on, what libraries print on standard output goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lines = 0
        os.dup2(2, 1)

    def event(self, name: str, **fields: Any) -> None:
        """Prints an event."""
        print(json.dumps({"event": name, **fields}), file=self._stream, flush=True)
        self._lines += 1

    def end(self) -> None:
        """Prints the last line, which proves that none is missing."""
        self.event("end", lines=self._lines)


def main(arguments: Sequence[str]) -> int:
    """Carries out the job and returns the exit code."""
    output = Output()
    job = PeerJob.from_document(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    if job.cpus is not None:
        os.sched_setaffinity(0, job.cpus)
    # Before any library that starts threads is loaded.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(job.threads)))
    output.event("header", **_header(job))
    stage, steps = "load", 0
    try:
        begin = time.monotonic_ns()
        performer = _make(job)
        _forget_peak()
        loaded, memory = time.monotonic_ns(), _memory()
        output.event("load", t0_ns=begin, t1_ns=loaded, program_bytes=0, rss_kib=memory["VmRSS"], **_peak(memory))
        stage = "execute"
        with Sampler(job.sensors, output):
            steps = _measure(job, performer, output)
        peak = _peak(_memory())
        _write_logits(performer, Path(job.logits))
    except Exception as error:  # noqa: BLE001 - anything that a library raises is recorded as this peer's outcome
        output.event("footer", cause="error", stage=stage, reason=_reason(error), steps=steps, **_peak(_memory()))
        output.end()
        return 1
    output.event("footer", cause="completed", steps=steps, t_ns=time.monotonic_ns(), **peak)
    output.end()
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    return printable(f"{type(error).__name__}: {error}".strip().splitlines()[0], 400)


def _make(job: PeerJob) -> Performer:
    module, _, function = job.peer.maker.partition(":")
    made: Performer = getattr(importlib.import_module(f"suite.peers.{module}"), function)(job)
    return made


def _header(job: PeerJob) -> dict[str, Json]:
    return {
        "schema": 1,
        "session": job.session,
        "runner": job.peer.name,
        "clock": "CLOCK_MONOTONIC",
        "t_ns": time.monotonic_ns(),
        "pid": os.getpid(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cpu": platform.processor(),
        "cpu_count": os.cpu_count() or 1,
        "cpu_features": [],
        "threads": job.threads,
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "executorch": "",
    }


def _measure(job: PeerJob, performer: Performer, output: Output) -> int:
    """Repeats the work until enough is measured. Returns how often it was done."""
    step, end_ns = 0, 0
    while step < job.warm_up + job.steps or time.monotonic_ns() < end_ns:
        if step == job.warm_up:
            end_ns = time.monotonic_ns() + round(job.least_seconds * 1e9)
        begin = time.monotonic_ns()
        losses = performer.perform()
        end = time.monotonic_ns()
        phase = "warm_up" if step < job.warm_up else "measured"
        output.event("step", index=step, phase=phase, t0_ns=begin, t1_ns=end, losses=list(losses))
        step += 1
    return step


def _write_logits(performer: Performer, path: Path) -> None:
    found = performer.logits()
    if found is not None:
        import numpy as np  # only llama.cpp's peer has loaded it already

        np.save(path, found)


def _forget_peak() -> None:
    """Resets the peak, as reading and converting the suite's weights is not part of a peer's usual work."""
    Path("/proc/self/clear_refs").write_text("5")


def _memory() -> dict[str, int]:
    lines = (line.partition(":") for line in _STATUS.read_text().splitlines())
    return {name: int(rest.split()[0]) for name, _, rest in lines if name in ("VmRSS", "VmHWM", "VmSwap")}


def _peak(memory: Mapping[str, int]) -> dict[str, int]:
    return {"hwm_kib": memory["VmHWM"], "swap_kib": memory["VmSwap"]}


class Sampler:
    """Reads the sensor files of a runner's job during the block, and prints the samples afterwards."""

    def __init__(self, sensors: Sequence[JobSensor], output: Output) -> None:
        self._sensors, self._output = sensors, output
        self._samples: list[dict[str, Json]] = []
        self._errors: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> None:
        if self._sensors:
            self._read_all()
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        if not self._sensors:
            return
        self._ended.set()
        self._thread.join()
        self._read_all()
        for sample in self._samples:
            self._output.event("sample", **sample)
        for name, reason in self._errors.items():
            self._output.event("sensor_error", sensor=name, errors=1, reason=reason)

    def _sample(self) -> None:
        period = 1 / max(sensor["rate_hz"] for sensor in self._sensors)
        while not self._ended.wait(period):
            self._read_all()

    def _read_all(self) -> None:
        for sensor in self._sensors:
            try:
                factor = 1.0 if "times" not in sensor else _first_number(sensor["times"])
                value = _first_number(sensor["path"], sensor.get("field", "")) * factor * sensor["scale"]
            except (OSError, ValueError, IndexError) as error:
                self._errors[sensor["name"]] = str(error)
                continue
            low, high = sensor.get("range", (value, value))
            if low <= value <= high:
                self._samples.append({"t_ns": time.monotonic_ns(), "sensor": sensor["name"], "value": value})


def _first_number(path: str, field: str = "") -> float:
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    line = next((line for line in text.splitlines() if line.startswith(field)), field)
    return float(line.removeprefix(field).replace(":", " ").split()[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
