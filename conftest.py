"""What all tests share: the twins, devices that need no hardware (docs/twins.md)."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Threads of torch that wait for each other spin, and on cores that others use too they wait long: half a second of
# computing on a tiny model becomes ten. Workers have a core each at best. What tests start inherits this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that: Ctrl-C is tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _machine_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets workers measure on this machine side by side: the folder for temporary files is what is locked.

    What tests start inherits it, under whatever user.
    """
    tmp_path_factory.getbasetemp()  # stays where it is kept: what a failed test left is for looking at
    with tempfile.TemporaryDirectory(prefix="suite-tests-") as folder, pytest.MonkeyPatch.context() as patched:
        Path(folder).chmod(0o1777)
        patched.setenv("TMPDIR", folder)
        patched.setattr(tempfile, "tempdir", folder)
        yield


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out, unread, a file all of whose tests bear a mark that `-m` rules out.

    Each worker would import what the file needs (executorch, transformers, selenium), which takes longer than to run
    many others.
    """
    chosen = str(config.option.markexpr)
    if not re.fullmatch(r"not \w+( and not \w+)*", chosen):
        return None
    ruled_out = set(re.findall(r"not (\w+)", chosen))
    if collection_path.is_dir():
        return True if collection_path.name in ruled_out & {"end_to_end"} else None
    marks = re.search(r"^pytestmark = (\[$.*?^\]|.*?$)", collection_path.read_text(), re.MULTILINE | re.DOTALL)
    return True if marks and ruled_out & set(re.findall(r"pytest\.mark\.(\w+)", marks[1])) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts whole runs on twins, which take minutes and mostly wait, at the beginning of the workers' shares.

    A worker begins with an equal, contiguous share, and what others take of it later they take from its end.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long: dict[Path, list[pytest.Item]] = {}
    short = []
    for item in items:
        if item.get_closest_marker("twins") and item.get_closest_marker("end_to_end"):
            long.setdefault(item.path, []).append(item)  # a file's tests share their twins
        else:
            short.append(item)
    shares = [[item for of_file in list(long.values())[first::workers] for item in of_file] for first in range(workers)]
    size = len(items) // workers
    taken = 0
    for share in shares:
        room = max(0, size - len(share))
        share += short[taken : taken + room]
        taken += room
    items[:] = [*(item for share in shares for item in share), *short[taken:]]


pytest_plugins = ["tests.support.twins.twin_fixtures"]
