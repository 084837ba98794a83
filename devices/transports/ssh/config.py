"""What the user's OpenSSH configuration says of a host: `~/.ssh/config`, with all that it includes.

`ssh -G` gives it as ssh itself would use it. Where there is no ssh, paramiko's reader does, which lacks `Include`: that
is put in its place before, without the condition of a block that it may stand in.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from devices.errors import AccessRefused
from foundation.causes import cause_line
from foundation.text import decode, printable

_TIMEOUT_S = 10.0
_LONGEST_INCLUSION = 16
_SYSTEM_FILE = Path("/etc/ssh/ssh_config")
# ssh's own names of keys; a list of several of these means that the configuration names none.
_USUAL_KEYS = re.compile(r"~/\.ssh/id_(?:rsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss|dsa)")
# What ssh takes for a host's name (readconf.c, valid_hostname).
_HOST = re.compile(r"(?!-)[^\s'\"`$\\;&<>|(){}\x00-\x1f]+")
_NONE = "none"


@dataclass(frozen=True)
class HostSettings:
    """What the configuration says of a host. None: nothing.

    `key_files`: as named there, whether they exist or not; `only_key_files`: the agent's other keys are not to be
    tried. `jumps`: the servers on the way, the first one first, each as `[user@]host[:port]`.
    """

    host: str
    user: str | None = None
    port: int | None = None
    key_files: tuple[Path, ...] | None = None
    only_key_files: bool = False
    jumps: tuple[str, ...] = ()


def settings_of(host: str, user: str | None = None, port: int | None = None) -> HostSettings:
    """Returns what the configuration says of `host`; `user` and `port` are those that take precedence over it.

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
    """Yields the options by which ssh reads this file; none for the one that it reads by itself."""
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
    """Returns the text with each `Include` replaced; what follows one belongs to the block that it stands in."""
    try:
        lines = decode(file.read_bytes()).splitlines()
    except OSError:
        return ""  # as ssh does: a file that isn't there includes nothing
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
            f"~/.ssh/config reaches {printable(host, 80)!r} by a ProxyCommand, which is not followed here; name the "
            "server between by ProxyJump there, or as `jump` in the inventory."
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
    """Returns what ssh_config(5) puts in place of the tokens in the name of a key file."""
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
