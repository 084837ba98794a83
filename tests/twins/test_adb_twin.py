"""What only the twin of a phone behind adbd has: the user, the services and the server of adb."""

from __future__ import annotations

import pytest

from tests.support.twins.twin_adb import WORKDIR, AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE
from tests.support.twins.twin_devices import shell

pytestmark = pytest.mark.twins


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with AdbTwin(tmp_path_factory.mktemp("phone"), ANDROID_PHONE) as running:
        yield running


def test_it_is_an_aarch64_phone_and_its_user_is_shell(twin):
    assert shell(twin, "uname -m; id -u; getprop ro.product.model").stdout.split("\n")[:3] == [
        "aarch64",
        "2000",
        "Pixel 8",
    ]


def test_it_has_the_services_of_android(twin):
    assert "  level: 81" in shell(twin, "dumpsys battery").stdout
    assert "Thermal Status: 0" in shell(twin, "dumpsys thermalservice").stdout
    assert shell(twin, "dumpsys nothing").stdout == "Can't find service: nothing\n"
    assert "[ro.build.version.sdk]: [34]" in shell(twin, "getprop").stdout


def test_its_battery_can_be_changed(twin):
    gauge = "/sys/class/power_supply/battery/current_now"
    twin.write(gauge, "-900000\n")
    assert shell(twin, f"cat {gauge}").stdout == "-900000\n"


def test_the_client_of_adb_pushes_a_file_to_where_programs_may_be(twin, tmp_path):
    (tmp_path / "file").write_text("pushed\n")
    assert twin.adb("-s", twin.serial, "push", str(tmp_path / "file"), f"{WORKDIR}/file").returncode == 0
    assert (twin.workdir / "file").read_text() == "pushed\n"


def test_its_server_is_a_private_one(twin):
    assert twin.server_port != 5037
    assert twin.serial in twin.adb("devices").stdout
    assert len(twin.adb("devices").stdout.strip().splitlines()) == 2
