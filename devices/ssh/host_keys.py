"""Is it the device that was enrolled? Its host key must be one that the inventory names; nothing is trusted unasked."""

from __future__ import annotations

import paramiko

from devices.entry import HOST_KEY_PATTERN
from devices.errors import HostKeyRefused
from devices.ssh.endpoint import Endpoint

# One key of a server signs under several names; those with SHA-1 are not among them.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def host_key_text(key: paramiko.PKey) -> str:
    """A host key as the inventory has it: `ssh-ed25519 SHA256:...`, the fingerprint as `ssh-keygen -l` shows it."""
    return f"{key.get_name()} {key.fingerprint}"


def wanted_algorithms(host_keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """What to ask the server for so that it shows an enrolled key and not another of its own; None for any."""
    types = [match["type"] for text in host_keys if (match := HOST_KEY_PATTERN.fullmatch(text))]
    if not types or None in types:
        return None
    return tuple(algorithm for kind in types for algorithm in _ALGORITHMS.get(kind, (kind,)))


def require_enrolled(endpoint: Endpoint, key: paramiko.PKey) -> None:
    """Raises `HostKeyRefused` unless the inventory names this key."""
    if not endpoint.host_keys:
        raise HostKeyRefused(
            f"{endpoint.shown} is not enrolled: it shows the host key {host_key_text(key)}, and the inventory names "
            f"none; compare it on the device and run `suite devices enroll {endpoint.device}`."
        )
    if not any(is_same(text, key) for text in endpoint.host_keys):
        raise changed(endpoint, key)


def is_same(text: str, key: paramiko.PKey) -> bool:
    """Whether this text of the inventory, with or without the key's type, names the key."""
    match = HOST_KEY_PATTERN.fullmatch(text)
    return match is not None and match["fingerprint"] == key.fingerprint and match["type"] in (None, key.get_name())


def changed(endpoint: Endpoint, key: paramiko.PKey) -> HostKeyRefused:
    """The error for a server that shows another key than the enrolled one."""
    return HostKeyRefused(
        f"{endpoint.shown} shows the host key {host_key_text(key)}, but was enrolled with "
        f"{' and '.join(endpoint.host_keys)}: its system was installed anew, or another machine answers there; "
        f"if you know why it changed, compare the new key on the device, remove `host_keys` from the inventory and run "
        f"`suite devices enroll {endpoint.device}`."
    )
