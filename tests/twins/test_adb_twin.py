"""The twin of a phone behaves as one behind adb does."""

from __future__ import annotations

import json

import pytest
from twin_adb import WORKDIR, AdbTwin
from twin_boards import ANDROID_PHONE
from twin_packages import run_tool


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with AdbTwin(tmp_path_factory.mktemp("phone"), ANDROID_PHONE) as running:
        yield running


def shell(twin, command, **options):
    return twin.adb("-s", twin.serial, "shell", command, **options)


def test_it_is_an_aarch64_phone_and_its_user_is_shell(twin):
    assert shell(twin, "uname -m; id -u; getprop ro.product.model").stdout.split("\n")[:3] == [
        "aarch64",
        "2000",
        "Pixel 8",
    ]


def test_exit_codes_come_through(twin):
    assert shell(twin, "exit 3").returncode == 3


def test_it_has_the_services_of_android(twin):
    assert "  level: 81" in shell(twin, "dumpsys battery").stdout
    assert "Thermal Status: 0" in shell(twin, "dumpsys thermalservice").stdout
    assert shell(twin, "dumpsys nothing").stdout == "Can't find service: nothing\n"
    assert "[ro.build.version.sdk]: [34]" in shell(twin, "getprop").stdout


def test_its_battery_can_be_changed(twin):
    gauge = "/sys/class/power_supply/battery/current_now"
    twin.write(gauge, "-900000\n")
    assert shell(twin, f"cat {gauge}").stdout == "-900000\n"


def test_it_runs_the_bundle(twin, aarch64_runner):
    for file in aarch64_runner.files:
        assert twin.adb("-s", twin.serial, "push", str(file.source), f"{WORKDIR}/r/{file.name}").returncode == 0
    command = " ".join(aarch64_runner.command(f"{WORKDIR}/r"))
    ended = shell(twin, f"cd {WORKDIR} && echo '{{}}' > job.json && chmod 755 r/runner r/ld-* && {command} job.json")
    footer = json.loads(ended.stdout.splitlines()[0])
    assert (ended.returncode, footer["stage"]) == (1, "job")


def test_a_killed_daemon_leaves_programs_running_and_starts_again(twin):
    shell(twin, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    twin.kill()
    assert twin.machine.named("1000")
    assert shell(twin, "true").returncode != 0
    twin.start()
    assert shell(twin, "echo back").stdout == "back\n"


def test_power_off_is_a_reboot(twin):
    shell(twin, "setsid sleep 2000 >/dev/null 2>&1 </dev/null &")
    twin.stop()
    twin.start()
    assert not twin.machine.named("2000")
    assert shell(twin, "echo back").stdout == "back\n"


def test_a_paused_twin_resumes(twin):
    twin.pause()
    twin.resume()
    assert shell(twin, "echo back").stdout == "back\n"


def test_its_server_is_a_private_one(twin):
    assert twin.server_port != 5037
    assert twin.serial in twin.adb("devices").stdout
    assert len(twin.adb("devices").stdout.strip().splitlines()) == 2


def test_nothing_is_left_when_it_is_closed(tmp_path):
    twin = AdbTwin(tmp_path, ANDROID_PHONE)
    twin.start()
    twin.close()
    assert not twin.root.exists()
    assert twin.host not in run_tool("ip", "address")
    assert not [line for line in run_tool("ps", "-e", "-o", "args").splitlines() if str(twin.server_port) in line]
