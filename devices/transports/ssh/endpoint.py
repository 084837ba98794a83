"""Addresses, credentials and host keys of SSH connections.

An endpoint is an entry's device or its jump host. Its host key must be one of the inventory's; no key is trusted on
first use.

What the inventory leaves open comes from `~/.ssh/config`, including its inclusions. `ssh -G` prints it as ssh itself
would use it. Without ssh, paramiko's parser reads it; as that doesn't know `Include`, included text is inserted first,
ignoring the condition of an enclosing block.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import pwd
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pydantic import ValidationError

from devices.errors import AccessRefused, HostKeyRefused
from devices.inventory.entry import HOST_KEY_PATTERN, DeviceEntry, JumpHost
from foundation.causes import cause_line
from foundation.text import decode, printable

_DEFAULT_PORT = 22
PEER_ERRORS = (
    *(paramiko.SSHException, EOFError, OSError, ValueError, TypeError, IndexError, struct.error),
    *(UnsupportedAlgorithm, InvalidSignature),
)
"""The library's errors about a server: its thread passes on anything that a malformed message makes it raise."""
_TIMEOUT_S = 10.0
_LONGEST_INCLUSION = 16
_SYSTEM_FILE = Path("/etc/ssh/ssh_config")
# ssh's default key files; a list of several of these means that the configuration names none.
_USUAL_KEYS = re.compile(r"~/\.ssh/id_(?:rsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss|dsa)")
# What ssh accepts as a host's name (readconf.c, valid_hostname).
_HOST = re.compile(r"(?!-)[^\s'\"`$\\;&<>|(){}\x00-\x1f]+")
_NONE = "none"


@dataclass(frozen=True)
class Endpoint:
    """A server. `device` is the name of its entry; `is_jump` distinguishes a jump host from the device.

    `alias` is its name in the inventory. `usual_keys`: the keys named in the user's OpenSSH configuration, None if it
    names none; with `only_usual_keys` other keys of the agent are not tried.
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
        port = "" if self.port == _DEFAULT_PORT else f":{self.port}"
        return f"{role} {self.device!r} ({printable(self.user, 60)}@{printable(self.host, 120)}{port})"


def endpoints(entry: DeviceEntry) -> tuple[Endpoint, ...]:
    """Returns the servers on the way to a device, the device last.

    Raises `AccessRefused` if no user is known, or the user's OpenSSH configuration can't be followed.
    """
    look_up = functools.cache(_settings_of)  # each server is looked up twice
    jump = _before(entry, entry.name, (), entry.host or "", look_up)
    hops: list[Endpoint] = []
    while jump is not None:
        hops.insert(0, _endpoint(entry.name, jump, jump.host, look_up, is_jump=True))
        jump = jump.jump
    return (*hops, _endpoint(entry.name, entry, entry.host or "", look_up, is_jump=False))


def jump_of(entry: DeviceEntry) -> JumpHost | None:
    """Returns the server before the device, with those before it: the inventory's, else OpenSSH's ProxyJump.

    The inventory has no host keys for a server that only OpenSSH's configuration names. As in ssh, the first server of
    a ProxyJump list is reached as its own configuration says. Raises `AccessRefused` for a route in a circle.
    """
    return _before(entry, entry.name, (), entry.host or "", _settings_of)


def _before(
    login: DeviceEntry | JumpHost, device: str, seen: tuple[str, ...], host: str, look_up: _LookUp
) -> JumpHost | None:
    jump = login.jump
    if jump is None:
        jumps = look_up(host, login.user, login.port).jumps
        if jumps and host in seen:
            raise AccessRefused(
                f"the route to device {device!r} goes in a circle ({' through '.join(map(printable, (*seen, host)))}); "
                "correct ProxyJump in ~/.ssh/config, or `jump` in the inventory."
            )
        try:
            for text in jumps:
                jump = JumpHost.model_validate({"host": text, "jump": jump})
        except ValidationError as error:
            raise AccessRefused(
                f"~/.ssh/config reaches {printable(host, 80)!r} through {printable(','.join(jumps), 80)!r}, which is "
                "not a list of servers; correct ProxyJump there, or name the server as `jump` in the inventory."
            ) from error
    return None if jump is None else _with_first(jump, device, (*seen, host), look_up)


def _with_first(jump: JumpHost, device: str, seen: tuple[str, ...], look_up: _LookUp) -> JumpHost:
    """Returns the chain, with the servers before its first one added."""
    inner = (
        _before(jump, device, seen, jump.host, look_up)
        if jump.jump is None
        else _with_first(jump.jump, device, (*seen, jump.host), look_up)
    )
    return jump if inner is None else jump.model_copy(update={"jump": inner})


def _endpoint(device: str, login: DeviceEntry | JumpHost, alias: str, look_up: _LookUp, *, is_jump: bool) -> Endpoint:
    settings = look_up(alias, login.user, login.port)
    try:
        user = login.user or settings.user or getpass.getuser()
        key_file = None if login.key_file is None else Path(login.key_file).expanduser()
    except (KeyError, OSError, RuntimeError) as error:
        raise AccessRefused(
            f"the user or the home folder for device {device!r} is unknown on this host; "
            "set `user` in the inventory and write `key_file` as an absolute path."
        ) from error
    return Endpoint(
        device=device,
        is_jump=is_jump,
        host=settings.host,
        port=login.port or settings.port or _DEFAULT_PORT,
        user=user,
        key_file=key_file,
        key_passphrase_env=login.key_passphrase_env,
        password_env=login.password_env,
        host_keys=login.host_keys,
        alias=alias,
        usual_keys=settings.key_files,
        only_usual_keys=settings.only_key_files,
    )


# An RSA key signs with several algorithms; those with SHA-1 are left out.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def host_key_text(key: paramiko.PKey) -> str:
    """Returns a host key in the inventory's form: `ssh-ed25519 SHA256:...`, with the fingerprint of `ssh-keygen -l`."""
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
            f"{endpoint.label} is not enrolled: it presents the host key {host_key_text(key)}, and the inventory has "
            f"none; compare it on the device and run `suite devices enroll {endpoint.device}`."
        )
    if not any(_is_same(text, key) for text in endpoint.host_keys):
        raise changed(endpoint, key)


def _is_same(text: str, key: paramiko.PKey) -> bool:
    """Returns whether this text of the inventory, with or without a key type, identifies the key."""
    match = HOST_KEY_PATTERN.fullmatch(text)
    return match is not None and match["fingerprint"] == key.fingerprint and match["type"] in (None, key.get_name())


def changed(endpoint: Endpoint, key: paramiko.PKey) -> HostKeyRefused:
    """Returns the error for a server that presents another key than the enrolled one."""
    return HostKeyRefused(
        f"{endpoint.label} presents the host key {host_key_text(key)}, but was enrolled with "
        f"{' and '.join(endpoint.host_keys)}: its system was reinstalled, or another machine answers there; "
        f"if you know why it changed, compare the new key on the device, remove `host_keys` from the inventory and run "
        f"`suite devices enroll {endpoint.device}`."
    )


@dataclass(frozen=True)
class HostSettings:
    """A host's settings in the configuration; None if not set.

    `key_files`: as named there, whether they exist or not; `only_key_files`: other keys of the agent must not be tried.
    `jumps`: the servers on the route, in order, each as `[user@]host[:port]`.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key_files: tuple[Path, ...] | None = None
    only_key_files: bool = False
    jumps: tuple[str, ...] = ()


_LookUp = Callable[[str, str | None, int | None], HostSettings]


def _settings_of(host: str, user: str | None = None, port: int | None = None) -> HostSettings:
    """Returns the configuration's settings for `host`; `user` and `port`, if given, take precedence.

    Raises `AccessRefused` for a configuration that ssh would refuse, and for a `ProxyCommand`.
    """
    file = Path.home() / ".ssh" / "config"
    # ssh looks for it in the folder of the user's account, whatever HOME is.
    usual = file == Path(_account_folder()) / ".ssh" / "config"
    if not _HOST.fullmatch(host) or not (file.is_file() or (usual and _SYSTEM_FILE.is_file())):
        return HostSettings(host)
    ssh = shutil.which("ssh")
    if ssh is None:
        return _settings(host, user, port, _read_by_paramiko(file, host))
    with _as_option(file, usual=usual) as option:
        return _settings(host, user, port, _read_by_ssh(ssh, option, host, user, port))


def _account_folder() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


@contextlib.contextmanager
def _as_option(file: Path, *, usual: bool) -> Iterator[Sequence[str]]:
    """Yields the options that make ssh read this file; none for the file that it reads by default."""
    if usual:
        yield ()
        return
    with tempfile.NamedTemporaryFile("w", prefix="ssh-config-", encoding="utf-8") as copy:
        copy.write(_with_inclusions(file))
        copy.flush()
        yield ("-F", copy.name)


def _read_by_ssh(ssh: str, option: Sequence[str], host: str, user: str | None, port: int | None) -> list[list[str]]:
    command = [ssh, *option, *(("-l", user) if user else ()), *(("-p", str(port)) if port else ()), "-G", "--", host]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"ssh -G gives no answer within {_TIMEOUT_S:g} s"
        raise _unusable(host, reason if isinstance(error, subprocess.TimeoutExpired) else str(error)) from error
    if done.returncode:
        raise _unusable(host, cause_line(decode(done.stderr)).removeprefix(": ") or f"exit code {done.returncode}")
    return [line.split(" ", 1) for line in decode(done.stdout).splitlines() if " " in line]


def _read_by_paramiko(file: Path, host: str) -> list[list[str]]:
    try:
        found = paramiko.SSHConfig.from_text(_with_inclusions(file)).lookup(host)
    except (paramiko.SSHException, ValueError, KeyError, IndexError) as error:
        raise _unusable(host, str(error)) from error
    lists: Mapping[str, str | list[str]] = dict(found)
    return [[key, item] for key, value in lists.items() for item in ([value] if isinstance(value, str) else value)]


def _unusable(host: str, reason: str) -> AccessRefused:
    return AccessRefused(
        f"~/.ssh/config can't be used for {printable(host, 80)!r} ({printable(reason, 160)}); correct it until "
        f"`ssh -G {printable(host, 80)}` prints no error."
    )


def _with_inclusions(file: Path, depth: int = 0) -> str:
    """Returns the text with each `Include` replaced; what follows one belongs to its enclosing block."""
    try:
        lines = decode(file.read_bytes()).splitlines()
    except OSError:
        return ""  # like ssh: a missing file includes nothing
    result: list[str] = []
    block = "Host *"
    for line in lines:
        words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if words[0].lower() in ("host", "match"):
            block = line
        if words[0].lower() != "include" or depth >= _LONGEST_INCLUSION:
            result.append(line)
            continue
        for pattern in words[1].replace('"', "").split() if len(words) > 1 else ():
            below_root = str(Path.home() / ".ssh" / Path(pattern).expanduser()).lstrip("/")
            result += [_with_inclusions(found, depth + 1) for found in sorted(Path("/").glob(below_root))]
        result.append(block)
    return "\n".join(result) + "\n"


def _settings(host: str, user: str | None, port: int | None, lines: Sequence[Sequence[str]]) -> HostSettings:
    values: dict[str, str] = {}
    keys: list[str] = []
    for key, value in lines:
        name = key.lower()
        if name == "identityfile":
            keys.append(value.strip().strip('"'))
        else:
            values.setdefault(name, value.strip())
    jumps = values.get("proxyjump", _NONE)
    if jumps.lower() == _NONE and values.get("proxycommand", _NONE).lower() != _NONE:
        raise AccessRefused(
            f"~/.ssh/config reaches {printable(host, 80)!r} by a ProxyCommand, which the suite doesn't support; name "
            "the server in between with ProxyJump there, or as `jump` in the inventory."
        )
    found_port = values.get("port", "")
    address = values.get("hostname", host)
    at = port or (int(found_port) if found_port.isdecimal() else None)
    whom = user or values.get("user")
    named = keys and not (len(keys) > 1 and all(map(_USUAL_KEYS.fullmatch, keys)))
    tokens = _tokens(host, address, whom, at)
    return HostSettings(
        host=address,
        user=whom,
        port=at,
        key_files=tuple(_key_file(key, tokens) for key in keys if key.lower() != _NONE) if named else None,
        only_key_files=values.get("identitiesonly") == "yes",
        jumps=() if jumps.lower() == _NONE else tuple(part.strip() for part in jumps.split(",")),
    )


def _tokens(alias: str, address: str, user: str | None, port: int | None) -> Mapping[str, str]:
    """Returns the values of ssh_config(5)'s tokens in the name of a key file."""
    local = getpass.getuser()
    return {
        **{"%": "%", "d": str(Path.home()), "h": address, "n": alias, "p": str(port or 22), "r": user or local},
        **{"u": local, "i": str(os.getuid())},
    }


def _key_file(text: str, tokens: Mapping[str, str]) -> Path:
    text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)
    text = re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)
    path = Path(text).expanduser()
    return path if path.is_absolute() else Path.home() / path
