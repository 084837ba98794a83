"""`suite devices enroll` over adb: the phone asks, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suite.cli.main import run_command
from tests.support.devices.hesitant_phone import HesitantPhone
from tests.support.devices.loopback_adbd import LoopbackAdbd

pytestmark = pytest.mark.twins

Enroll = Callable[[str], tuple[int, str]]


@pytest.fixture
def phone() -> Iterator[HesitantPhone]:
    phone = HesitantPhone()
    yield phone
    phone.close()


@pytest.fixture
def enroll(
    adbd: LoopbackAdbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Enroll:
    """Enrolls a device at an address; returns the exit code and all output."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adbd.server.port))
    path = tmp_path / "inventory.yaml"

    def run(address: str) -> tuple[int, str]:
        host, _, port = address.rpartition(":")
        text = f"devices:\n  phone: {{kind: android, host: {host}, port: {port}}}\n"
        path.write_text(text)
        code = run_command(["devices", "enroll", "phone", "--inventory", str(path)])
        assert path.read_text() == text
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


def test_an_authorised_phone_has_nothing_to_enroll(enroll: Enroll, adbd: LoopbackAdbd) -> None:
    code, output = enroll(adbd.address)
    assert code == 0, output
    assert "nothing is written" in output
    assert "has authorised this computer and answers; next: suite devices check phone" in output


def test_without_a_terminal_a_phone_that_has_not_answered_is_an_error_with_what_to_do(
    enroll: Enroll, phone: HesitantPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, output = enroll(phone.address)
    assert code == 1
    assert "Allow USB debugging?" in output


def test_on_a_terminal_the_answer_is_waited_for(
    enroll: Enroll, phone: HesitantPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    output: list[str] = []

    def print_line(line: str) -> None:
        output.append(line)
        if "waiting 120 s" in line:
            phone.confirm()  # the owner has read it

    monkeypatch.setattr("suite.cli.devices.inventory.print_line", print_line)
    assert enroll(phone.address) == (0, "")
    assert [line.split("; ")[-1] for line in output[1:]] == ["waiting 120 s", "next: suite devices check phone"]
