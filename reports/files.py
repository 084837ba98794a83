"""Files of the site: the path of each page, relative to the site's folder, and atomic writing.

A file is written beside its place, flushed to disk and renamed, so that it is complete or absent.

Text that UTF-8 can't encode (lone surrogates from a device's broken output) is escaped. The errors are those that a
user can fix.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from foundation.atomic import replacing_text
from foundation.errors import UserError
from foundation.text import did_you_mean
from foundation.unavailable import Unavailable
from reports.text.escaping import file_name


@lru_cache(maxsize=8192)
def run_place(run_id: str) -> str:
    """Returns the path of a run's page."""
    return f"runs/{file_name(run_id)}/index.html"


def night_place(run_id: str) -> str:
    """Returns the path of a night's verdicts."""
    return f"nights/{file_name(run_id)}/index.html"


def series_place(device: str, workload_key: str) -> str:
    """Returns the path of a workload's history on a device."""
    return f"series/{file_name(device)}/{file_name(workload_key)}/index.html"


def device_place(device: str) -> str:
    """Returns the path of a device's page."""
    return f"devices/{file_name(device)}/index.html"


def workload_place(key: str) -> str:
    """Returns the path of a workload with its settings side by side."""
    return f"workloads/{file_name(key)}/index.html"


def comparison_place(before: str, after: str) -> str:
    """Returns the path of the comparison of two runs."""
    return f"comparisons/{file_name(before)}--{file_name(after)}/index.html"


TRAININGS = "trainings/index.html"
"""The list of all trainings."""


def training_place(group_id: str) -> str:
    """Returns the path of the page of a command's trainings."""
    return f"trainings/{file_name(group_id)}/index.html"


def root_of(place: str) -> str:
    """Returns the relative path from a page to the site's folder."""
    return "../" * place.count("/")


class UnknownRun(UserError):  # noqa: N818 - the vocabulary's word
    """The requested run is not in the store."""

    def __init__(self, run_id: str, known: Iterable[str]) -> None:
        names = list(known)
        hint = did_you_mean(run_id, names) or "`suite history` lists the runs."
        super().__init__(f"There is no run {run_id!r} among the {len(names)} in the store: {hint}")


class SiteNotWritable(UserError):  # noqa: N818 - the vocabulary's word
    """A file of the site could not be written."""

    def __init__(self, path: Path, cause: OSError) -> None:
        reason = cause.strerror or type(cause).__name__
        super().__init__(
            f"The report file {path} could not be written ({reason}): free space or allow writing there, then build "
            "the report again with `suite report`."
        )


def page_or_reason(write: Callable[[], Path]) -> str | Unavailable:
    """Writes a page and returns its path, or why it can't be written, as the caller has results to print either way."""
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
