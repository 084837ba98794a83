"""Profiles on disk: `profiles/<id>/profile.json` in the home, beside it the page and the raw output of the sessions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from foundation.atomic import write_atomic
from foundation.errors import UserError, unknown_name
from foundation.foreign_files import DAMAGED
from reports.model.profile import Profile
from reports.pages.profile import profile_page
from reports.site.writing import Site, write_single_file
from suite.errors import StoreError
from suite.home import PROFILE, Home

LATEST = "latest"
_PAGE = "profile.html"


def keep_profile(profile: Profile, home: Home) -> Path:
    """Writes the document, whole or not at all, and returns its path. Raises StoreError."""
    path = home.profile_folder(profile.profile_id) / PROFILE
    try:
        write_atomic(path, json.dumps(profile.document(), indent=1).encode())
    except OSError as error:
        raise StoreError(
            f"the profile cannot be written to {path} ({error.strerror}, error {error.errno}): free space or make the "
            "folder writable, then repeat the command."
        ) from error
    return path


def read_profile(name: str, home: Home) -> Profile:
    """Returns a profile by its id, or the latest one. Raises UserError if there is none, or none that can be read."""
    known = home.profile_ids()
    if not known:
        raise UserError("There is no profile yet: make one with `suite profile --device NAME`.")
    chosen = known[-1] if name == LATEST else name
    if chosen not in known:
        raise unknown_name("profile", name, [*known, LATEST])
    path = home.profile_folder(chosen) / PROFILE
    try:
        return Profile.from_document(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"The profile {path} can't be read ({type(error).__name__}: {error}): it is damaged or of another version "
            "of the suite; make another, or show one of the others."
        ) from error


def write_profile_page(profile: Profile, home: Home) -> Path:
    """Writes the page of a profile as one file, with all that it needs. Raises SiteNotWritable."""
    target = home.profile_folder(profile.profile_id) / _PAGE
    with tempfile.TemporaryDirectory() as folder:
        Site(Path(folder)).write_page(_PAGE, profile_page(profile))
        return write_single_file(Path(folder) / _PAGE, target)
