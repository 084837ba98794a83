"""Files of the site, complete or absent: written beside their place, flushed to disk, renamed.

Text that UTF-8 can't hold (lone surrogates from a device's broken output) is written as its escape. The errors are
those that a user can mend.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from foundation.atomic import replacing_text
from foundation.errors import UserError
from foundation.text import did_you_mean
from foundation.unavailable import Unavailable


class UnknownRun(UserError):  # noqa: N818 - the vocabulary's word
    """The requested run is not in the store."""

    def __init__(self, run_id: str, known: Iterable[str]) -> None:
        names = list(known)
        hint = did_you_mean(run_id, names) or "`suite history` lists the runs there are."
        super().__init__(f"There is no run {run_id!r} among the {len(names)} in the store: {hint}")


class SiteNotWritable(UserError):  # noqa: N818 - the vocabulary's word
    """A file of the site could not be written."""

    def __init__(self, path: Path, cause: OSError) -> None:
        reason = cause.strerror or type(cause).__name__
        super().__init__(
            f"The report file {path} could not be written ({reason}): free space or permit writing there, "
            "then build the report again with `suite report`."
        )


def page_or_reason(write: Callable[[], Path]) -> str | Unavailable:
    """Writes a page and returns its path: one that can't be written is no reason to keep back what it would show."""
    try:
        return str(write())
    except UserError as error:
        return Unavailable(str(error))


class ServerNotStarted(UserError):  # noqa: N818 - as above
    """The server cannot listen at the address."""

    def __init__(self, host: str, port: int, cause: Exception) -> None:
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        super().__init__(f"The reports can't be served at {host} port {port} ({reason}): choose another with --port.")


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Opens a text file that replaces ``path`` if the block succeeds and leaves no trace if it fails.

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
    """Writes ``text`` to ``path`` atomically; raises what :func:`replacing` raises."""
    with replacing(path) as file:
        file.write(text)
