"""The keys to log in with: the one the inventory names, else those of the agent and of `~/.ssh`."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from devices.errors import AccessRefused, FileError
from devices.ssh.endpoint import Endpoint
from devices.ssh.secrets_of_user import asked, forget, from_environment

_DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Candidate:
    """A key to try, or why a key that is there can't be tried."""

    shown: str
    key: paramiko.PKey | None
    obstacle: str = ""


def candidates(endpoint: Endpoint, home: Path) -> Generator[Candidate, None, None]:
    """What to try, in this order; close it when done, since the agent signs as long as it is open.

    Raises `AccessRefused` if the key that the inventory names can't be used.
    """
    with contextlib.closing(_agent()) as agent:
        if endpoint.key_file is not None:
            yield _named(endpoint, endpoint.key_file, agent)
            return
        for key in agent.get_keys():
            yield Candidate(f"agent key {key.fingerprint}", key)
    for name in _DEFAULT_NAMES:
        path = home / ".ssh" / name
        if path.is_file():
            try:
                yield Candidate(str(path), paramiko.PKey.from_path(path))
            except TypeError:
                yield Candidate(str(path), None, "has a passphrase: add it to ssh-agent")
            except (ValueError, OSError, paramiko.SSHException):
                yield Candidate(str(path), None, "can't be read")


def _named(endpoint: Endpoint, path: Path, agent: paramiko.Agent) -> Candidate:
    try:
        return Candidate(str(path), paramiko.PKey.from_path(path))
    except TypeError:
        held = _held_by(agent, path)
        return Candidate(str(path), held or _decrypted(endpoint, path))
    except OSError as error:
        reason = FileError.from_os_error("read", str(path), error).reason
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.shown} can't be read because {reason}; correct `key_file`."
        ) from error
    except (ValueError, paramiko.SSHException) as error:
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.shown} holds no private key that can be used; "
            "name one that `ssh-keygen -y -f FILE` can read."
        ) from error


def _decrypted(endpoint: Endpoint, path: Path) -> paramiko.PKey:
    purpose = f"the passphrase of {str(path)!r}"
    variable = endpoint.key_passphrase_env
    passphrase = from_environment(variable, purpose) if variable else asked(purpose)
    if passphrase is None:
        raise AccessRefused(
            f"the key file {str(path)!r} of {endpoint.shown} has a passphrase; run `ssh-add {path}`, or name the "
            "environment variable that holds it as `key_passphrase_env`."
        )
    try:
        # The stub knows text only, the library takes bytes only.
        return paramiko.PKey.from_path(path, passphrase.encode())  # type: ignore[arg-type]
    except ValueError as error:
        forget(purpose)
        raise AccessRefused(f"{purpose} is wrong for {endpoint.shown}; correct it and try again.") from error


def _held_by(agent: paramiko.Agent, path: Path) -> paramiko.PKey | None:
    """The agent's copy of a key whose file is encrypted, told by the public half beside it."""
    try:
        words = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return next((key for key in agent.get_keys() if words[1:2] == [key.get_base64()]), None)


def _agent() -> paramiko.Agent:
    """The agent, or one without keys where none answers."""
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError):
        return _NoAgent()


class _NoAgent(paramiko.Agent):
    def __init__(self) -> None:
        paramiko.agent.AgentSSH.__init__(self)
