"""The thermal gate and the idle power, with a clock that only waiting moves."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from devices.errors import FileCause, FileError
from devices.sensors.spec import Sensor
from foundation.unavailable import Unavailable
from suite.measuring.idle_device import COOLED_WITHIN_MC, LONGEST_WAIT_SECONDS, Clock, ThermalGate, idle_power_mw

SOC = Sensor("soc", "temperature_mc", "/soc", 1.0, 1.0, "zone")
SKIN = Sensor("skin", "temperature_mc", "/skin", 1.0, 1.0, "zone")
POWER = Sensor("VDD", "power_mw", "/mv", 0.001, 10.0, "rail", times="/ma", total=True)
MEMORY = Sensor("rss", "memory_kib", "/status", 1.0, 10.0, "status", field="VmRSS")


@dataclass
class Scene:
    """Files that change with the time that was waited."""

    files: dict[str, Any]
    now_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(monotonic_ns=lambda: round(self.now_s * 1e9), sleep=self._sleep)

    @property
    def device(self) -> Any:
        return SimpleNamespace(transport=SimpleNamespace(read_texts=self._read))

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def _read(self, paths: list[str]) -> dict[str, Any]:
        found = {path: self.files.get(path) for path in paths}
        return {
            path: FileError("read", path, FileCause.MISSING)
            if value is None
            else str(value(self.now_s) if callable(value) else value)
            for path, value in found.items()
        }


def test_the_gate_waits_until_the_hottest_zone_is_back_near_its_start() -> None:
    scene = Scene({"/soc": 40000, "/skin": 30000})
    gate = ThermalGate.at_start(scene.device, [SOC, SKIN], scene.clock)
    scene.files["/soc"] = lambda now_s: 50000 - 1000 * now_s
    assert gate.wait(scene.device, [SOC, SKIN], scene.notes.append) is None
    assert scene.now_s == 10.0
    assert 50000 - 1000 * scene.now_s <= 40000 + COOLED_WITHIN_MC
    assert len(scene.notes) == 2


def test_the_gate_gives_up_after_the_longest_wait_and_says_so() -> None:
    scene = Scene({"/soc": 40000})
    gate = ThermalGate.at_start(scene.device, [SOC], scene.clock)
    scene.files["/soc"] = 47500
    assert "soc was still 7.5 degC above" in (gate.wait(scene.device, [SOC], scene.notes.append) or "")
    assert scene.now_s == LONGEST_WAIT_SECONDS


@pytest.mark.parametrize("sensors", [[], [MEMORY], [SOC]])
def test_a_device_whose_temperature_is_unknown_does_not_wait(sensors: list[Sensor]) -> None:
    scene = Scene({})
    gate = ThermalGate.at_start(scene.device, sensors, scene.clock)
    assert gate.wait(scene.device, sensors, scene.notes.append) is None
    assert scene.now_s == 0.0


def test_idle_power_is_the_mean_over_ten_seconds() -> None:
    scene = Scene({"/mv": 5000, "/ma": lambda now_s: 100 + 20 * now_s, "/status": "x"})
    found = idle_power_mw(scene.device, [POWER, MEMORY], ["VDD"], {}, scene.clock)
    # 5 V times 100 mA + 20 mA/s over 10 s: 500 mW at the begin, 1500 mW at the end.
    assert found == pytest.approx(1000.0)
    assert scene.now_s == pytest.approx(10.1)


def test_idle_power_without_a_readable_sensor_is_unavailable() -> None:
    scene = Scene({"/mv": 5000})
    assert isinstance(idle_power_mw(scene.device, [MEMORY], [], {}, scene.clock), Unavailable)
    missing = idle_power_mw(scene.device, [POWER], ["VDD"], {}, scene.clock)
    assert isinstance(missing, Unavailable)
    assert "VDD could not be read" in missing.reason
