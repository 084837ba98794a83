"""What is read through jtop's client, with a stand-in that behaves like the client on boards."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devices.inventory.entry import DeviceEntry
from devices.kinds.jetson import JetsonKind
from devices.sensors.jetson_jtop import JtopReading, NoJtop, read_jtop
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery, Sensor
from tests.support.devices.made_files import MakeTree

RAILS = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
CLIENT = """
import threading, time
class jtop(threading.Thread):
    power = {power}
    temperature = {{"CPU": {{"temp": 41.5, "online": True}}, "GPU": {{"temp": -256, "online": False}}}}
    nvpmodel = None
    uptime = 0
    def __init__(self, interval):
        super().__init__(daemon=True)
        self.interval = {interval}
    def attach(self, observer): self.observer = observer
    def start(self):
        {start}
        super().start()
    def run(self):
        while True:
            self.observer(self)
            self.uptime += {pace}
            time.sleep(0.01)
    def ok(self, spin): return True
"""

WithClient = Callable[..., Tree]


def client(power: object, start: str = "pass", pace: object = 1, interval: float = 0.5) -> str:
    return CLIENT.format(power=power, start=start, pace=pace, interval=interval)


def rail(milliwatts: object) -> dict[str, object]:
    return {"volt": 5000, "curr": 1, "power": milliwatts, "online": True, "avg": 1}


def summed(**rails: object) -> dict[str, object]:
    """As jtop gives a board's power that has no input rail; its sum is wrong on purpose."""
    return {"rail": {name: rail(value) for name, value in rails.items()}, "tot": {"power": 1, "avg": 1}}


@pytest.fixture
def board(make_tree: MakeTree) -> WithClient:
    """A device whose Python has that client, or none; its service's socket is there."""

    def make(module: str | None, files: Mapping[str, str] | None = None) -> Tree:
        own = {} if module is None else {"lib/jtop.py": module}
        tree = make_tree({"run/jtop.sock": ""} | own | dict(files or {}))
        python = Path(tree.path("usr/bin/python3"))
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{tree.path("lib")}" exec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        return tree

    return make


def kind(**values: object) -> JetsonKind:
    entry = {"name": "nano", "kind": "jetson", "transport": "local", "workdir": "/w", "jtop": True}
    return JetsonKind(DeviceEntry.model_validate(entry | values))


def power(found: Discovery) -> dict[str, Sensor]:
    return {sensor.name: sensor for sensor in found.sensors if sensor.quantity == "power_mw"}


def gaps(found: Discovery) -> dict[str, str]:
    return {gap.name: f"{gap.reason}; {gap.remedy}" for gap in found.unavailable}


def new_rails(label: str, milliwatts: int = 500) -> dict[str, str]:
    return {f"{RAILS}/in1_label": label, f"{RAILS}/in1_input": "1000", f"{RAILS}/curr1_input": str(milliwatts)}


def test_jtop_is_the_total_where_no_rail_is(board: WithClient) -> None:
    found = kind().sensors(board(client(summed(VDD_GPU_SOC=500, VDD_CPU_CV=700)), new_rails("VDD_GPU_SOC")))
    sensor = power(found)["jtop"]
    assert sensor.total
    assert sensor.command is not None
    assert sensor.command[0].endswith("usr/bin/python3")
    assert set(sensor.job_entry()) == {"name", "quantity", "command", "field", "scale", "rate_hz", "range"}
    assert "power" not in gaps(found)


def test_jtop_is_never_added_to_the_input_rail(board: WithClient) -> None:
    module = client({"rail": {}, "tot": rail(900) | {"name": "VDD_IN"}})
    found = kind().sensors(board(module, new_rails("VDD_IN")))
    assert [name for name, sensor in power(found).items() if sensor.total] == ["VDD_IN"]
    assert "jtop" in power(found)


def test_the_total_is_the_sum_of_the_rails_whatever_the_client_adds_up(board: WithClient) -> None:
    module = client(summed(VDD_GPU_SOC=500, VDD_CPU_CV=700, **{"1-00081": 60_000}))
    reading = read_jtop(board(module, {"sys/class/power_supply/ucsi-source-psy-1-00081/type": "USB"}))
    assert isinstance(reading, JtopReading)
    assert (reading.total_rails, reading.total_mw) == (("VDD_CPU_CV", "VDD_GPU_SOC"), 1200)


@pytest.mark.parametrize("name", [{}, {"name": "POM_5V_IN"}], ids=["without a name", "with its name"])
def test_an_input_rail_is_the_total_in_every_version_of_the_client(board: WithClient, name: Mapping[str, str]) -> None:
    reading = read_jtop(board(client({"rail": {"POM_5V_GPU": rail(40)}, "tot": rail(2100) | dict(name)})))
    assert isinstance(reading, JtopReading)
    assert (reading.total_mw, reading.is_sum) == (2100, False)
    assert reading.rails_mw["POM_5V_GPU"] == 40


@pytest.mark.parametrize("none", [{}, {"rail": {}, "tot": {"power": 0, "avg": 0}}], ids=["no monitor", "none readable"])
def test_a_total_without_rails_is_unavailable_and_not_zero(board: WithClient, none: object) -> None:
    found = kind().sensors(board(client(none)))
    assert "jtop" not in power(found)
    assert "jtop knows no power rail of this board" in gaps(found)["jtop"]


def test_a_unit_that_is_off_has_no_temperature(board: WithClient) -> None:
    found = kind().sensors(board(client(summed(VDD_GPU_SOC=500))))
    assert [sensor.name for sensor in found.sensors if sensor.quantity == "temperature_mc"] == ["jtop.CPU"]


def test_the_rate_follows_the_interval_that_another_client_has_set(board: WithClient) -> None:
    sensor = power(kind().sensors(board(client(summed(VDD_GPU_SOC=500), interval=2.0))))["jtop"]
    assert sensor.rate_hz == 0.5
    assert "every 2 s" in sensor.method


def test_repeated_readings_of_a_stuck_service_count_once_and_then_end_the_sensor(board: WithClient) -> None:
    tree = board(client(summed(VDD_GPU_SOC=500), pace="1 if self.uptime < 5 else 0"))
    reading = read_jtop(tree)
    assert isinstance(reading, JtopReading)
    impatient = ["3" if word == "20" else word for word in reading.command]
    lines: list[str] = []
    ending = tree.transport.stream(impatient, lines.append, timeout_s=30)
    assert lines.count("total=500") == 5
    assert ending.rc == 1
    assert "its service is stuck: nothing new for 3 s" in ending.stderr_tail


def test_a_first_reading_that_takes_long_is_waited_for(board: WithClient, tmp_path: Path) -> None:
    flag = tmp_path / "asked"
    start = f"import pathlib; flag = pathlib.Path({str(flag)!r})\n        "
    start += "if not flag.exists(): flag.touch(); raise RuntimeError('Error connection')"
    reading = read_jtop(board(client(summed(VDD_GPU_SOC=500), start=start)))
    assert isinstance(reading, JtopReading), reading
    assert flag.exists()


@pytest.mark.parametrize(("message", "remedy"), [
    ("The jtop.service is not active. Please run:\\nsudo systemctl restart jtop.service",
     "start it on the device: sudo systemctl restart jtop.service"),
    ("I can't access jtop.service.\\nPlease logout or reboot this board.", "sudo usermod -aG jtop $USER"),
    ("[Errno 13] Permission denied", "sudo usermod -aG jtop $USER"),
    ("Mismatch version jtop service: [4.2.1] and client: [4.3.2]. Please run:\\n\\nsudo systemctl restart jtop.service",
     "client and service must have the same version"),
    ("Mismatch of Python versions between library and service", "for the python3 that its service runs on"),
    ("Authentication with jetson-stats server failed", "client and service must have the same version"),
    ("Lost connection with jtop server", "systemctl status jtop.service"),
])  # fmt: skip
def test_the_clients_message_is_passed_on_with_the_remedy(board: WithClient, message: str, remedy: str) -> None:
    reading = read_jtop(board(client({}, start=f'raise RuntimeError("{message}")')))
    assert isinstance(reading, NoJtop)
    assert reading.reason == message.replace("\\n", " ").split(" Please")[0].rstrip(".")
    assert remedy in reading.remedy


def test_a_missing_client_says_what_to_install(board: WithClient) -> None:
    assert "install jetson-stats for the device's own Python" in gaps(kind().sensors(board(None)))["jtop"]


def test_a_value_that_is_not_a_number_is_unavailable(board: WithClient) -> None:
    found = kind().sensors(board(client(summed(VDD_GPU_SOC="lots"))))
    assert "update jetson-stats" in gaps(found)["jtop"]
    assert "jtop" not in power(found)


def test_jtop_is_not_started_without_its_service(board: WithClient, tmp_path: Path) -> None:
    started = tmp_path / "started"
    tree = board(f"open({str(started)!r}, 'w')")
    Path(tree.path("run/jtop.sock")).unlink()
    found = kind().sensors(tree)
    assert "its service isn't running" in gaps(found)["jtop"]
    assert not started.exists()


def test_jtop_is_only_used_when_the_inventory_says_so(board: WithClient) -> None:
    found = kind(jtop=False).sensors(board(client(summed(VDD_GPU_SOC=500))))
    assert "jtop" not in {**power(found), **gaps(found)}


def test_the_reader_is_in_the_syntax_of_the_python_of_jetpack_4(board: WithClient) -> None:
    reading = read_jtop(board(client(summed(VDD_GPU_SOC=500))))
    assert isinstance(reading, JtopReading)
    assert ast.parse(reading.command[reading.command.index("-c") + 1], feature_version=(3, 6)).body
