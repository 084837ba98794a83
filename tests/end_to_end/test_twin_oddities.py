"""Devices that are full or flood, whose clock jumps or whose paths need quotes: real OpenSSH and adbd."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from devices.deployment.built_runner import BuiltRunner
from devices.transports import transport
from devices.transports.shell import transport as shell_transport
from tests.support.end_to_end.suite_runs import SHAPE, Bench
from tests.support.end_to_end.twin_runs import OTHER, TwinRun, be_impatient, outcome, runners_in, scripted_runner
from tests.support.twins.twin_adb import SHELL_ID
from tests.support.twins.twin_devices import LINKS, Twin, make_twin, place_of
from tests.support.twins.twin_root import USER_ID
from tests.support.twins.twin_ssh import SshTwin
from tests.support.twins.twin_system import SystemTwin
from tests.support.twins.twin_system_phone import SystemPhone

pytestmark = pytest.mark.twins

UNDISTURBED = [(0, 0, "ok"), (1, 0, "ok")]
AWKWARD = 'it\'s "the" suite\n; $(touch stray) `touch stray` *\\'


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_impatient(monkeypatch)


@pytest.fixture(params=LINKS)
def twin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    with make_twin(request.param, tmp_path / "twin", emulated=False) as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


def entry(twin: Twin, *, workdir: str = "", **more: Any) -> dict[str, Any]:
    """Of kind `linux`: without a power sensor there is no idle power to wait for."""
    transport = "ssh" if isinstance(twin, SshTwin) else "adb"
    return twin.entry(kind="linux", transport=transport, threads=1, workdir=workdir or suite_folder(twin), **more)


def suite_folder(twin: Twin) -> str:
    return place_of(twin, twin.workdir / "edge-training-suite")


def small_disk(twin: Twin, size: str) -> None:
    """Puts a disk of its own under the twin's workdir."""
    folder, user = suite_folder(twin), USER_ID if isinstance(twin, SshTwin) else SHELL_ID
    (twin.root / folder.lstrip("/")).mkdir()
    options = f"size={size},uid={user},gid={user},mode=755"
    mounted = twin.machine.run("/usr/bin/busybox", "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)
    assert mounted.returncode == 0, mounted.stderr


def inside(twin: Twin, path: str) -> Path:
    """Returns a file as the twin itself sees it, with what is mounted there."""
    process = next(iter(twin.machine.processes()))
    return Path(f"/proc/{process}/root") / path.lstrip("/")


def test_a_disk_that_is_too_small_is_reported_with_the_space_it_has(bench: Bench, twin: Twin) -> None:
    small_disk(twin, "12m")
    run = TwinRun(bench, **entry(twin, runner=str(scripted_runner(bench, twin))))
    ran = run()
    found = outcome(ran)
    assert (ran.code, found["status"]) == (4, "failed")
    assert "MB free" in found["reason"] or "MiB" in found["reason"]
    assert "workdir" in found["reason"]
    assert run.sessions() == []
    assert run.sessions(OTHER) == UNDISTURBED


def test_a_disk_that_fills_up_in_mid_run_keeps_the_sessions_before(bench: Bench, twin: Twin) -> None:
    small_disk(twin, "64m")
    run = TwinRun(bench, **entry(twin, runner=str(scripted_runner(bench, twin))))

    ballast, over = inside(twin, f"{suite_folder(twin)}/ballast"), threading.Event()

    def fill_and_keep_full() -> None:
        with ballast.open("ab", buffering=0) as stream:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    stream.write(bytes(4096))

    with run.fault(fill_and_keep_full, ordinal=0):
        try:
            ran = run()
        finally:
            over.set()
    found = outcome(ran)
    assert (ran.code, found["status"]) == (4, "partial")
    assert run.sessions()[0] == (0, 0, "ok")
    assert "disk is full" in found["reason"] and "free space there" in found["reason"]
    assert run.sessions(OTHER) == UNDISTURBED
    assert not runners_in(twin)


def test_a_runner_that_floods_is_ended_and_its_session_does_not_count(
    bench: Bench, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_transport.ShellTransport.stream, "__kwdefaults__", _small_limit(1 << 20))
    flood = 'if [ "$ordinal" = 1 ]; then yes flooded-with-words; fi\n'
    run = TwinRun(bench, **entry(twin, runner=str(scripted_runner(bench, twin, during=flood))))
    ran = run()
    found = outcome(ran)
    assert (ran.code, found["status"]) == (4, "partial")
    assert [item[::2] for item in run.sessions()] == [(0, "ok"), (1, "interrupted")]
    assert len(found["latency_ms"]["sessions"]) == 1
    assert run.sessions(OTHER) == UNDISTURBED
    assert not runners_in(twin, "flooded-with-words")
    assert not runners_in(twin)


def test_a_workdir_with_quotes_blanks_and_newlines_works_like_any_other(
    bench: Bench, twin: Twin, host_bundle: BuiltRunner
) -> None:
    workdir = twin.workdir / AWKWARD
    run = TwinRun(bench, **entry(twin, workdir=place_of(twin, workdir)))
    ran = run(sessions=1, steps=3)
    assert ran.code == 0, ran.err
    assert outcome(ran)["status"] == "ok"
    assert (workdir / "runner" / host_bundle.hash / "runner").is_file()
    assert list((workdir / "jobs").iterdir()) == []
    assert not list(twin.root.rglob("stray"))
    assert not runners_in(twin)


@pytest.mark.parametrize("name", ["a b", "it's", 'say "hi"', "two\nlines", "$(touch stray)", "../up"])
def test_an_invalid_device_name_is_refused_in_one_sentence(bench: Bench, name: str) -> None:
    YAML().dump({"devices": {name: {"kind": "local"}}}, bench.folder / "inventory.yaml")
    ran = bench("run", "--device", "all", *SHAPE, "--quick")
    assert ran.code == 2
    assert "a name is 1 to 64 letters" in ran.sentence
    assert not list(bench.folder.rglob("stray"))


@pytest.mark.full
@pytest.mark.parametrize("computer", [SystemTwin, SystemPhone], ids=LINKS)
def test_a_clock_that_jumps_on_the_device_changes_nothing(
    bench: Bench,
    aarch64_runner: BuiltRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computer: type[SystemTwin],
) -> None:
    twin = computer(tmp_path / "twin")
    init = twin.root / "twin-init"
    jumping = "[ -e /jump ] && [ ! -e /jumped ] && date -s '2031-05-05 05:05' && date +%s >/jumped"
    watching = f"while :; do {jumping}; sleep 1; done"
    init.write_text(init.read_text().replace("while :; do sleep 86400", f"({watching}) &\nwhile :; do sleep 86400"))
    for name, value in twin.environ.items():
        monkeypatch.setenv(name, value)

    def jump() -> None:
        (twin.root / "jump").touch()

    with twin:
        run = TwinRun(bench, **twin.entry(kind="linux", threads=1, connect_timeout_s=60))
        with run.fault(jump, ordinal=0):
            ran = run(sessions=1, steps=12)
        assert int((twin.root / "jumped").read_text()) > 1_900_000_000  # it was in 2031
    assert ran.code == 0, ran.err
    assert run.sessions() == [(0, 0, "ok")]
    (log,) = bench.home.glob("runs/*/*board-*.jsonl")
    steps = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"event":"step"')]
    longest_s = max((step["t1_ns"] - step["t0_ns"]) / 1e9 for step in steps)
    assert 0 < longest_s < 600  # years, if the wall clock had counted


def _small_limit(size_bytes: int) -> dict[str, Any]:
    defaults = dict(shell_transport.ShellTransport.stream.__kwdefaults__ or {})
    assert defaults["output_limit_bytes"] == transport.STREAM_OUTPUT_LIMIT_BYTES
    return defaults | {"output_limit_bytes": size_bytes}
