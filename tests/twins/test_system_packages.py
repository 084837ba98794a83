"""`.ci/system-packages` beside another package manager: real apt-get, on folders of its own."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.twins.twin_needs import need_programs

SCRIPT = Path(__file__).parents[2] / ".ci" / "system-packages"
LOCKS = ("lists/lock", "dpkg/lock-frontend", "cache/archives/lock")
INSTALLED = (
    "Package: present-tool\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: a <a@b.c>\n"
    "Architecture: all\nVersion: 1.0\nDescription: what the test asks for\n"
)
SETTINGS = """\
Dir::State "{root}/";
Dir::State::status "{root}/dpkg/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "/dev/null";
"""


@pytest.fixture
def apt(tmp_path):
    """Folders of apt with one package, which is installed."""
    need_programs("apt-get")
    for name in ("lists/partial", "cache/archives/partial", "dpkg"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dpkg/status").write_text(INSTALLED)
    (tmp_path / "apt.conf").write_text(SETTINGS.format(root=tmp_path))
    return tmp_path


def install(apt, package, wait_s=300):
    return subprocess.Popen(
        [SCRIPT, package],
        env={**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "PACKAGE_LOCK_WAIT_S": str(wait_s)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_another_package_managers_lock_is_waited_for_and_named(apt, lock):
    with (apt / lock).open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        script = install(apt, "present-tool")
        output = script.stderr.readline()
        assert script.poll() is None
    assert output.startswith("Waiting up to 300 s for another package manager: ")
    assert lock in output
    assert f"process {os.getpid()}" in output
    out, _ = script.communicate(timeout=120)
    assert script.returncode == 0
    assert "present-tool is already the newest version" in out


def test_a_lock_that_is_never_given_back_is_an_error_that_names_it(apt):
    with (apt / LOCKS[0]).open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        script = install(apt, "present-tool", wait_s=1)
        _, output = script.communicate(timeout=120)
    assert script.returncode == 1
    assert output.splitlines()[-1] == "Another package manager still has its lock after 1 s: try again once it is done"
    assert LOCKS[0] in output


def test_an_error_without_a_lock_is_reported_at_once(apt):
    script = install(apt, "absent-tool")
    _, output = script.communicate(timeout=120)
    assert script.returncode == 1
    assert "Unable to locate package absent-tool" in output
    assert "Waiting" not in output
