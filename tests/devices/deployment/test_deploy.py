"""Deploying by content: nothing twice, nothing half."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devices.deployment.deploy import MANIFEST, DeployFile, deploy, timeout_for
from devices.errors import DeployError, FileCause, FileError
from devices.transports.local.transport import LocalTransport
from devices.transports.transport import OnBytes
from tests.support.devices.made_files import MakeFile


class Watched(LocalTransport):
    """The local transport, counting what costs time; single steps can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[str] = []
        self.offsets: list[int] = []
        self.hashed: list[str] = []
        self.cut_at: int | None = None
        self.push_to: str | None = None
        self.free: int | None = None

    def push(
        self,
        source: Path,
        destination: str,
        *,
        timeout_s: float,
        on_progress: OnBytes | None = None,
        executable: bool = False,
        offset_bytes: int = 0,
    ) -> None:
        self.pushed.append(source.name)
        self.offsets.append(offset_bytes)
        target = self.push_to or destination
        super().push(
            source,
            target,
            timeout_s=timeout_s,
            on_progress=on_progress,
            executable=executable,
            offset_bytes=offset_bytes,
        )
        if self.cut_at is not None:
            os.truncate(destination, self.cut_at)

    def sha256(self, path: str, *, timeout_s: float) -> str:
        self.hashed.append(Path(path).name)
        return super().sha256(path, timeout_s=timeout_s)

    def free_bytes(self, path: str, *, timeout_s: float = 30.0) -> int:
        return super().free_bytes(path, timeout_s=timeout_s) if self.free is None else self.free


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The device's folder, with a name that needs quotes wherever quoting is done."""
    return tmp_path / 'device\'s "folder"\nhere' / "artifacts" / "h"


def test_first_deploy_pushes_all_and_the_second_nothing(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    files = [make_file("program.pte"), make_file("lib/libx.so", b"library", executable=True)]
    first = deploy(watched, files, str(folder))
    assert (first.pushed, first.reused) == (("program.pte", "lib/libx.so"), ())
    assert first.pushed_bytes == sum(file.size_bytes for file in files)
    assert (folder / "lib" / "libx.so").read_bytes() == b"library"
    assert os.access(folder / "lib" / "libx.so", os.X_OK)
    watched.pushed.clear()
    watched.hashed.clear()
    second = deploy(watched, files, str(folder))
    assert (second.pushed, second.reused, second.pushed_bytes) == ((), ("program.pte", "lib/libx.so"), 0)
    assert (watched.pushed, watched.hashed) == ([], [])


@pytest.mark.parametrize("damage", ["truncate", "overwrite", "replace", "remove", "folder"])
def test_a_file_changed_on_the_device_is_pushed_again(
    watched: Watched, make_file: MakeFile, folder: Path, damage: str
) -> None:
    file = make_file(data=b"a" * 1000)
    deploy(watched, [file], str(folder))
    target = folder / file.name
    if damage == "truncate":
        os.truncate(target, 999)
    elif damage == "overwrite":  # size and modification time look untouched
        times = target.stat()
        target.write_bytes(b"b" * 1000)
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif damage == "replace":
        other = folder / "other"
        other.write_bytes(b"c" * 1000)
        other.replace(target)
    else:
        target.unlink()
    if damage == "folder":
        target.mkdir()
        with pytest.raises(DeployError, match="something of another type has that name"):
            deploy(watched, [file], str(folder))
        target.rmdir()
    assert deploy(watched, [file], str(folder)).pushed == (file.name,)
    assert target.read_bytes() == b"a" * 1000


def test_a_touched_file_is_hashed_once_and_kept(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    deploy(watched, [file], str(folder))
    os.utime(folder / file.name)
    watched.hashed.clear()
    assert deploy(watched, [file], str(folder)).reused == (file.name,)
    assert watched.hashed == [file.name]
    assert deploy(watched, [file], str(folder)).reused == (file.name,)
    assert watched.hashed == [file.name]


def test_rehash_looks_at_the_content_itself(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    deploy(watched, [file], str(folder))
    watched.hashed.clear()
    deploy(watched, [file], str(folder), rehash=True)
    assert watched.hashed == [file.name]


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b'{"schema": 99}', b'{"schema": 1, "files": 3}', b'{"schema":1,"files":{"a":3}}', b"\xff"],
)
def test_a_damaged_manifest_only_costs_a_hash(
    watched: Watched, make_file: MakeFile, folder: Path, manifest: bytes
) -> None:
    file = make_file()
    deploy(watched, [file], str(folder))
    (folder / MANIFEST).write_bytes(manifest)
    watched.pushed.clear()
    assert deploy(watched, [file], str(folder)).reused == (file.name,)
    assert watched.pushed == []


def test_a_manifest_that_claims_another_hash_is_not_believed(
    watched: Watched, make_file: MakeFile, folder: Path
) -> None:
    """The folder's name is a content hash, but a new content of the same size must not pass for the old one."""
    deploy(watched, [make_file(data=b"old" * 100)], str(folder))
    file = make_file(data=b"new" * 100)
    assert deploy(watched, [file], str(folder)).pushed == (file.name,)
    assert (folder / file.name).read_bytes() == b"new" * 100


def test_a_truncated_copy_is_refused_and_removed(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file(data=b"x" * 1000)
    watched.cut_at = 400
    with pytest.raises(DeployError, match="arrived with 400 of 1000 bytes"):
        deploy(watched, [file], str(folder))
    assert not any(path.is_file() for path in folder.rglob("*"))
    watched.cut_at = None
    assert deploy(watched, [file], str(folder)).pushed == (file.name,)


def test_a_damaged_source_is_refused_with_what_to_remove(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file(data=b"x" * 1000)
    file.source.write_bytes(b"y" * 1000)
    with pytest.raises(DeployError, match=r"different content .* remove '.*host' on the host"):
        deploy(watched, [file], str(folder))
    assert not (folder / file.name).exists()


def test_a_missing_source_is_named(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    file.source.unlink()
    with pytest.raises(DeployError, match=r"read the host's file .*program\.pte' because it doesn't exist"):
        deploy(watched, [file], str(folder))


def test_space_is_checked_before_the_first_byte(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    watched.free = 17_000_000
    with pytest.raises(DeployError, match=r"needs 1 MB and 17 MB to spare, but the device has 17 MB free; free space"):
        deploy(watched, [make_file(data=b"x" * 1_000_000)], str(folder))
    assert watched.pushed == []


def test_no_space_is_needed_for_what_is_there(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    deploy(watched, [file], str(folder))
    watched.free = 0
    assert deploy(watched, [file], str(folder)).reused == (file.name,)


def test_a_disk_that_fills_up_meanwhile_keeps_what_was_whole(
    watched: Watched, make_file: MakeFile, folder: Path
) -> None:
    files = [make_file("first"), make_file("second", b"other")]
    deploy(watched, files[:1], str(folder))
    watched.push_to = "/dev/full"
    with pytest.raises(DeployError, match=r"the disk is full \(ENOSPC\); free space there or set another `workdir`"):
        deploy(watched, files, str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "first"]
    watched.push_to = None
    assert deploy(watched, files, str(folder)).pushed == ("second",)


def test_a_file_in_place_of_the_folder_is_named(watched: Watched, make_file: MakeFile, tmp_path: Path) -> None:
    (tmp_path / "workdir").touch()
    with pytest.raises(DeployError, match=r"something of another type has that name .* move it away"):
        deploy(watched, [make_file()], str(tmp_path / "workdir" / "artifacts"))


def test_a_folder_that_cannot_be_written_is_named(watched: Watched, make_file: MakeFile) -> None:
    with pytest.raises(DeployError, match=r"/sys/.* because (permission is denied|the file system is read-only)"):
        deploy(watched, [make_file()], "/sys/edge-training-suite")


def test_a_read_only_file_system_is_named_with_its_remedy(make_file: MakeFile, folder: Path) -> None:
    class ReadOnly(LocalTransport):
        def mkdir(self, path: str, *, timeout_s: float = 30.0) -> None:
            raise FileError.from_os_error("make the folder", path, OSError(errno.EROFS, "read-only"))

    with pytest.raises(DeployError, match=r"read-only \(EROFS\); remount it writable") as caught:
        deploy(ReadOnly(), [make_file()], str(folder))
    assert isinstance(caught.value.__cause__, FileError)
    assert caught.value.__cause__.cause is FileCause.READ_ONLY


def test_temporaries_of_an_interrupted_deploy_are_removed(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "program.pte.part-0123abcd").write_bytes(b"half")
    (folder / "program.part-of-something").write_bytes(b"not ours")
    deploy(watched, [make_file()], str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "program.part-of-something", "program.pte"]


INTERRUPTED = """
import os, sys
from pathlib import Path
from devices.deployment.deploy import DeployFile, deploy
from devices.transports.local.transport import LocalTransport
class Dies(LocalTransport):
    def rename(self, source, destination, *, timeout_s=30):
        os.kill(os.getpid(), 9)
source, name, digest, size, folder = sys.argv[1:]
deploy(Dies(), [DeployFile(Path(source), name, digest, int(size))], folder)
"""


def test_kill_9_before_the_rename_leaves_no_false_file(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    arguments = [str(file.source), file.name, file.sha256, str(file.size_bytes), str(folder)]
    assert subprocess.run([sys.executable, "-c", INTERRUPTED, *arguments], check=False).returncode == -9
    assert [path.name for path in folder.iterdir()] == [f"{file.name}.part-{file.sha256[:8]}"]
    assert deploy(watched, [file], str(folder)).pushed == (file.name,)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, file.name]


@pytest.mark.parametrize(("damaged", "offset"), [(False, 5 << 20), (True, 0)])
def test_a_large_file_is_continued_where_it_broke_off_if_its_beginning_is_right(
    watched: Watched, make_file: MakeFile, folder: Path, damaged: bool, offset: int
) -> None:
    content = os.urandom(7 << 20)
    file = make_file(data=content)
    folder.mkdir(parents=True)
    beginning = (b"x" if damaged else content[:1]) + content[1 : (5 << 20) + 77]
    (folder / f"{file.name}.part-{file.sha256[:8]}").write_bytes(beginning)
    deploy(watched, [file], str(folder))
    assert watched.offsets == [offset]
    assert (folder / file.name).read_bytes() == content
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, file.name]


def test_progress_runs_over_all_files_to_the_total(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    files = [make_file("a", b"x" * 5_000_000), make_file("b", b"y" * 300)]
    progress: list[tuple[str, int, int]] = []
    deploy(watched, files, str(folder), on_progress=lambda *step: progress.append(step))
    assert [done for _, done, _ in progress] == sorted(done for _, done, _ in progress)
    assert {total for _, _, total in progress} == {5_000_300}
    assert progress[-1] == ("b", 5_000_300, 5_000_300)


def test_the_manifest_records_what_was_verified(watched: Watched, make_file: MakeFile, folder: Path) -> None:
    file = make_file()
    deploy(watched, [file], str(folder))
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["files"][file.name]["sha256"] == file.sha256


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "a//b", ".", "a\0b"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a relative path"):
        DeployFile(Path("x"), name, "0" * 64, 1)


def test_time_allowed_grows_with_the_size() -> None:
    assert timeout_for(0) > 0
    assert timeout_for(540_000_000) > timeout_for(1_000_000)
