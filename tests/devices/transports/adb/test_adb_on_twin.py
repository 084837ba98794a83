"""The transport on an emulated phone: aarch64, the user `shell`, and none but the tools that Android has."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.access.connect import connect
from devices.deployment.deploy import deploy
from devices.errors import FileCause, FileError
from devices.inventory.entry import DeviceEntry
from tests.support.devices.made_files import MakeFile
from tests.support.twins.twin_adb import AdbTwin
from tests.support.twins.twin_boards import ANDROID_PHONE

pytestmark = pytest.mark.twins


def test_a_phone_is_reached_read_and_deployed_to_as_its_user_shell(
    tmp_path: Path, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AdbTwin(tmp_path / "twin", ANDROID_PHONE) as twin:
        for name, value in twin.environ.items():
            monkeypatch.setenv(name, value)
        workdir = "/data/local/tmp/edge-training-suite"
        document = {"name": "phone", "transport": "adb", "workdir": workdir} | twin.entry(kind="linux")
        with connect(DeviceEntry.model_validate(document), tmp_path / "locks") as device:
            assert device.facts().machine == "aarch64"
            device.transport.mkdir(device.places.workdir)
            file = make_file("program 'one'", b"weights" * 100_000)
            deploy(device.transport, [file], device.places.artifact("H"))
            lines: list[str] = []
            script = 'echo "$1"; id -u; exit 3'
            ended = device.launch(["sh", "-c", script, "sh", "it's"], lines.append, timeout_s=30, cwd=workdir)
            assert (ended.rc, lines) == (3, ["it's", "2000"])
            with pytest.raises(FileError) as caught:
                device.transport.write("/system/file", b"x")
            assert caught.value.cause is FileCause.DENIED
        target = twin.workdir / "edge-training-suite" / "artifacts" / "H" / file.name
        assert target.read_bytes() == file.source.read_bytes()
