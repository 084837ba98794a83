"""`suite devices enroll`: only compared keys are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.inventory.inventory_file import load
from suite.cli.main import run_command
from tests.support.devices.loopback_sshd import LoopbackSshd, fingerprint_of

OTHER = "SHA256:" + "A" * 43
INVENTORY = """\
# my devices
devices:
  board:  # on the shelf
    kind: linux
    host: 127.0.0.1
    port: {port}
    key_file: {key}
    workdir: /tmp/edge
"""


@dataclass(frozen=True)
class Bench:
    """An inventory with the device `board`."""

    path: Path
    fingerprint: str
    capture: pytest.CaptureFixture[str]

    def enroll(self, *arguments: str, name: str = "board") -> tuple[int, str]:
        """Enrolls; returns the exit code and all output."""
        self.capture.readouterr()
        code = run_command(["devices", "enroll", name, "--inventory", str(self.path), *arguments])
        output = self.capture.readouterr()
        return code, output.out + output.err

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def host_keys(self) -> tuple[str, ...]:
        return load(self.path).devices["board"].host_keys


MakeBench = Callable[[str], Bench]


@pytest.fixture
def make_bench(sshd: LoopbackSshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MakeBench:
    def make(more: str) -> Bench:
        path = tmp_path / "inventory.yaml"
        path.write_text(INVENTORY.format(port=sshd.port, key=sshd.client_key) + more)
        return Bench(path, fingerprint_of(sshd.host_key), capsys)

    return make


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench("")


def test_the_compared_key_is_written_and_everything_else_stays(bench: Bench, sshd: LoopbackSshd) -> None:
    before = bench.text
    code, output = bench.enroll("--yes", "--fingerprint", bench.fingerprint)
    assert code == 0, output
    assert sshd.host_key_text in output
    assert bench.host_keys == (sshd.host_key_text,)
    assert bench.text.startswith(before)
    code, output = bench.enroll("--yes", "--fingerprint", bench.fingerprint)
    assert code == 0
    assert "enrolled already" in output


def test_another_fingerprint_than_expected_writes_nothing(bench: Bench) -> None:
    before = bench.text
    code, output = bench.enroll("--yes", "--fingerprint", OTHER)
    assert code == 1
    assert bench.fingerprint in output
    assert OTHER in output
    assert bench.text == before


def test_a_changed_key_is_refused_with_both_and_what_to_do(make_bench: MakeBench) -> None:
    bench = make_bench(f"    host_keys: [ssh-ed25519 {OTHER}]\n")
    before = bench.text
    code, output = bench.enroll("--yes", "--fingerprint", bench.fingerprint)
    assert code == 1
    assert bench.fingerprint in output
    assert OTHER in output
    assert "remove `host_keys`" in output
    assert bench.text == before


def test_without_a_terminal_nothing_is_trusted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    before = bench.text
    code, output = bench.enroll()
    assert code == 1
    assert f"--yes --fingerprint {bench.fingerprint}" in output
    assert bench.text == before
    code, output = bench.enroll("--yes")
    assert code == 2
    assert "needs --fingerprint" in output


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1)])
def test_on_a_terminal_the_user_decides(bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda _question: answer)
    left, output = bench.enroll()
    assert left == code
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in output
    assert bool(bench.host_keys) is answer


def test_a_jump_host_is_enrolled_with_its_device(make_bench: MakeBench, sshd: LoopbackSshd) -> None:
    jump = f"    jump: {{host: 127.0.0.1, port: {sshd.port}, key_file: {sshd.client_key}}}\n"
    bench = make_bench(jump)
    code, output = bench.enroll("--yes", "--fingerprint", bench.fingerprint, "--jump-fingerprint", bench.fingerprint)
    assert code == 0, output
    entry = load(bench.path).devices["board"]
    assert entry.jump is not None
    assert entry.jump.host_keys == entry.host_keys == (sshd.host_key_text,)


def test_what_cannot_be_enrolled_is_reported(make_bench: MakeBench) -> None:
    bench = make_bench("  local: {kind: local}\n")
    assert bench.enroll(name="local") == (2, bench.enroll(name="local")[1])
    assert "no host key" in bench.enroll(name="local")[1]
    assert bench.enroll(name="bord")[0] == 2
    assert "one device at a time" in bench.enroll(name="all")[1]
