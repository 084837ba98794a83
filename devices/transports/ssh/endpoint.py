"""Addresses, credentials and host keys of SSH connections.

An endpoint is an entry's device or its jump host. Its host key must be one that the inventory names; no key is trusted
on first use.
"""

from __future__ import annotations

import functools
import getpass
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pydantic import ValidationError

from devices.errors import AccessRefused, HostKeyRefused
from devices.inventory.entry import HOST_KEY_PATTERN, DeviceEntry, JumpHost
from devices.transports.ssh.config import HostSettings, settings_of
from foundation.text import printable

DEFAULT_PORT = 22
PEER_ERRORS = (
    *(paramiko.SSHException, EOFError, OSError, ValueError, TypeError, IndexError, struct.error),
    *(UnsupportedAlgorithm, InvalidSignature),
)
"""What the library raises about a server: its thread hands on whatever a malformed message makes it stumble over."""


@dataclass(frozen=True)
class Endpoint:
    """A server. `device` is the name of its entry; `is_jump` distinguishes a jump host from the device.

    `alias` is what the inventory calls it. `usual_keys`: what the user's OpenSSH configuration names as keys, None if
    it names none; with `only_usual_keys` other keys of the agent are not tried.
    """

    device: str
    is_jump: bool
    host: str
    port: int
    user: str
    key_file: Path | None
    key_passphrase_env: str | None
    password_env: str | None
    host_keys: tuple[str, ...]
    alias: str = ""
    usual_keys: tuple[Path, ...] | None = None
    only_usual_keys: bool = False

    @property
    def label(self) -> str:
        """The server's name in messages."""
        role = "the jump host of device" if self.is_jump else "device"
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"{role} {self.device!r} ({printable(self.user, 60)}@{printable(self.host, 120)}{port})"


def endpoints(entry: DeviceEntry) -> tuple[Endpoint, ...]:
    """Returns the servers on the way to a device, the device last.

    Raises `AccessRefused` if no user is known, or the user's OpenSSH configuration can't be followed.
    """
    look_up = functools.cache(settings_of)  # each server is asked for twice
    jump = _before(entry, entry.name, (), entry.host or "", look_up)
    hops: list[Endpoint] = []
    while jump is not None:
        hops.insert(0, _endpoint(entry.name, jump, jump.host, look_up, is_jump=True))
        jump = jump.jump
    return (*hops, _endpoint(entry.name, entry, entry.host or "", look_up, is_jump=False))


def jump_of(entry: DeviceEntry) -> JumpHost | None:
    """Returns the server before the device, with those before it: the inventory's, else OpenSSH's ProxyJump.

    The inventory has no host keys of a server that only OpenSSH's configuration names. As in ssh, of the servers that
    one ProxyJump lists the first is reached by its own configuration. Raises `AccessRefused` for a way in a circle.
    """
    return _before(entry, entry.name, (), entry.host or "", settings_of)


LookUp = Callable[[str, str | None, int | None], HostSettings]


def _before(
    login: DeviceEntry | JumpHost, device: str, seen: tuple[str, ...], host: str, look_up: LookUp
) -> JumpHost | None:
    jump = login.jump
    if jump is None:
        jumps = look_up(host, login.user, login.port).jumps
        if jumps and host in seen:
            raise AccessRefused(
                f"the way to device {device!r} leads in a circle ({' through '.join(map(printable, (*seen, host)))}); "
                "correct ProxyJump in ~/.ssh/config, or `jump` in the inventory."
            )
        try:
            for text in jumps:
                jump = JumpHost.model_validate({"host": text, "jump": jump})
        except ValidationError as error:
            raise AccessRefused(
                f"~/.ssh/config reaches {printable(host, 80)!r} through {printable(','.join(jumps), 80)!r}, which "
                "is no list of servers; correct ProxyJump there, or name the server as `jump` in the inventory."
            ) from error
    return None if jump is None else _with_first(jump, device, (*seen, host), look_up)


def _with_first(jump: JumpHost, device: str, seen: tuple[str, ...], look_up: LookUp) -> JumpHost:
    """Returns the chain with what comes before its first server."""
    inner = (
        _before(jump, device, seen, jump.host, look_up)
        if jump.jump is None
        else _with_first(jump.jump, device, (*seen, jump.host), look_up)
    )
    return jump if inner is None else jump.model_copy(update={"jump": inner})


def _endpoint(device: str, login: DeviceEntry | JumpHost, alias: str, look_up: LookUp, *, is_jump: bool) -> Endpoint:
    settings = look_up(alias, login.user, login.port)
    try:
        user = login.user or settings.user or getpass.getuser()
        key_file = None if login.key_file is None else Path(login.key_file).expanduser()
    except (KeyError, OSError, RuntimeError) as error:
        raise AccessRefused(
            f"the user or the home folder for device {device!r} is unknown on this host; "
            "set `user` in the inventory and write `key_file` as a whole path."
        ) from error
    return Endpoint(
        device=device,
        is_jump=is_jump,
        host=settings.host,
        port=login.port or settings.port or DEFAULT_PORT,
        user=user,
        key_file=key_file,
        key_passphrase_env=login.key_passphrase_env,
        password_env=login.password_env,
        host_keys=login.host_keys,
        alias=alias,
        usual_keys=settings.key_files,
        only_usual_keys=settings.only_key_files,
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
