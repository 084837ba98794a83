"""Locates the suite's folders on the host: store, artifacts, runner, reports, raw output of runs, locks.

Runs share the lock on the home's programs and runners; removing some takes it exclusively. Also finds the commit of the
suite itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError

PROFILE = "profile.json"
PEAKS = "peaks.json"
EXPERIMENT = "experiment.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}")


@dataclass(frozen=True)
class Home:
    """All folders below one root. Properties that name a folder create it if it is missing."""

    root: Path

    @classmethod
    def locate(cls, inventory: Path | None = None, environ: Mapping[str, str] | None = None) -> Home:
        """Returns `$SUITE_HOME`, or else `.suite` beside the inventory file (by default in the current folder)."""
        variables = os.environ if environ is None else environ
        chosen = variables.get("SUITE_HOME", "").strip()
        if chosen:
            return cls(Path(chosen).expanduser().resolve())
        base = inventory.resolve().parent if inventory is not None else Path.cwd()
        return cls(base / ".suite")

    @property
    def store_path(self) -> Path:
        """The SQLite file, which may not exist yet, although its folder does."""
        return self._folder() / "store.sqlite"

    @property
    def artifacts(self) -> Path:
        """The exported programs, in one folder per hash."""
        return self._folder("artifacts")

    @property
    def runner(self) -> Path:
        """The built runners, in one folder per hash."""
        return self._folder("runner")

    @property
    def reports(self) -> Path:
        """The HTML pages and their data."""
        return self._folder("reports")

    @property
    def locks(self) -> Path:
        """The lock files, one per device."""
        return self._folder("locks")

    @property
    def logs(self) -> Path:
        """The output of scheduled nights."""
        return self._folder("logs")

    def run_folder(self, run_id: str) -> Path:
        """Returns the folder of one run's raw runner output, which is kept forever."""
        return self._folder("runs", _plain(run_id, "run id"))

    def night_folder(self, run_id: str) -> Path:
        """Returns the folder of a night's files for CI and chat: junit.xml, summary.md, night.json."""
        return self._folder("nights", _plain(run_id, "run id"))

    def training_folder(self, training_id: str) -> Path:
        """Returns the folder of one training: its states, and the raw output of its processes."""
        return self._folder("trainings", _plain(training_id, "training id"))

    def profile_folder(self, profile_id: str) -> Path:
        """Returns the folder of one profile: its document, its page, and the raw output of its sessions."""
        return self._folder("profiles", _plain(profile_id, "profile id"))

    def profile_ids(self) -> list[str]:
        """Returns the ids of the stored profiles, newest last."""
        return sorted(path.parent.name for path in self.root.glob(f"profiles/*/{PROFILE}"))

    def peaks_folder(self, peaks_id: str) -> Path:
        """Returns the folder of one measurement of a device's peaks: its document, and the raw output of the runner."""
        return self._folder("peaks", _plain(peaks_id, "peaks id"))

    def peaks_ids(self) -> list[str]:
        """Returns the ids of the stored peaks, newest last."""
        return sorted(path.parent.name for path in self.root.glob(f"peaks/*/{PEAKS}"))

    def experiment_folder(self, experiment_id: str) -> Path:
        """Returns the folder of one experiment: its document and its page."""
        return self._folder("experiments", _plain(experiment_id, "experiment's id"))

    def experiment_ids(self) -> list[str]:
        """Returns the ids of the stored experiments, newest last."""
        return sorted(path.parent.name for path in self.root.glob(f"experiments/*/{EXPERIMENT}"))

    @property
    def initial_adapters(self) -> Path:
        """The A of trainings that do not draw theirs, as PEFT folders."""
        return self._folder("initial")

    def long_session_folder(self, session_id: str) -> Path:
        """Returns the folder of one long session of an experiment: its document and its raw output."""
        return self._folder("long_sessions", _plain(session_id, "session id"))

    def session_log(self, run_id: str, session_id: str) -> Path:
        """Returns the file for the raw lines of one session."""
        return self.run_folder(run_id) / f"{_plain(session_id, 'session id')}.jsonl"

    def _folder(self, *parts: str) -> Path:
        folder = self.root.joinpath(*parts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the folder {folder} cannot be created ({error.strerror}, error {error.errno}): "
                "set SUITE_HOME to a writable folder"
            ) from error
        return folder


def _plain(name: str, what: str) -> str:
    """Returns a name if it cannot leave its folder. Raises UserError otherwise."""
    if _PLAIN_NAME.fullmatch(name) is None:
        raise UserError(f"'{name[:80]}' is not a {what}: use only 1 to 200 letters, digits and . _ + = @ -")
    return name


_GIT_S = 5.0
_CHECKOUT = Path(__file__).resolve().parent.parent


def commit(folder: Path = _CHECKOUT) -> str:
    """Returns the commit of this package's checkout, with `+` if files differ from it; empty outside of a checkout."""
    if not (folder / ".git").exists():
        return ""
    git = ["git", "-C", str(folder)]
    try:
        head, changed = (
            subprocess.run([*git, *arguments], capture_output=True, text=True, timeout=_GIT_S, check=True).stdout
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")


_NAME = "programs.lock"


@contextlib.contextmanager
def in_use(home: Home) -> Iterator[None]:
    """Ensures that nothing in `home` is removed during the block. Waits while something is being removed."""
    with _lock(home, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone(home: Home) -> Iterator[bool]:
    """Yields whether no run uses `home`. If so, none starts during the block."""
    try:
        with _lock(home, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield True
    except BlockingIOError:
        yield False


def is_claimed(home: Home, run_id: str) -> bool:
    """Returns whether a process is carrying out this run or training (`suite.measuring.orchestrate.claimed`)."""
    path = home.root / "locks" / claim_name(run_id)
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held by its process, or on a file system where the file itself is the lock
        return True
    return False


def claim_name(run_id: str) -> str:
    """Returns the name of the lock file of a run or training in progress."""
    return f"{run_id}.run"


@contextlib.contextmanager
def _lock(home: Home, how: int) -> Iterator[None]:
    path = home.locks / _NAME
    with contextlib.ExitStack() as opened:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            opened.callback(os.close, descriptor)
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            raise
        except OSError as error:  # also from a file system without shared locks
            raise UserError(
                f"the lock {path} cannot be created ({error.strerror}, error {error.errno}): make its folder "
                "writable, or set SUITE_HOME to another one."
            ) from error
        yield
