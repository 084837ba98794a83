"""Files of the site: whole or not there; text that UTF-8 can't hold (lone surrogates) is written as its escape."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from foundation.atomic import replacing_text
from reports.errors import SiteNotWritable


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` when the block ends well and leaves no trace when it doesn't.

    Raises:
        SiteNotWritable: the folder or the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_text(path, errors="backslashreplace") as file:
            yield file
    except OSError as error:
        raise SiteNotWritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one go; see :func:`replacing` for what it raises."""
    with replacing(path) as file:
        file.write(text)
