"""Building only what changed: each page ends with a digest of what it was made from.

The digest is over the stamp of what the page shows and over this package itself, so that a new version of the suite
builds its pages anew. It stands in the page's last line: page and digest can't disagree.
"""

import hashlib
import importlib.metadata
from functools import lru_cache
from pathlib import Path

_TAIL_BYTES = 200
_ENDINGS = (".py", ".html", ".js", ".css")


@lru_cache(maxsize=1)
def code_stamp() -> str:
    """Changes with any file of this package and with plotly."""
    found = hashlib.sha256(importlib.metadata.version("plotly").encode())
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in _ENDINGS:
            found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def digest(*stamps: str) -> str:
    """The digest of a page made from what has these stamps; empty when one of them is: then nothing is known."""
    if not all(stamps):
        return ""
    return hashlib.sha256("\0".join((code_stamp(), *stamps)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_fresh(page: Path, made_from: str) -> bool:
    """Whether ``page`` is there and was made from the same."""
    if not made_from or not page.is_file():
        return False
    with page.open("rb") as file:
        file.seek(max(0, page.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").endswith(_line(made_from))


def signed(text: str, made_from: str) -> str:
    """The page with its digest."""
    return text + _line(made_from) if made_from else text


def _line(made_from: str) -> str:
    return f"<!-- made from {made_from} -->\n"
