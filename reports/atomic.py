"""Files of the site: whole or not there; text that UTF-8 can't hold (lone surrogates) is written as its escape."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from foundation import atomic
from reports.errors import SiteNotWritable


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` when the block ends well and leaves no trace when it doesn't.

    Raises:
        SiteNotWritable: the folder or the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as stream:
            file = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
            yield file
            file.detach()
    except OSError as error:
        raise SiteNotWritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one go; see :func:`replacing` for what it raises."""
    with replacing(path) as file:
        file.write(text)
