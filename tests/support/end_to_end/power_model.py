"""Power that changes as a known function of time while a runner runs: a process writes it into a twin's gauge.

The runner keeps a sensor's file open, as sysfs allows, so the files are written in place and keep their length.

The process follows CLOCK_MONOTONIC, which a twin shares where it shares the host's kernel, and rewrites the files a
hundred times a second, ten times as often as the suite reads them.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

IDLE_MW = 2000.0
MEAN_MW, SWING_MW, PERIOD_S = 6000.0, 2500.0, 2.7
MILLIVOLTS = 5000.0
_WRITER = """\
import math, os, sys, time
idle, mean, swing, period, volts, pid_file, milliwatts, milliamperes, microamperes, parent = sys.argv[1:]
idle, mean, swing, period, volts = map(float, (idle, mean, swing, period, volts))
files = {path: os.open(path, os.O_WRONLY) for path in (milliwatts, milliamperes, microamperes) if path}
def put(path, value):
    os.pwrite(files[path], b"%-8d\\n" % round(value), 0)
os.nice(-10)
while os.getppid() == int(parent):
    power = idle
    if os.path.exists(pid_file):
        power = mean + swing * math.sin(2 * math.pi * time.monotonic() / period)
    if milliwatts:
        put(milliwatts, power)
    if milliamperes:
        put(milliamperes, power * 1000 / volts)
    if microamperes:
        put(microamperes, power * 1e6 / volts)
    time.sleep(0.01)
"""


def training_mj(begin_ns: int, end_ns: int) -> float:
    """Returns the model's integral over an interval in which the runner runs."""
    turn = 2 * math.pi / PERIOD_S
    begin_s, end_s = begin_ns / 1e9, end_ns / 1e9
    swung = (math.cos(turn * begin_s) - math.cos(turn * end_s)) / turn
    return MEAN_MW * (end_s - begin_s) + SWING_MW * swung


@contextlib.contextmanager
def modelled_power(
    pid_file: Path,
    *,
    milliwatts: Path | None = None,
    milliamperes: Path | None = None,
    microamperes: Path | None = None,
) -> Iterator[None]:
    """Writes the model into the files while the block runs: training while `pid_file` exists, else idle."""
    numbers = [str(number) for number in (IDLE_MW, MEAN_MW, SWING_MW, PERIOD_S, MILLIVOLTS)]
    paths = [str(path or "") for path in (pid_file, milliwatts, milliamperes, microamperes)]
    writer = subprocess.Popen([sys.executable, "-IS", "-c", _WRITER, *numbers, *paths, str(os.getpid())])
    try:
        yield
        assert writer.poll() is None, "the power model ended early"
    finally:
        writer.kill()
        writer.wait()
