"""Addresses, credentials and host keys of SSH connections.

An endpoint is an entry's device or its jump host. Its host key must be one that the inventory names; no key is trusted
on first use.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

import paramiko

from devices.errors import AccessRefused, HostKeyRefused
from devices.inventory.entry import HOST_KEY_PATTERN, DeviceEntry, SshLogin
from foundation.text import printable

DEFAULT_PORT = 22


@dataclass(frozen=True)
class Endpoint:
    """A server. `device` is the name of its entry; `is_jump` distinguishes the jump host from the device."""

    device: str
    is_jump: bool
    host: str
    port: int
    user: str
    key_file: Path | None
    key_passphrase_env: str | None
    password_env: str | None
    host_keys: tuple[str, ...]

    @property
    def label(self) -> str:
        """The server's name in messages."""
        role = "the jump host of device" if self.is_jump else "device"
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"{role} {self.device!r} ({printable(self.user, 60)}@{printable(self.host, 120)}{port})"


def endpoints(entry: DeviceEntry) -> tuple[Endpoint, ...]:
    """Returns the servers on the way to a device, the device last. Raises `AccessRefused` if no user is known."""
    hops = [] if entry.jump is None else [_endpoint(entry.name, entry.jump, entry.jump.host, is_jump=True)]
    return (*hops, _endpoint(entry.name, entry, entry.host or "", is_jump=False))


def _endpoint(device: str, login: SshLogin, host: str, *, is_jump: bool) -> Endpoint:
    try:
        user = login.user or getpass.getuser()
        key_file = None if login.key_file is None else Path(login.key_file).expanduser()
    except (KeyError, OSError, RuntimeError) as error:
        raise AccessRefused(
            f"the user or the home folder for device {device!r} is unknown on this host; "
            "set `user` in the inventory and write `key_file` as a whole path."
        ) from error
    return Endpoint(
        device=device,
        is_jump=is_jump,
        host=host,
        port=login.port or DEFAULT_PORT,
        user=user,
        key_file=key_file,
        key_passphrase_env=login.key_passphrase_env,
        password_env=login.password_env,
        host_keys=login.host_keys,
    )


# An RSA key signs under several algorithm names; those with SHA-1 are left out.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def host_key_text(key: paramiko.PKey) -> str:
    """Returns a host key as in the inventory: `ssh-ed25519 SHA256:...`, with the fingerprint of `ssh-keygen -l`."""
    return f"{key.get_name()} {key.fingerprint}"


def wanted_algorithms(host_keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns the key types to request, so that the server presents an enrolled key; None for any."""
    types = [match["type"] for text in host_keys if (match := HOST_KEY_PATTERN.fullmatch(text))]
    if not types or None in types:
        return None
    return tuple(algorithm for kind in types for algorithm in _ALGORITHMS.get(kind, (kind,)))


def require_enrolled(endpoint: Endpoint, key: paramiko.PKey) -> None:
    """Raises `HostKeyRefused` unless the inventory names this key."""
    if not endpoint.host_keys:
        raise HostKeyRefused(
            f"{endpoint.label} is not enrolled: it shows the host key {host_key_text(key)}, and the inventory names "
            f"none; compare it on the device and run `suite devices enroll {endpoint.device}`."
        )
    if not any(is_same(text, key) for text in endpoint.host_keys):
        raise changed(endpoint, key)


def is_same(text: str, key: paramiko.PKey) -> bool:
    """Returns whether this text of the inventory, with or without a key type, identifies the key."""
    match = HOST_KEY_PATTERN.fullmatch(text)
    return match is not None and match["fingerprint"] == key.fingerprint and match["type"] in (None, key.get_name())


def changed(endpoint: Endpoint, key: paramiko.PKey) -> HostKeyRefused:
    """Returns the error for a server that presents another key than the enrolled one."""
    return HostKeyRefused(
        f"{endpoint.label} shows the host key {host_key_text(key)}, but was enrolled with "
        f"{' and '.join(endpoint.host_keys)}: its system was installed anew, or another machine answers there; "
        f"if you know why it changed, compare the new key on the device, remove `host_keys` from the inventory and run "
        f"`suite devices enroll {endpoint.device}`."
    )
