"""Who uses programs and runners of a home right now: runs share the lock, removing takes it alone.

The kernel's lock (flock) ends with its holder, by `kill -9` too. A run holds it from before it looks for its programs
until its end, so that none of them goes in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from foundation.errors import UserError
from suite.home import Home

_NAME = "programs.lock"


@contextlib.contextmanager
def in_use(home: Home) -> Iterator[None]:
    """Nothing of `home` is removed during the block; waits while something is."""
    with _lock(home, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone(home: Home) -> Iterator[bool]:
    """Whether no run uses `home`; if so, none begins during the block."""
    try:
        with _lock(home, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield True
    except BlockingIOError:
        yield False


@contextlib.contextmanager
def _lock(home: Home, how: int) -> Iterator[None]:
    path = home.locks / _NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"the lock {path} cannot be made ({error.strerror}, error {error.errno}): make its folder writable, or set "
            "SUITE_HOME to another one."
        ) from error
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
