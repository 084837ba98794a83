"""Energy of devices whose power follows a model with a known integral: from the kind's sensors to joules per step.

Instead of a kernel, a thread updates the files, by the clock that the runner samples with.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time

import pytest

from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import KINDS
from devices.processes import ProcessEnd
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from foundation.unavailable import Unavailable
from suite.energy.session_energy import SessionEnergy, session_energy
from suite.measuring.sensor_plan import sensor_plan
from suite.sessions.collect import collect

pytestmark = pytest.mark.slow

BASE_MW, SWING_MW, PERIOD_S = 4000.0, 1500.0, 0.9
WRITE_S = 0.004


def power_mw(t_s):
    return BASE_MW + SWING_MW * math.sin(2 * math.pi * t_s / PERIOD_S)


def energy_mj(begin_s, end_s):
    """The integral of `power_mw`."""
    scale = SWING_MW * PERIOD_S / (2 * math.pi)
    turn = 2 * math.pi / PERIOD_S
    return BASE_MW * (end_s - begin_s) - scale * (math.cos(turn * end_s) - math.cos(turn * begin_s))


class Model:
    """A tree of files, some of them functions of the power, which are rewritten continually."""

    def __init__(self, root):
        self.root = root
        self.moving = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.write)

    def file(self, path, value):
        """`value`: a text, or a function of milliwatts."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if callable(value):
            self.moving.append((os.open(place, os.O_CREAT | os.O_WRONLY), value))
            self.write_now()
        else:
            place.write_text(value)

    def write_now(self):
        now_mw = power_mw(time.monotonic())
        for handle, value in self.moving:
            # One write of one width: a reader sees a whole number.
            os.pwrite(handle, b"%-20d\n" % round(value(now_mw)), 0)

    def write(self):
        while not self.stop.wait(WRITE_S):
            self.write_now()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        for handle, _ in self.moving:
            os.close(handle)


def old_jetson(model):
    rail = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    model.file(f"{rail}/rail_name_0", "POM_5V_IN")
    model.file(f"{rail}/in_power0_input", lambda mw: mw)
    model.file(f"{rail}/rail_name_1", "POM_5V_CPU")
    model.file(f"{rail}/in_power1_input", lambda mw: mw / 2)
    return {"kind": "jetson"}


def new_jetson(model):
    rail = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    model.file(f"{rail}/in1_label", "VDD_IN")
    model.file(f"{rail}/in1_input", "5000")
    model.file(f"{rail}/curr1_input", lambda mw: mw / 5)
    return {"kind": "jetson"}


def phone(model):
    battery = "sys/class/power_supply/battery"
    for name, text in (("type", "Battery"), ("status", "Discharging"), ("voltage_now", "4000000")):
        model.file(f"{battery}/{name}", text)
    # Milliamperes that flow into the battery.
    model.file(f"{battery}/current_now", lambda mw: -mw / 4)
    return {"kind": "android", "power": {"scale": 1000.0, "sign": -1}}


def monitored_board(model):
    model.file("sys/class/hwmon/hwmon0/name", "ina226")
    model.file("sys/class/hwmon/hwmon0/power1_input", lambda mw: mw * 1000)
    return {"kind": "linux", "power": {"sensor": "hwmon.ina226.power1"}}


def pi_5(model):
    """Returns a board whose firmware reads milliwatts from a file, as amperes of a rail at 1 V."""
    model.file("proc/device-tree/model", "Raspberry Pi 5 Model B")
    model.file("milliwatts", lambda mw: mw)
    vcgencmd = model.root / "usr/bin/vcgencmd"
    vcgencmd.parent.mkdir(parents=True)
    vcgencmd.write_text(
        "#!/bin/sh\ncase $1 in pmic_read_adc)\n"
        f'read mw < {model.root}/milliwatts\nprintf " X_A current(0)=%d.%03dA\\n X_V volt(1)=1.0V\\n" '
        "$((mw / 1000)) $((mw % 1000)) ;;\n*) exit 1 ;; esac\n"
    )
    vcgencmd.chmod(0o755)
    return {"kind": "raspberrypi"}


def measure(run, job, model, device, seconds, rate_hz=None):
    """Runs the job with the device's sensors; returns record, plan and energy."""
    with model:
        values = {"name": "d", "transport": "local", "workdir": "/w"} | device(model)
        entry = DeviceEntry.model_validate(values)
        found = KINDS[entry.kind](entry).sensors(Tree(LocalTransport(), str(model.root)))
        totals = [sensor for sensor in found.sensors if sensor.total]
        assert len(totals) == 1
        entries = [sensor.job_entry() for sensor in totals]
        entries[0]["rate_hz"] = rate_hz or entries[0]["rate_hz"]
        outcome = run(job | {"min_measured_seconds": seconds, "sensors": entries})
    plan = sensor_plan(found, entry.power)
    lines = [json.dumps(event) for event in outcome.events]
    record = collect("s-1", lines, ProcessEnd(rc=0), plan.quantities)
    energy = session_energy(record, plan.energy_sensors, plan.wrap_range_mj, Unavailable("not asked"))
    assert isinstance(energy, SessionEnergy), energy
    return record, energy


def known_mj(record, energy):
    """The model's energy over the steps that lie between the first and the last sample."""
    (trace,) = record.samples.values()
    covered = [step for step in record.measured_steps if trace.t_ns[0] <= step.t0_ns and step.t1_ns <= trace.t_ns[-1]]
    assert energy.steps == len(covered)
    return energy_mj(covered[0].t0_ns / 1e9, covered[-1].t1_ns / 1e9)


@pytest.mark.parametrize("device", [old_jetson, new_jetson, phone, monitored_board])
def test_energy_from_a_device_of_files_is_the_integral_of_its_power(run, job, tmp_path, device):
    record, energy = measure(run, job, Model(tmp_path / "root"), device, 2.0, rate_hz=25.0)
    assert energy.gross_mj * energy.steps == pytest.approx(known_mj(record, energy), rel=0.02)


def test_energy_from_a_program_is_the_integral_of_a_power_that_its_rate_can_follow(run, job, tmp_path, monkeypatch):
    # Two samples a second can't resolve a period of 0.9 s.
    monkeypatch.setattr(__name__ + ".PERIOD_S", 30.0)
    record, energy = measure(run, job, Model(tmp_path / "root"), pi_5, 4.6)
    assert energy.gross_mj * energy.steps == pytest.approx(known_mj(record, energy), rel=0.02)
