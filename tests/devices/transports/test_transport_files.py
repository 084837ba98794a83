"""Files through every transport: whole or refused, with the cause named."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from devices.errors import DamagedFile, FileCause, FileError
from devices.transports.transport import RESUME_BLOCK_BYTES, Transport
from tests.support.devices.transport_kinds import MakeTransport

AWKWARD_NAMES = ["two words", "it's", 'say "hi"', "a\nb", "-rf", "*", "日本", "back\\slash"]


@pytest.fixture
def transport(make_transport: MakeTransport) -> Transport:
    """One of each kind."""
    return make_transport(0.5)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_files_with_awkward_names_are_copied_whole_in_both_directions(
    transport: Transport, tmp_path: Path, name: str
) -> None:
    source, device, back = tmp_path / name, tmp_path / "device" / name, tmp_path / "back"
    source.write_bytes(b"content")
    transport.mkdir(str(device))
    target = str(device / name)
    transport.push(source, target, timeout_s=20)
    transport.pull(target, back, timeout_s=20)
    assert back.read_bytes() == b"content"
    assert transport.list_dir(str(device)) == (name,)
    transport.remove(str(device), recursive=True)
    assert not transport.exists(str(device))


def test_progress_rises_to_the_size(transport: Transport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(9_000_000))
    progress: list[tuple[int, int]] = []
    transport.push(source, str(tmp_path / "copy"), timeout_s=20, on_progress=lambda *numbers: progress.append(numbers))
    assert len(progress) > 1
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})
    assert progress[-1] == (9_000_000, 9_000_000)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_a_pushed_file_is_independent_of_its_source(transport: Transport, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"content")
    transport.push(source, str(copy), timeout_s=20)
    copy.write_bytes(b"")
    assert source.read_bytes() == b"content"


def test_a_push_continues_after_what_is_there(transport: Transport, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(3 * RESUME_BLOCK_BYTES + 5))
    copy.write_bytes(b"x" * RESUME_BLOCK_BYTES + b"y" * 6 * RESUME_BLOCK_BYTES)
    progress: list[tuple[int, int]] = []
    transport.push(
        source,
        str(copy),
        timeout_s=20,
        on_progress=lambda *numbers: progress.append(numbers),
        offset_bytes=RESUME_BLOCK_BYTES,
    )
    assert copy.read_bytes() == b"x" * RESUME_BLOCK_BYTES + source.read_bytes()[RESUME_BLOCK_BYTES:]
    assert progress[-1] == (source.stat().st_size, source.stat().st_size)
    with pytest.raises(ValueError, match="multiple"):
        transport.push(source, str(copy), timeout_s=20, offset_bytes=1)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_file_with_the_right_hash_takes_its_place_whole(transport: Transport, tmp_path: Path, name: str) -> None:
    source, device = tmp_path / "source", tmp_path / name
    source.write_bytes(os.urandom(2 * RESUME_BLOCK_BYTES + 5))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    device.mkdir()
    target, part = device / name, device / f"{name}.part"
    target.write_bytes(b"old")
    part.write_bytes(source.read_bytes()[:RESUME_BLOCK_BYTES])
    stat = transport.place(
        source,
        str(target),
        part=str(part),
        sha256=sha256,
        timeout_s=20,
        executable=True,
        offset_bytes=RESUME_BLOCK_BYTES,
    )
    assert [(path, path.read_bytes()) for path in device.iterdir()] == [(target, source.read_bytes())]
    assert stat == transport.stat(str(target))
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_file_with_another_hash_never_takes_the_place(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DamagedFile) as caught:
        transport.place(
            tmp_path / "source",
            str(tmp_path / "file"),
            part=str(tmp_path / "part"),
            sha256=hashlib.sha256(b"another").hexdigest(),
            timeout_s=20,
        )
    assert caught.value.size_bytes == 3
    assert ((tmp_path / "file").read_bytes(), (tmp_path / "part").read_bytes()) == (b"old", b"new")


def test_a_folder_in_the_place_of_a_file_is_named(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError) as caught:
        transport.place(
            tmp_path / "source",
            str(tmp_path / "folder"),
            part=str(tmp_path / "part"),
            sha256=hashlib.sha256(b"new").hexdigest(),
            timeout_s=20,
        )
    assert caught.value.cause is FileCause.OBSTRUCTED
    assert list((tmp_path / "folder").iterdir()) == []


def test_binary_garbage_is_copied_unchanged_in_both_directions(transport: Transport, tmp_path: Path) -> None:
    garbage = bytes(range(256)) * 300 + b"\x1e\x00\r\n\x1b[2J"
    transport.write(str(tmp_path / "garbage"), garbage)
    assert transport.read_bytes(str(tmp_path / "garbage")) == garbage
    assert transport.read_texts([str(tmp_path / "garbage")]) == {
        str(tmp_path / "garbage"): garbage.decode("utf-8", "replace")
    }


def test_an_empty_file_and_one_of_a_pseudo_file_system_are_copied(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    transport.push(tmp_path / "empty", str(tmp_path / "copy"), timeout_s=20)
    assert (tmp_path / "copy").read_bytes() == b""
    transport.pull("/proc/version", tmp_path / "version", timeout_s=20)
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


@pytest.mark.parametrize(("executable", "mode"), [(True, 0o755), (False, 0o644)])
def test_mode_of_a_pushed_file(transport: Transport, tmp_path: Path, executable: bool, mode: int) -> None:
    (tmp_path / "source").write_bytes(b"x")
    transport.push(tmp_path / "source", str(tmp_path / "copy"), timeout_s=20, executable=executable)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == mode


def test_a_full_disk_is_named_when_pushing(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    with pytest.raises(FileError, match=r"the disk is full \(ENOSPC\); free space there") as caught:
        transport.push(tmp_path / "source", "/dev/full", timeout_s=20)
    assert caught.value.cause is FileCause.FULL


def test_a_missing_source_is_reported_as_the_hosts_and_not_the_devices(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="host's file") as caught:
        transport.push(tmp_path / "none", str(tmp_path / "copy"), timeout_s=20)
    assert caught.value.cause is FileCause.MISSING
    assert not (tmp_path / "copy").exists()


def test_a_failed_pull_leaves_the_old_file_alone(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(FileError):
        transport.pull(str(tmp_path / "none"), tmp_path / "old", timeout_s=20)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_file_over_the_limit_is_refused_rather_than_cut(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    assert transport.read_bytes(str(path), limit_bytes=11) == b"x" * 11
    with pytest.raises(FileError) as caught:
        transport.read_bytes(str(path), limit_bytes=10)
    assert caught.value.cause is FileCause.TOO_LARGE


def test_a_pipe_in_place_of_a_file_does_not_block(transport: Transport, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (transport.read_bytes, lambda path: transport.sha256(path, timeout_s=20)):
        with pytest.raises(FileError) as caught:
            read(str(tmp_path / "pipe"))
        assert caught.value.cause is FileCause.OBSTRUCTED


def test_pseudo_files_are_read_though_their_size_is_zero(transport: Transport) -> None:
    assert "VmRSS:" in transport.read_text("/proc/self/status")


def test_many_files_are_read_with_the_error_of_each_that_cannot_be(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"5\xff")
    good, missing, folder = str(tmp_path / "good"), str(tmp_path / "missing"), str(tmp_path)
    texts = transport.read_texts([good, missing, folder])
    assert texts[good] == "5\ufffd"
    errors = [texts[missing], texts[folder]]
    assert [error.cause for error in errors if isinstance(error, FileError)] == [
        FileCause.MISSING,
        FileCause.OBSTRUCTED,
    ]


def test_writing_replaces_the_whole_file_and_leaves_no_temporary(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"a long first content", b"short"):
        transport.write(str(path), data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_writing_over_a_folder_is_refused_without_leftovers(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError) as caught:
        transport.write(str(tmp_path / "folder"), b"x")
    assert caught.value.cause is FileCause.OBSTRUCTED
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_stamp_reveals_a_change_that_keeps_size_and_time(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    before, times = transport.stat(str(path)), path.stat()
    assert transport.stat(str(path)) == before
    path.write_bytes(b"after!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = transport.stat(str(path))
    assert after.size_bytes == before.size_bytes
    assert after.stamp != before.stamp


def test_hash_is_that_of_the_content(transport: Transport, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "file").write_bytes(data)
    assert transport.sha256(str(tmp_path / "file"), timeout_s=20) == hashlib.sha256(data).hexdigest()
    assert transport.size(str(tmp_path / "file")) == len(data)


def test_removing_a_link_leaves_what_it_points_to(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    transport.remove(str(tmp_path / "link"), recursive=True)
    assert (tmp_path / "kept" / "file").exists()
    assert not transport.exists(str(tmp_path / "link"))


def test_removing_a_missing_file_is_no_error(transport: Transport, tmp_path: Path) -> None:
    transport.remove(str(tmp_path / "none"))
    transport.remove(str(tmp_path / "none"), recursive=True)


def test_renaming_replaces_an_existing_file(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    transport.rename(str(tmp_path / "new"), str(tmp_path / "old"))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old", b"new")]


def test_a_file_in_place_of_a_folder_is_named(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match="something of another type has that name") as caught:
            transport.mkdir(str(path))
        assert caught.value.cause is FileCause.OBSTRUCTED


def test_a_folder_of_the_kernel_refuses_to_be_written(transport: Transport) -> None:
    with pytest.raises(FileError) as caught:
        transport.mkdir("/sys/edge-training-suite")
    assert caught.value.cause in (FileCause.DENIED, FileCause.READ_ONLY)


def test_free_space_is_that_of_the_file_system(transport: Transport, tmp_path: Path) -> None:
    assert transport.free_bytes(str(tmp_path)) > 0
    with pytest.raises(FileError):
        transport.free_bytes(str(tmp_path / "none"))


def test_a_null_character_in_a_path_is_a_file_error(transport: Transport) -> None:
    with pytest.raises(FileError, match="null"):
        transport.read_text("a\0b")


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_many_folders_are_listed_in_one_round_trip(transport: Transport, tmp_path: Path, name: str) -> None:
    """A link to a folder is followed, as /sys is full of them; what is no folder, or is empty, is left out."""
    folders = [tmp_path / name, tmp_path / "linked", tmp_path / "empty", tmp_path / "none", tmp_path / "file"]
    folders[0].mkdir()
    (folders[0] / name).touch()
    (folders[0] / "another").touch()
    folders[1].symlink_to(folders[0])
    folders[2].mkdir()
    folders[4].touch()
    names = tuple(sorted([name, "another"]))
    assert transport.list_dirs([str(folder) for folder in folders]) == {str(folder): names for folder in folders[:2]}
    assert transport.list_dirs([]) == {}


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_many_paths_are_looked_for_in_one_round_trip(transport: Transport, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    there = {str(tmp_path), str(tmp_path / name), str(tmp_path / "dangling")}
    assert transport.existing([*sorted(there), str(tmp_path / "none")]) == there
    assert transport.existing([]) == frozenset()


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_many_files_are_looked_at_in_one_round_trip(transport: Transport, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "other").touch()
    there = [str(tmp_path / name), str(tmp_path / "other")]
    found = transport.stats([there[0], str(tmp_path / "none"), there[1]])
    assert found == {path: transport.stat(path) for path in there}
    assert [stat.size_bytes for stat in found.values()] == [5, 0]
    assert transport.stats([]) == {}
