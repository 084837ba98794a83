"""Who answers and who may in: host keys, logins, jump hosts, each refusal with its cause and what to do."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.access.connect import connect
from devices.errors import AccessRefused, DeviceLost, HostKeyRefused
from devices.inventory.entry import DeviceEntry
from devices.transports.ssh import authentication
from devices.transports.ssh.link import ssh_transport
from tests.support.devices.loopback_sshd import LoopbackSshd, fingerprint_of, make_key
from tests.support.devices.password_server import password_server
from tests.support.devices.real_processes import wait_until

OTHER = "SHA256:" + "A" * 43
PASSWORD = {"password_env": "BOARD_PASSWORD"}
PASSPHRASE = {"key_passphrase_env": "BOARD_PASSPHRASE"}
AGENT_VARIABLES = ("SSH_AUTH_SOCK", "SSH_AGENT_PID")


@pytest.fixture(autouse=True)
def a_user_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the keys of whoever runs the tests."""
    for name in AGENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(authentication, "_ANSWERS", {})
    monkeypatch.setattr("sys.stdin", None)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent without keys."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: answers(path))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
        process.terminate()


def answers(path: Path) -> bool:
    """Returns whether somebody listens there; the file exists a moment before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def reached(entry: DeviceEntry) -> bool:
    """Returns whether a connection serves."""
    transport = ssh_transport(entry)
    try:
        return transport.exists("/")
    finally:
        transport.close()


def encrypted(sshd: LoopbackSshd, folder: Path) -> Path:
    """Returns the accepted key, with a passphrase."""
    path = folder / "encrypted"
    shutil.copy(sshd.client_key, path)
    shutil.copy(f"{sshd.client_key}.pub", f"{path}.pub")
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", str(path)], check=True, stdout=subprocess.DEVNULL
    )
    return path


def test_a_device_with_the_enrolled_key_is_reached(sshd: LoopbackSshd) -> None:
    assert reached(sshd.entry())
    assert reached(sshd.entry(host_keys=[fingerprint_of(sshd.host_key)]))


def test_a_device_that_is_not_enrolled_is_refused_with_its_key_and_the_command(sshd: LoopbackSshd) -> None:
    with pytest.raises(HostKeyRefused) as caught:
        ssh_transport(sshd.entry(host_keys=[]))
    assert sshd.host_key_text in str(caught.value)
    assert "suite devices enroll board" in str(caught.value)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", None])
def test_another_key_than_the_enrolled_one_is_refused_with_both(sshd: LoopbackSshd, kind: str | None) -> None:
    """Also where the server has no key of the enrolled type any more."""
    enrolled = f"{kind} {OTHER}" if kind else OTHER
    with pytest.raises(HostKeyRefused, match="remove `host_keys`") as caught:
        ssh_transport(sshd.entry(host_keys=[enrolled]))
    assert sshd.host_key_text in str(caught.value)
    assert enrolled in str(caught.value)


def test_no_secret_is_sent_to_a_device_with_another_key(
    tmp_path: Path, sshd: LoopbackSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOARD_PASSWORD", "open sesame")
    with password_server("open sesame", str(make_key(tmp_path / "key"))) as (port, attempts):
        with pytest.raises(HostKeyRefused):
            ssh_transport(sshd.entry(port=port, key_file=None, **PASSWORD))
        assert attempts == []


def test_a_rejected_key_is_named_with_how_to_install_it(sshd: LoopbackSshd, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    with pytest.raises(AccessRefused, match=rf"tried: {stranger}.*ssh-copy-id -i {stranger} -p {sshd.port}"):
        ssh_transport(sshd.entry(key_file=str(stranger)))


def test_without_any_key_the_refusal_says_so(sshd: LoopbackSshd) -> None:
    with pytest.raises(AccessRefused, match="nothing, there was no key"):
        ssh_transport(sshd.entry(key_file=None))


@pytest.mark.parametrize(
    ("content", "words"), [(None, "doesn't exist"), ("nonsense", "contains no usable private key")]
)
def test_a_key_file_without_a_key_is_named(sshd: LoopbackSshd, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AccessRefused, match=words):
        ssh_transport(sshd.entry(key_file=str(path)))


def test_the_usual_keys_of_the_user_are_tried_where_none_is_named(sshd: LoopbackSshd, tmp_path: Path) -> None:
    keys = tmp_path / "home" / ".ssh"
    keys.mkdir(parents=True)
    make_key(keys / "id_rsa", "rsa")
    shutil.copy(sshd.client_key, keys / "id_ed25519")
    assert reached(sshd.entry(key_file=None))


def test_an_encrypted_key_without_its_passphrase_is_refused_with_the_ways_out(
    sshd: LoopbackSshd, tmp_path: Path
) -> None:
    with pytest.raises(AccessRefused, match=r"has a passphrase; run `ssh-add .*key_passphrase_env"):
        ssh_transport(sshd.entry(key_file=str(encrypted(sshd, tmp_path))))


def test_a_passphrase_comes_from_the_environment(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = sshd.entry(key_file=str(encrypted(sshd, tmp_path)), **PASSPHRASE)
    with pytest.raises(AccessRefused, match="'BOARD_PASSPHRASE', which is not set"):
        ssh_transport(entry)
    monkeypatch.setenv("BOARD_PASSPHRASE", "wrong")
    with pytest.raises(AccessRefused, match="is wrong") as caught:
        ssh_transport(entry)
    assert "'wrong'" not in str(caught.value)
    monkeypatch.setenv("BOARD_PASSPHRASE", "open sesame")
    assert reached(entry)


def test_keys_of_the_agent_are_tried(sshd: LoopbackSshd, agent: None) -> None:
    subprocess.run(["ssh-add", "-q", str(sshd.client_key)], check=True, timeout=60)
    assert reached(sshd.entry(key_file=None))


def test_an_encrypted_key_that_the_agent_holds_needs_no_passphrase(
    sshd: LoopbackSshd, agent: None, tmp_path: Path
) -> None:
    subprocess.run(["ssh-add", "-q", str(sshd.client_key)], check=True, timeout=60)
    assert reached(sshd.entry(key_file=str(encrypted(sshd, tmp_path))))


def test_an_agent_that_does_not_answer_is_passed_over(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    with pytest.raises(AccessRefused, match="there was no key"):
        ssh_transport(sshd.entry(key_file=None))


def test_a_password_comes_from_the_environment_and_is_never_printed(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "key")
    key_text = f"ssh-ed25519 {fingerprint_of(key)}"
    monkeypatch.setenv("BOARD_PASSWORD", "hunter 2")
    with password_server("open sesame", str(key)) as (port, attempts):
        entry = sshd.entry(port=port, host_keys=[key_text], key_file=None, user="me", **PASSWORD)
        with pytest.raises(AccessRefused, match="password from BOARD_PASSWORD") as caught:
            ssh_transport(entry)
        assert "hunter" not in str(caught.value)
        monkeypatch.setenv("BOARD_PASSWORD", "open sesame")
        ssh_transport(entry).close()
        assert attempts == ["me:hunter 2", "me:open sesame"]
        monkeypatch.delenv("BOARD_PASSWORD")
        with pytest.raises(AccessRefused, match="not set"):
            ssh_transport(entry)


def test_a_password_is_asked_for_on_a_terminal_once(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "key")
    prompts: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

    def answer(prompt: str, _stream: Any) -> str:
        prompts.append(prompt)
        return "open sesame"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("getpass.getpass", answer)
    with password_server("open sesame", str(key)) as (port, _seen):
        entry = sshd.entry(port=port, host_keys=[fingerprint_of(key)], key_file=None)
        for _ in range(2):
            ssh_transport(entry).close()
    assert len(prompts) == 1


@pytest.fixture(scope="module")
def bastion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    """A second server, with keys of its own."""
    server = LoopbackSshd(tmp_path_factory.mktemp("bastion"))
    server.start()
    yield server
    server.kill()


def through(bastion: LoopbackSshd, **changes: Any) -> dict[str, Any]:
    """Returns the jump host as the inventory has it."""
    values = {"host": "127.0.0.1", "port": bastion.port, "key_file": str(bastion.client_key)}
    return values | {"host_keys": [bastion.host_key_text]} | changes


def test_a_device_behind_a_jump_host_is_reached_and_both_connections_end(
    sshd: LoopbackSshd, bastion: LoopbackSshd
) -> None:
    transport = ssh_transport(sshd.entry(jump=through(bastion)))
    assert transport.run(["echo", "hi"], timeout_s=20).stdout == "hi\n"
    assert bastion.connections() >= 1
    transport.close()


@pytest.mark.parametrize(("host_keys", "words"), [([], "is not enrolled"), ([OTHER], "was enrolled with")])
def test_the_key_of_a_jump_host_is_no_less_strict(
    sshd: LoopbackSshd, bastion: LoopbackSshd, host_keys: list[str], words: str
) -> None:
    with pytest.raises(HostKeyRefused, match=f"the jump host of device 'board'.*{words}"):
        ssh_transport(sshd.entry(jump=through(bastion, host_keys=host_keys)))


def test_the_key_of_the_device_is_checked_behind_a_jump_host_too(sshd: LoopbackSshd, bastion: LoopbackSshd) -> None:
    with pytest.raises(HostKeyRefused, match=r"^device 'board'"):
        ssh_transport(sshd.entry(jump=through(bastion), host_keys=[OTHER]))


def test_a_device_that_its_jump_host_cannot_reach_is_lost(sshd: LoopbackSshd, bastion: LoopbackSshd) -> None:
    with pytest.raises(DeviceLost, match="from its jump host"):
        ssh_transport(sshd.entry(jump=through(bastion), port=1))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300])
def test_an_unknown_host_name_is_a_lost_device(sshd: LoopbackSshd, host: str) -> None:
    with pytest.raises(DeviceLost, match="can't be reached"):
        ssh_transport(sshd.entry(host=host))


def test_a_relative_workdir_is_below_the_folder_where_commands_start(sshd: LoopbackSshd, tmp_path: Path) -> None:
    with connect(sshd.entry(workdir="edge-training-suite"), tmp_path / "locks") as device:
        home = device.transport.run(["pwd"], timeout_s=20).stdout.strip()
        assert device.places.workdir == f"{home}/edge-training-suite"
    assert Path(home).is_absolute()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"password_env": "hunter 2!"}, "environment variable"),
        ({"key_file": "keys/id"}, "absolute path"),
        ({"host_keys": ["SHA256:short"]}, "suite devices enroll"),
        ({"password": "hunter 2!"}, "Extra inputs"),
        ({"jump": {"port": 22}}, "Field required"),
    ],
)
def test_fields_for_ssh_are_checked(sshd: LoopbackSshd, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sshd.entry(**values)
