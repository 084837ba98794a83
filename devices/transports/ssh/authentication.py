"""Logs in over SSH: first keys, then the password, each tried once; a refusal lists what was tried.

The key is the one that the inventory names, else those of the agent and `~/.ssh` are tried. Passwords and passphrases
come from the environment variable that the inventory names, else from a prompt on the terminal.

Private key files are read in every format that ssh-keygen and openssl write: OpenSSH, PKCS#8, the older PEM, DER.
cryptography reads all of them, paramiko only some: cryptography loads a key and passes it to paramiko in OpenSSH's own
format, without leaving memory.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
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

from devices.errors import AccessRefused, DeviceLost, FileError
from devices.transports.ssh.endpoint import PEER_ERRORS, Endpoint
from foundation.text import printable

_ANSWERS: dict[str, str] = {}
_ASKING = threading.Lock()  # devices are connected in parallel, and there is one terminal
_FILE_LIMIT_BYTES = 1 << 20
_PUTTY, _OPENSSH = b"PuTTY-User-Key-File", b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-", b"-----BEGIN PUBLIC KEY-----", b"---- BEGIN SSH2 PUBLIC KEY")
_CERTIFICATE = "-cert.pub"
# The libraries' errors for a key that they can't read or create; UnsupportedAlgorithm is not a subclass of the others.
_LIBRARIES = (ValueError, TypeError, UnsupportedAlgorithm, paramiko.SSHException, UnicodeDecodeError, IndexError)


def from_environment(variable: str, purpose: str) -> str:
    """Returns the secret in that variable. Raises `AccessRefused` if it isn't set."""
    secret = os.environ.get(variable)
    if not secret:
        raise AccessRefused(
            f"{purpose} must be in the environment variable {printable(variable)!r}, which is not set; set it first."
        )
    return secret


def _ask(purpose: str) -> str | None:
    """Prompts for a secret without echo; None if there is no terminal, or nothing was typed."""
    with _ASKING:
        if purpose not in _ANSWERS:
            if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
                return None
            try:
                _ANSWERS[purpose] = getpass.getpass(f"{purpose[:1].upper()}{purpose[1:]}: ", sys.stderr)
            except EOFError:
                return None
        return _ANSWERS[purpose] or None


def _forget(purpose: str) -> None:
    """Forgets a wrong answer so that the next attempt prompts again."""
    with _ASKING:
        _ANSWERS.pop(purpose, None)


_DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Candidate:
    """A key to try, or the reason why a key can't be tried."""

    label: str
    key: paramiko.PKey | None
    obstacle: str = ""


def candidates(endpoint: Endpoint, home: Path) -> Generator[Candidate, None, None]:
    """Yields the keys to try, in order; must be closed when done, as the agent signs only while it is open.

    Raises `AccessRefused` if the key that the inventory names can't be used.
    """
    with contextlib.closing(_agent()) as agent:
        if endpoint.key_file is not None:
            yield _named(endpoint, endpoint.key_file, agent)
            return
        for path in endpoint.usual_keys or ():
            yield _configured(endpoint, path, agent)
        for key in () if endpoint.only_usual_keys else agent.get_keys():
            yield Candidate(f"agent key {key.fingerprint}", key)
    for name in _DEFAULT_NAMES if endpoint.usual_keys is None else ():
        path = home / ".ssh" / name
        if path.is_file():
            try:
                yield Candidate(str(path), load_private_key(path))
            except KeyLocked:
                yield Candidate(str(path), None, "has a passphrase: add it to ssh-agent")
            except (UnusableKey, OSError):
                yield Candidate(str(path), None, "can't be read")


def _named(endpoint: Endpoint, path: Path, agent: paramiko.Agent) -> Candidate:
    try:
        return Candidate(str(path), load_private_key(path))
    except KeyLocked:
        held = _held_by(agent, path)
        return Candidate(str(path), held or _decrypted(endpoint, path))
    except OSError as error:
        reason = FileError.from_os_error("read", str(path), error).reason
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.label} can't be read because {reason}; correct `key_file`."
        ) from error
    except UnusableKey as error:
        held = _held_by(agent, path)  # such as a security key
        if held is not None:
            return Candidate(str(path), held)
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.label} contains {error}; {error.remedy}."
        ) from error


def _configured(endpoint: Endpoint, path: Path, agent: paramiko.Agent) -> Candidate:
    """Returns a key named by OpenSSH's configuration; it may be one of several, or missing."""
    try:
        return _named(endpoint, path, agent)
    except AccessRefused as error:
        if endpoint.key_passphrase_env is not None:
            raise
        reason = str(error).rstrip(".").partition("; ")
        return Candidate(str(path), None, f"can't be used ({reason[0]})")


def _decrypted(endpoint: Endpoint, path: Path) -> paramiko.PKey:
    purpose = f"the passphrase of {str(path)!r}"
    variable = endpoint.key_passphrase_env
    passphrase = from_environment(variable, purpose) if variable else _ask(purpose)
    if passphrase is None:
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.label} has a passphrase; run `ssh-add {path}`, or name the "
            "environment variable that holds it as `key_passphrase_env`."
        )
    try:
        return load_private_key(path, passphrase)
    except WrongPassphrase as error:
        _forget(purpose)
        raise AccessRefused(f"{purpose} is wrong for {endpoint.label}; correct it and try again.") from error


def _held_by(agent: paramiko.Agent, path: Path) -> paramiko.PKey | None:
    """Returns the agent's copy of an encrypted key file, identified by the public key beside it."""
    try:
        words = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return next((key for key in agent.get_keys() if words[1:2] == [key.get_base64()]), None)


def _agent() -> paramiko.Agent:
    """Returns the agent, or one without keys if none answers."""
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError):
        return _NoAgent()


class _NoAgent(paramiko.Agent):
    def __init__(self) -> None:
        paramiko.agent.AgentSSH.__init__(self)


def log_in(transport: paramiko.Transport, endpoint: Endpoint, home: Path | None = None) -> None:
    """Logs in. Raises `AccessRefused` with what was tried, and `DeviceLost` if the server goes away meanwhile."""
    attempts: list[str] = []
    with contextlib.closing(candidates(endpoint, home or Path.home())) as keys:
        for candidate in keys:
            if _with_key(transport, endpoint, candidate, attempts):
                return
    if not _with_password(transport, endpoint, attempts):
        raise AccessRefused(
            f"{endpoint.label} refused the login (tried: {'; '.join(attempts) or 'nothing, there was no key'}); "
            f"{_remedy(endpoint)}."
        )


def _with_key(transport: paramiko.Transport, endpoint: Endpoint, candidate: Candidate, attempts: list[str]) -> bool:
    if candidate.key is None:
        attempts.append(f"{candidate.label} {candidate.obstacle}")
        return False
    attempts.append(candidate.label)
    try:
        transport.auth_publickey(endpoint.user, candidate.key)
    except PEER_ERRORS as error:
        _require_connection(transport, endpoint, attempts, error)
    return transport.is_authenticated()


def _with_password(transport: paramiko.Transport, endpoint: Endpoint, attempts: list[str]) -> bool:
    purpose = f"the password of {endpoint.label}"
    password = from_environment(endpoint.password_env, purpose) if endpoint.password_env else _ask(purpose)
    if password is None:
        return False
    attempts.append("password" if endpoint.password_env is None else f"password from {endpoint.password_env}")
    try:
        transport.auth_password(endpoint.user, password)
    except PEER_ERRORS as error:
        _require_connection(transport, endpoint, attempts, error)
    if not transport.is_authenticated():
        _forget(purpose)
    return transport.is_authenticated()


def _require_connection(
    transport: paramiko.Transport, endpoint: Endpoint, attempts: list[str], error: Exception
) -> None:
    """Raises the error for a connection that ended; after a mere refusal, the next attempt is possible."""
    if transport.is_active():
        return
    if "too many" in str(error).lower():
        raise AccessRefused(
            f"{endpoint.label} ended the login after {len(attempts)} attempts ({'; '.join(attempts)}); "
            "name the one right key as `key_file` in the inventory."
        ) from error
    raise DeviceLost(
        f"{endpoint.label} ended the connection during the login ({error}); check its SSH server's log."
    ) from error


def _remedy(endpoint: Endpoint) -> str:
    resolved = endpoint.alias in ("", endpoint.host)  # else ssh takes port, user and route from its configuration
    port = f" -p {endpoint.port}" if resolved else ""
    key = f" -i {endpoint.key_file}" if endpoint.key_file else ""
    password = (
        f"set {endpoint.password_env} to the right password"
        if endpoint.password_env
        else "name the variable that holds the password as `password_env`"
    )
    return (
        f"check `user` in the inventory, install your public key there with "
        f"`ssh-copy-id{key}{port} {endpoint.user}@{endpoint.alias or endpoint.host}`, or {password}"
    )


class KeyLocked(Exception):  # noqa: N818 - a state of the file, not a fault
    """The key has a passphrase, and none was given."""


class WrongPassphrase(Exception):  # noqa: N818 - the same
    """The passphrase does not open the key."""


class UnusableKey(Exception):  # noqa: N818 - the same
    """The file contains no usable key. The message is what it contains instead; `remedy` is an imperative."""

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
    """Returns the function that reads such a file.

    Raises `UnusableKey` for other files that users keep beside their keys.
    """
    start = data.lstrip()
    if start.startswith(_PUTTY):
        raise UnusableKey("a PuTTY key", "convert it with `puttygen FILE -O private-openssh -o NEW`")
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
            if password is not None:  # the key needs none
                return loader(data, None)
            raise KeyLocked from error
    except UnsupportedAlgorithm as error:
        raise UnusableKey(
            "a key or encryption of an unsupported type", "add it to ssh-agent (`ssh-add FILE`)"
        ) from error
    except _LIBRARIES as error:
        if password is not None and _is_locked(loader, data):
            raise WrongPassphrase from error
        raise UnusableKey("no usable private key") from error


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
    return UnusableKey(
        f"a key of a type that SSH doesn't use ({_name_of(loaded)})", "make one with `ssh-keygen -t ed25519`"
    )


def _name_of(loaded: object) -> str:
    curve = getattr(loaded, "curve", None)
    name = type(loaded).__name__.removesuffix("PrivateKey")
    return f"{name} {curve.name}" if curve is not None else name
