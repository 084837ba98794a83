"""A runner that prints scripted output, with a clock of its own, on a device whose /proc and /sys are plain files."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import DeployFile
from suite.measuring import orchestrate
from suite.measuring.idle_device import POLL_SECONDS, Clock
from suite.measuring.run import Run
from suite.preparing import runners
from tests.support.end_to_end.suite_runs import Bench

PROGRAM = r"""
import json, sys, time

def say(**event):
    print(json.dumps(event, separators=(",", ":")), flush=True)
    say.lines += 1

say.lines = 0
job = json.load(open("job.json"))
variants = json.load(open(SCRIPT))["variants"]
header = dict(event="header", schema=1, session=job["session"], runner="scripted", clock="CLOCK_MONOTONIC",
              t_ns=5 * 10**9, pid=1, machine="x86_64", kernel="6", cpu="none", cpu_count=1, cpu_features=[], threads=1,
              cpus_allowed=[0], executorch="1.5.1",
              kernels=job.get("kernels", next(iter(variants))), variants=list(variants))
footer = dict(event="footer", cause="completed", reason="", error_code=None, stage=None, steps=0, hwm_kib=9000,
              swap_kib=0, minor_faults=0, major_faults=0, sampler_cpu_ns=0, t_ns=104 * 10**9)
if sys.argv[1] == "--kernels":
    say(**header)
    for weights in ("bf16", "int8", "nf4", "nf4-double") if len(variants) > 1 else ():
        for name, ns in variants.items():
            say(event="product", weights=weights, kernels=name, ns=[ns])
    say(**footer)
    say(event="end", lines=say.lines)
    sys.exit(0)
probe = job["program"] == "arithmetic.pte"  # of a sum of 4096 ones
if probe:
    job |= {"program": "probe/arithmetic.pte", "session": "arithmetic.a0", "steps": 1}
script = json.load(open(SCRIPT)).get(job["program"].split("/")[-2], {})
if probe:
    script = {"losses": [[4096.0] * 256]}
attempt = int(job["session"].rpartition(".a")[2])
second, begin = 10**9, 5 * 10**9
say(**header | {"session": job["session"]})
if "error" in script:
    say(**{**footer, "cause": "error", **script["error"]})
    say(event="end", lines=say.lines)
    sys.exit(1)
say(event="load", t0_ns=begin, t1_ns=begin + second, rss_kib=8000, hwm_kib=8000, swap_kib=0, program_bytes=1)
names = {sensor["quantity"]: sensor["name"] for sensor in job["sensors"]}
start, total = begin + second, 2 + job["steps"]
second = int(second * script.get("slower", 1.0))
for index in range(total):
    losses = script["losses"][min(index, len(script["losses"]) - 1)]
    t0 = start + index * second
    phase = "measured" if index >= 2 else "warm_up"
    say(event="step", index=index, phase=phase, t0_ns=t0, t1_ns=t0 + second, losses=losses)
    for tenth in range(11 if index == total - 1 else 10):
        t = t0 + tenth * second // 10
        if "power_mw" in names:
            # Rises by 500 mW a second from 6000 mW where the measured steps begin.
            value = 6000.0 + 500.0 * (t - start - 2 * second) / second
            say(event="sample", t_ns=t, sensor=names["power_mw"], value=value)
    if "temperature_mc" in names and "temperature_mc" in script:
        say(event="sample", t_ns=t0, sensor=names["temperature_mc"], value=script["temperature_mc"])
        if script.get("hang"):
            time.sleep(600)
    if "throttle_events" in names:
        count = index if attempt < script.get("throttled_attempts", 0) else 0
        say(event="sample", t_ns=t0, sensor=names["throttle_events"], value=float(count))
if "heats" in script:
    open(script["heats"], "w").write("50000")
say(**{**footer, "steps": total, "t_ns": start + total * second})
say(event="end", lines=say.lines)
"""

FILES = {
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
    "proc/self/status": "VmRSS:\t 8000 kB\n",
    "sys/devices/system/cpu/possible": "0",
    "sys/devices/system/cpu/present": "0",
    "sys/devices/system/cpu/online": "0",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0",
    "sys/devices/system/cpu/cpu0/topology/core_id": "0",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "0",
    "sys/class/power_supply/BAT0/type": "Battery",
    "sys/class/power_supply/BAT0/status": "Discharging",
    "sys/class/power_supply/BAT0/power_now": "3000000",
    "sys/class/thermal/thermal_zone0/type": "soc",
    "sys/class/thermal/thermal_zone0/temp": "40000",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "90000",
}


@dataclass
class Board:
    """A device made of files, its runner's script by setting and the times of its kernels, the widest first, and a
    clock that only the suite's waiting moves."""

    root: Path
    bench: Bench
    now_ns: int = 0
    polls: int = 0
    on_poll: list[Callable[[], None]] = field(default_factory=list)
    variants: dict[str, int] = field(default_factory=lambda: {"only": 1000})

    @property
    def temperature(self) -> Path:
        return self.root / "sys/class/thermal/thermal_zone0/temp"

    def script(self, **by_setting: dict[str, Any]) -> None:
        """Scripts the runner by setting; settings without a script run normally."""
        scripts: dict[str, Any] = {"variants": self.variants}
        for folder in (self.bench.home / "artifacts").glob("*/artifact.json"):
            quant = json.loads(folder.read_text())["workload"]["quant"]
            known = (
                document["losses"]
                for path in folder.parent.glob("reference-*.json")
                if (document := json.loads(path.read_text()))["of"]["seed"] == 7
            )
            losses = next(known, [[8.0, 8.0]])  # fp16 has no reference losses before its device is known
            scripts[folder.parent.name] = {"losses": losses} | by_setting.get(quant, {})
        (self.root / "script.json").write_text(json.dumps(scripts))

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        if seconds == POLL_SECONDS:
            self.polls += 1
            for action in self.on_poll:
                action()


def make_board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    """Replaces the real runner and device with a scripted runner and a device of files."""
    root = bench.folder / "board"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    board = Board(root, bench)
    program = root / "runner"
    script = repr(str(root / "script.json"))
    program.write_text(f"#!{sys.executable} -IS\n" + PROGRAM.replace("SCRIPT", script))
    content = program.read_bytes()
    file = DeployFile(program, "runner", hashlib.sha256(content).hexdigest(), len(content), executable=True)
    monkeypatch.setattr(runners, "build_runner", lambda *_: BuiltRunner(root, "scripted", "x86_64", (file,)))
    clock = Clock(monotonic_ns=lambda: board.now_ns, sleep=board.sleep)
    monkeypatch.setattr(orchestrate, "Run", functools.partial(Run, clock=clock, root=str(root)))
    board.script()
    return board
