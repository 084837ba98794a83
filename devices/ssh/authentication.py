"""Logging in: keys first, then the password, each tried once, and a sentence that says what was tried."""

from __future__ import annotations

import contextlib
from pathlib import Path

import paramiko

from devices.errors import AccessRefused, DeviceLost
from devices.ssh.endpoint import Endpoint
from devices.ssh.private_keys import Candidate, candidates
from devices.ssh.secrets_of_user import asked, forget, from_environment


def log_in(transport: paramiko.Transport, endpoint: Endpoint, home: Path | None = None) -> None:
    """Raises `AccessRefused` with what was tried, and `DeviceLost` if the server goes away meanwhile."""
    tried: list[str] = []
    with contextlib.closing(candidates(endpoint, home or Path.home())) as found:
        for candidate in found:
            if _with_key(transport, endpoint, candidate, tried):
                return
    if not _with_password(transport, endpoint, tried):
        raise AccessRefused(
            f"{endpoint.shown} refused the login (tried: {'; '.join(tried) or 'nothing, there was no key'}); "
            f"{_remedy(endpoint)}."
        )


def _with_key(transport: paramiko.Transport, endpoint: Endpoint, candidate: Candidate, tried: list[str]) -> bool:
    if candidate.key is None:
        tried.append(f"{candidate.shown} {candidate.obstacle}")
        return False
    tried.append(candidate.shown)
    try:
        transport.auth_publickey(endpoint.user, candidate.key)
    except paramiko.SSHException as error:
        _require_connection(transport, endpoint, tried, error)
    return transport.is_authenticated()


def _with_password(transport: paramiko.Transport, endpoint: Endpoint, tried: list[str]) -> bool:
    purpose = f"the password of {endpoint.shown}"
    password = from_environment(endpoint.password_env, purpose) if endpoint.password_env else asked(purpose)
    if password is None:
        return False
    tried.append("password" if endpoint.password_env is None else f"password from {endpoint.password_env}")
    try:
        transport.auth_password(endpoint.user, password)
    except paramiko.SSHException as error:
        _require_connection(transport, endpoint, tried, error)
    if not transport.is_authenticated():
        forget(purpose)
    return transport.is_authenticated()


def _require_connection(
    transport: paramiko.Transport, endpoint: Endpoint, tried: list[str], error: paramiko.SSHException
) -> None:
    """A refusal is what a next attempt is for; a connection that ended is not."""
    if transport.is_active():
        return
    if "too many" in str(error).lower():
        raise AccessRefused(
            f"{endpoint.shown} ended the login after {len(tried)} attempts ({'; '.join(tried)}); "
            "name the one right key as `key_file` in the inventory."
        ) from error
    raise DeviceLost(
        f"{endpoint.shown} ended the connection during the login ({error}); check its SSH server's log."
    ) from error


def _remedy(endpoint: Endpoint) -> str:
    port = f" -p {endpoint.port}"
    key = f" -i {endpoint.key_file}" if endpoint.key_file else ""
    password = (
        f"set {endpoint.password_env} to the right password"
        if endpoint.password_env
        else "name the variable that holds the password as `password_env`"
    )
    return (
        f"check `user` in the inventory, install your public key there with "
        f"`ssh-copy-id{key}{port} {endpoint.user}@{endpoint.host}`, or {password}"
    )
