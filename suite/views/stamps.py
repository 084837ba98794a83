"""Stamps: short texts that differ when what they were made of differs."""

from __future__ import annotations

import hashlib


def stamp(*parts: object) -> str:
    """32 hexadecimal digits over the parts, which must have a `repr` that says all of them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
