"""Where an SSH connection goes and with what: an entry's device, or its jump host."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

from devices.entry import DeviceEntry, SshLogin
from devices.errors import AccessRefused
from foundation.text import printable

DEFAULT_PORT = 22


@dataclass(frozen=True)
class Endpoint:
    """A server. `device` is the name of the entry it belongs to, `is_jump` tells the jump host from the device."""

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
    def shown(self) -> str:
        """For messages: which server this is."""
        role = "the jump host of device" if self.is_jump else "device"
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"{role} {self.device!r} ({printable(self.user, 60)}@{printable(self.host, 120)}{port})"


def endpoints(entry: DeviceEntry) -> tuple[Endpoint, ...]:
    """The servers on the way to a device, the device last. Raises `AccessRefused` if no user is known."""
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
