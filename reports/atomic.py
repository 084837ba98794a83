"""Files that are either whole or not there: write beside the place, flush to disk, rename.

Text that UTF-8 can't hold (lone surrogates from a device's broken output) is written as its escape.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from reports.errors import SiteNotWritable


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` when the block ends well and leaves no trace when it doesn't.

    Raises:
        SiteNotWritable: the folder or the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened by name rather than by tempfile, so that the umask decides who may read the site.
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SiteNotWritable(path, error) from error
    finally:
        # After a success it is renamed; where its folder could not even be made, there is nothing to remove.
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in one go; see :func:`replacing` for what it raises."""
    with replacing(path) as file:
        file.write(text)
