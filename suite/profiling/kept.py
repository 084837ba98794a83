"""Profiles on disk: `profiles/<id>/profile.json` in the home, with the page and the sessions' raw output beside it."""

from __future__ import annotations

from pathlib import Path

from reports.model.profile import Profile
from reports.pages.profile import profile_page
from reports.site.writing import write_page_alone
from suite.home import PROFILE, Home
from suite.kept import choose_id, keep_document, read_document

_PAGE = "profile.html"


def keep_profile(profile: Profile, home: Home) -> Path:
    """Writes the document atomically and returns its path. Raises StoreError."""
    path = home.profile_folder(profile.profile_id) / PROFILE
    keep_document(path, profile.document(), "the profile")
    return path


def read_profile(name: str, home: Home) -> Profile:
    """Returns a profile by its id, or the latest one. Raises UserError if it is missing or can't be read."""
    nothing = "There is no profile yet: make one with `suite profile --device NAME`."
    chosen = choose_id(name, home.profile_ids(), "profile", nothing)
    path = home.profile_folder(chosen) / PROFILE
    return read_document(path, Profile.from_document, "The profile", "make another one, or show a different one")


def write_profile_page(profile: Profile, home: Home) -> Path:
    """Writes the page of a profile as one self-contained file. Raises SiteNotWritable."""
    return write_page_alone(profile_page(profile), home.profile_folder(profile.profile_id) / _PAGE)
