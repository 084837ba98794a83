"""Errors of the reports that a user can mend."""

from collections.abc import Iterable
from pathlib import Path

from foundation.errors import UserError
from foundation.text import did_you_mean


class UnknownRun(UserError):  # noqa: N818 - the vocabulary's word
    """A run was asked for that the store does not have."""

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


class ServerNotStarted(UserError):  # noqa: N818 - as above
    """The address to serve at can't be had."""

    def __init__(self, host: str, port: int, cause: Exception) -> None:
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        super().__init__(f"The reports can't be served at {host} port {port} ({reason}): choose another with --port.")
