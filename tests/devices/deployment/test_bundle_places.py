"""A bundle starts in any folder, even one with `:` or `;`, which the loader's list of folders can't contain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import deploy
from devices.transports.local.transport import LocalTransport
from tests.support.twins.twin_needs import find_program, need_aarch64_programs, need_root

pytestmark = pytest.mark.twins


@pytest.mark.parametrize("folder", ["/a:b", "/a;b", "/two\nlines:", "/$LIB", '/it\'s "here"'])
def test_a_bundle_finds_its_own_libraries_in_any_folder(
    aarch64_runner: BuiltRunner, tmp_path: Path, folder: str
) -> None:
    """In a root without any other library, so that none of them can come from elsewhere."""
    need_root()
    need_aarch64_programs()
    deploy(LocalTransport(), aarch64_runner.files, f"{tmp_path}{folder}")
    command = [str(find_program("chroot")), str(tmp_path), *aarch64_runner.command(folder), "--clock"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={})
    assert (ended.returncode, ended.stdout.strip().isdecimal()) == (0, True), ended.stderr
