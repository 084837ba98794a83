"""Reads private key files in every format that ssh-keygen and openssl write: OpenSSH, PKCS#8, the older PEM, DER.

cryptography understands them all, paramiko only some: a key is loaded by the one and handed to the other in OpenSSH's
own format, without leaving memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    load_ssh_private_key,
)

_FILE_LIMIT_BYTES = 1 << 20
_PUTTY, _OPENSSH = b"PuTTY-User-Key-File", b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-", b"-----BEGIN PUBLIC KEY-----", b"---- BEGIN SSH2 PUBLIC KEY")
_CERTIFICATE = "-cert.pub"
# What the libraries raise for a key that they can't read or make; an UnsupportedAlgorithm is none of the others.
_LIBRARIES = (ValueError, TypeError, UnsupportedAlgorithm, paramiko.SSHException, UnicodeDecodeError, IndexError)


class KeyLocked(Exception):  # noqa: N818 - a state of the file, not a fault
    """The key has a passphrase, and none was given."""


class WrongPassphrase(Exception):  # noqa: N818 - the same
    """The passphrase does not open the key."""


class UnusableKey(Exception):  # noqa: N818 - the same
    """The file holds no key that can be used. The message is what it holds instead; `remedy` is an imperative."""

    def __init__(self, reason: str, remedy: str = "name one that `ssh-keygen -y -f FILE` can read") -> None:
        self.remedy = remedy
        super().__init__(reason)


def load_private_key(path: Path, passphrase: str | None = None) -> paramiko.PKey:
    """Returns the key, with the certificate beside it if there is one (`FILE-cert.pub`).

    Raises `KeyLocked`, `WrongPassphrase`, `UnusableKey`, and OSError if the file can't be read.
    """
    with path.open("rb") as stream:
        data = stream.read(_FILE_LIMIT_BYTES)
    loader = _loader(data)
    key = _paramiko_key(_loaded(loader, data, passphrase))
    certificate = path.with_name(f"{path.name}{_CERTIFICATE}")
    if certificate.is_file():
        try:
            key.load_certificate(str(certificate))
        except _LIBRARIES as error:
            raise UnusableKey(
                f"a certificate beside it that can't be read, {certificate.name}", "renew or remove the certificate"
            ) from error
    return key


def _loader(data: bytes) -> Callable[..., object]:
    """Returns what reads such a file. Raises `UnusableKey` for other things that users have beside their keys."""
    start = data.lstrip()
    if start.startswith(_PUTTY):
        raise UnusableKey("a key of PuTTY", "convert it with `puttygen FILE -O private-openssh -o NEW`")
    if start.startswith(_PUBLIC):
        raise UnusableKey("a public key, not the private one", "name the file without `.pub`")
    if _OPENSSH in data:
        return load_ssh_private_key
    return load_pem_private_key if b"-----BEGIN " in data else load_der_private_key


def _loaded(loader: Callable[..., object], data: bytes, passphrase: str | None) -> object:
    password = None if passphrase is None else passphrase.encode()
    try:
        try:
            return loader(data, password)
        except TypeError as error:
            if password is not None:  # it needs none
                return loader(data, None)
            raise KeyLocked from error
    except UnsupportedAlgorithm as error:
        raise UnusableKey(
            "a key or an encryption of a kind that can't be read here", "add it to ssh-agent (`ssh-add FILE`)"
        ) from error
    except _LIBRARIES as error:
        if password is not None and _is_locked(loader, data):
            raise WrongPassphrase from error
        raise UnusableKey("no private key that can be used") from error


def _is_locked(loader: Callable[..., object], data: bytes) -> bool:
    try:
        loader(data, None)
    except TypeError:
        return True
    except _LIBRARIES:
        return False
    return False


def _paramiko_key(loaded: object) -> paramiko.PKey:
    wrapper: type[paramiko.PKey]
    if isinstance(loaded, rsa.RSAPrivateKey):
        wrapper = paramiko.RSAKey
    elif isinstance(loaded, ec.EllipticCurvePrivateKey):
        wrapper = paramiko.ECDSAKey
    elif isinstance(loaded, ed25519.Ed25519PrivateKey):
        wrapper = paramiko.Ed25519Key
    else:
        raise _useless(loaded)
    try:
        text = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        return wrapper.from_private_key(io.StringIO(text.decode()))
    except _LIBRARIES as error:
        raise _useless(loaded) from error


def _useless(loaded: object) -> UnusableKey:
    return UnusableKey(f"a key that SSH has no use for ({_name_of(loaded)})", "make one with `ssh-keygen -t ed25519`")


def _name_of(loaded: object) -> str:
    curve = getattr(loaded, "curve", None)
    name = type(loaded).__name__.removesuffix("PrivateKey")
    return f"{name} {curve.name}" if curve is not None else name
