"""Quoting for POSIX shells: the one place where text becomes part of a script."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def quoted(words: Iterable[str]) -> str:
    """The words as the shell reads them back, one by one. Raises `ValueError` for a null character."""
    parts = list(words)
    if any("\0" in part for part in parts):
        raise ValueError("embedded null byte")
    return " ".join(map(shlex.quote, parts))


def plain_path(path: str) -> str:
    """A path that no tool takes for an option. Raises `ValueError` for an empty one or a null character."""
    if not path or "\0" in path:
        raise ValueError("embedded null byte" if path else "empty path")
    return path if path.startswith("/") else f"./{path}"
