"""Private keys in the formats that people have, and other files beside them; libraries' errors become one sentence."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devices.errors import AccessRefused, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.ssh.authentication import KeyLocked, UnusableKey, WrongPassphrase, candidates, load_private_key
from devices.transports.ssh.endpoint import endpoints
from devices.transports.ssh.link import ssh_transport
from tests.support.devices.loopback_sshd import LoopbackSshd, fingerprint_of, make_key

PASSPHRASE = "open sesame"  # noqa: S105 - made up here
VARIABLE = {"key_passphrase_env": "BOARD_PASSPHRASE"}
FORMATS = ("RFC4716", "PKCS8", "PEM")


def made(folder: Path, kind: str, form: str, passphrase: str = "") -> Path:
    """Returns a key made by ssh-keygen."""
    path = folder / f"{kind}-{form}"
    bits = ["-b", "2048"] if kind == "rsa" else []
    # One round of key derivation; the default number takes a tenth of a second to make and to load.
    command = ["ssh-keygen", "-q", "-a", "1", "-t", kind, *bits, "-m", form, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_every_format_of_ssh_keygen_is_loaded(tmp_path: Path, kind: str, form: str, passphrase: str) -> None:
    path = made(tmp_path, kind, form, passphrase)
    if passphrase:
        with pytest.raises(KeyLocked):
            load_private_key(path)
        with pytest.raises(WrongPassphrase):
            load_private_key(path, "wrong")
    assert load_private_key(path, passphrase or None).fingerprint == fingerprint_of(path)
    assert load_private_key(path, PASSPHRASE).fingerprint == fingerprint_of(path)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("encrypted", [False, True])
def test_an_ed25519_key_of_openssl_is_loaded(tmp_path: Path, encoding: Encoding, encrypted: bool) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    cipher = BestAvailableEncryption(PASSPHRASE.encode()) if encrypted else NoEncryption()
    path = tmp_path / "key"
    path.write_bytes(key.private_bytes(encoding, PrivateFormat.PKCS8, cipher))
    loaded = load_private_key(path, PASSPHRASE if encrypted else None)
    signed = paramiko.Message(loaded.sign_ssh_data(b"data").asbytes())
    assert signed.get_text() == "ssh-ed25519"
    key.public_key().verify(signed.get_binary(), b"data")
    assert loaded.asbytes()[-32:] == key.public_key().public_bytes_raw()


def test_a_pkcs8_key_logs_in(sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, "rsa", "PKCS8", PASSPHRASE)
    with (sshd.folder / "authorized_keys").open("a") as keys:
        keys.write(Path(f"{path}.pub").read_text())
    monkeypatch.setenv("BOARD_PASSPHRASE", PASSPHRASE)
    transport = ssh_transport(sshd.entry(key_file=str(path), **VARIABLE))
    assert transport.exists("/")
    transport.close()


X25519 = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no usable private key"),
        (b"nonsense", "no usable private key"),
        (b"\x00\xff" * 2000, "no usable private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "no usable private key"),
        (b"-----BEGIN RSA PRIVATE KEY-----\n!!\n-----END RSA PRIVATE KEY-----\n", "no usable private key"),
        (b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "no usable private key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "a PuTTY key"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE64 me@here\n", "a public key"),
        (X25519, "SSH doesn't use (X25519)"),
    ],
)
def test_an_unusable_key_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    for passphrase in (None, PASSPHRASE):
        with pytest.raises(UnusableKey) as caught:
            load_private_key(path, passphrase)
        assert words in str(caught.value)
    board = {"name": "board", "kind": "linux", "transport": "ssh", "workdir": "/w", "host": "127.0.0.1"}
    (endpoint,) = endpoints(DeviceEntry.model_validate(board | {"key_file": str(path)}))
    with pytest.raises(AccessRefused) as refused:
        next(candidates(endpoint, tmp_path))
    assert f"contains {caught.value}; {caught.value.remedy}." in str(refused.value)


def test_a_truncated_key_is_unusable(tmp_path: Path) -> None:
    for form in FORMATS:
        path = made(tmp_path, "rsa", form)
        data = path.read_bytes()
        for share in (0.1, 0.5, 0.9):
            path.write_bytes(data[: int(share * len(data))])
            with pytest.raises(UnusableKey):
                load_private_key(path)


def test_the_same_key_is_the_same_whatever_its_format(tmp_path: Path) -> None:
    path = make_key(tmp_path / "key", "ecdsa")
    before = load_private_key(path).asbytes()
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "", "-m", "PKCS8", "-f", str(path)], check=True, capture_output=True
    )
    load_pem_private_key(path.read_bytes(), None)
    assert load_private_key(path).asbytes() == before


@pytest.fixture(params=[b"", b"\x00\x00\x00\x0c\x0a" + b"\xff" * 11, b"\x00\x00\x00\x0c\x04\x14" + b"\x00" * 10])
def stumbling_server(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that says hello and then sends a packet that makes no sense."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def chat() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.sendall(b"SSH-2.0-OpenSSH_9.9\r\n" + request.param)
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(4096):
                    pass

        thread = threading.Thread(target=chat)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)


def test_a_server_that_sends_nonsense_is_one_sentence(stumbling_server: int) -> None:
    board = {"name": "board", "kind": "linux", "transport": "ssh", "workdir": "/w", "host": "127.0.0.1"}
    entry = DeviceEntry.model_validate(board | {"port": stumbling_server, "connect_timeout_s": 5})
    with pytest.raises(
        DeviceLost, match=r"did not complete the SSH handshake within 5 s \(.*\); |no encryption method"
    ):
        ssh_transport(entry)
