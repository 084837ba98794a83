"""Profiles on disk: `profiles/<id>/profile.json` in the home, beside it the page and the raw output of the sessions."""

from __future__ import annotations

from pathlib import Path

from reports.model.profile import Profile
from reports.pages.profile import profile_page
from reports.site.writing import write_page_alone
from suite.home import PROFILE, Home
from suite.kept import choose_id, keep_document, read_document

_PAGE = "profile.html"


def keep_profile(profile: Profile, home: Home) -> Path:
    """Writes the document, whole or not at all, and returns its path. Raises StoreError."""
    path = home.profile_folder(profile.profile_id) / PROFILE
    keep_document(path, profile.document(), "the profile")
    return path


def read_profile(name: str, home: Home) -> Profile:
    """Returns a profile by its id, or the latest one. Raises UserError if there is none, or none that can be read."""
    nothing = "There is no profile yet: make one with `suite profile --device NAME`."
    chosen = choose_id(name, home.profile_ids(), "profile", nothing)
    path = home.profile_folder(chosen) / PROFILE
    return read_document(path, Profile.from_document, "The profile", "make another, or show one of the others")


def write_profile_page(profile: Profile, home: Home) -> Path:
    """Writes the page of a profile as one file, with all that it needs. Raises SiteNotWritable."""
    return write_page_alone(profile_page(profile), home.profile_folder(profile.profile_id) / _PAGE)
