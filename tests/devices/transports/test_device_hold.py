"""A device is held on the device itself: two homes, hosts or users never have it at once, whatever its shell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devices.errors import DeviceBusy, DeviceError, DeviceLost, FileCause, FileError
from devices.transports.hold import Claim, Holder
from devices.transports.local.transport import LocalTransport
from devices.transports.shell.transport import ShellTransport
from devices.transports.transport import Transport
from tests.support.devices.process_link import ProcessLink, android_link
from tests.support.devices.real_processes import is_running, wait_until
from tests.support.devices.transport_kinds import MakeTransport
from tests.support.twins.twin_needs import need_root

Hold = Callable[..., Transport]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a device's holds, in a workdir that doesn't exist yet."""
    return tmp_path / "not yet" / "work 'dir'" / "hold"


@pytest.fixture
def hold(make_transport: MakeTransport, folder: Path) -> Hold:
    """Connects, and holds the device as the orchestrator of that name; gives the transport."""

    def take(name: str, *, outdated: str | None = None) -> Transport:
        transport = make_transport(0.5)
        assert transport.hold(str(folder), claim_of(name, outdated))
        return transport

    return take


def claim_of(name: str, outdated: str | None = None) -> Claim:
    holder = Holder(4711, f"host-{name}", "2026-11-22T10:00:00+00:00", f"suite run {name}", f"user-{name}", "pi")
    return Claim("pi", f"token-{name}", holder, outdated)


def shell_of(folder: Path) -> int:
    """Returns the process on the device that stands for the hold."""
    (record,) = [path for path in folder.iterdir() if path.name.isdigit()]
    return int(record.read_text().split()[0])


def test_another_orchestrator_is_refused_with_who_holds_the_device(hold: Hold, folder: Path) -> None:
    holder = hold("one")
    with pytest.raises(DeviceBusy) as caught:
        hold("two")
    assert str(caught.value) == (
        "device 'pi' is in use by process 4711 (suite run one) of user-one on host-one since "
        "2026-11-22T10:00:00+00:00, which has just answered; wait for it or end process 4711 on host-one."
    )
    assert holder.exists(str(folder))
    with pytest.raises(DeviceBusy, match="suite run one"):
        hold("three")


def test_the_device_is_free_when_its_holder_has_let_go_and_nothing_is_left(hold: Hold, folder: Path) -> None:
    for name in ("one", "two", "three"):
        transport = hold(name)
        shell = shell_of(folder)
        assert is_running(shell)
        transport.close()
        wait_until(lambda pid=shell: not is_running(pid))  # type: ignore[misc]
        assert list(folder.iterdir()) == []


def test_a_hold_whose_process_was_killed_no_longer_counts(hold: Hold, folder: Path) -> None:
    hold("one")
    os.kill(shell_of(folder), signal.SIGKILL)
    hold("two")
    assert len([path for path in folder.iterdir() if path.name.isdigit()]) == 1


@pytest.mark.parametrize("other", ["boot", "start"])
def test_a_reused_process_number_is_not_a_holder(hold: Hold, folder: Path, other: str) -> None:
    """As after a restart of the device, or when its process numbers wrap around."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"]) as process:
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = {
            "boot": f"{process.pid} {ticks} 00000000-0000-0000-0000-000000000000",
            "start": f"{process.pid} {int(ticks) - 1} {boot}",
        }
        (folder / "7").write_text(f"{holder[other]} token\n{{}}\n.\n")
        hold("two", outdated="token")
        assert {path.name for path in folder.iterdir()} == {"8"}
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("text", ["", "1 2 3\n{}\n.\n", "$(exit) `exit` * token\n{}\n.\n"])
def test_an_unfinished_or_damaged_hold_keeps_nobody_away(hold: Hold, folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "3").write_text(text)
    (folder / "note").write_text("left by somebody")
    hold("two")


def test_a_holder_that_is_alive_keeps_the_device_even_without_a_description(hold: Hold, folder: Path) -> None:
    hold("one")
    (path,) = [path for path in folder.iterdir() if path.name.isdigit()]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"pid": "\x1b[2J"}', ".", ""]))
    with pytest.raises(DeviceBusy, match="in use by an orchestrator without a readable description") as caught:
        hold("two")
    assert "\x1b" not in str(caught.value)


def test_the_home_that_held_it_last_takes_the_device_without_asking(hold: Hold, folder: Path) -> None:
    """As after a link that broke without a word, which the device has not noticed yet."""
    lost = hold("one")
    shell = shell_of(folder)
    hold("two", outdated="token-one")
    assert not is_running(shell)
    wait_until(lambda: _is_lost(lost))
    with pytest.raises(DeviceLost, match="device 'pi' is no longer ours"):
        lost.stream(["true"], lambda _line: None, timeout_s=20)


def test_a_program_of_an_orchestrator_that_lost_the_device_ends_in_mid_stream(
    make_transport: MakeTransport, hold: Hold, folder: Path
) -> None:
    lost = hold("one")
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        hold("two", outdated="token-one")

    with pytest.raises(DeviceLost, match="no longer ours"):
        lost.stream(["sh", "-c", "echo $$; exec sleep 600"], on_line, timeout_s=60)
    wait_until(lambda: not is_running(int(lines[0])))


def test_of_many_contenders_exactly_one_holds_the_device(make_transport: MakeTransport, folder: Path) -> None:
    rounds, contenders = 6, 5
    # What a killed holder left: all of them see at the same time that it no longer counts.
    folder.mkdir(parents=True)
    (folder / "1").write_text("2 1 0 token\n{}\n.\n")
    for number in range(rounds):
        transports = [make_transport(0.5) for _ in range(contenders)]
        outcomes: list[object] = []
        begin = threading.Barrier(contenders)

        def contend(transport: Transport, name: str, begin=begin, outcomes=outcomes) -> None:  # type: ignore[no-untyped-def]
            begin.wait()
            try:
                outcomes.append(transport.hold(str(folder), claim_of(name)))
            except DeviceError as error:
                outcomes.append(error)

        threads = [
            threading.Thread(target=contend, args=(transport, f"{number}-{index}"))
            for index, transport in enumerate(transports)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [outcome for outcome in outcomes if outcome is True] == [True], outcomes
        others = [outcome for outcome in outcomes if outcome is not True]
        assert [type(outcome) for outcome in others] == [DeviceBusy] * (contenders - 1), others
        # Killed, not released: the next round finds a hold that no longer counts.
        os.kill(shell_of(folder), signal.SIGKILL)
        for transport in transports:
            transport.close()


def test_a_slow_contender_gives_way_to_one_that_overtook_it(tmp_path: Path, folder: Path) -> None:
    """Its file stays empty for so long that others take it for one that was never finished."""
    slow = ShellTransport(android_link(tmp_path / "slow"))
    quick = ShellTransport(android_link(tmp_path / "quick"))
    dd = tmp_path / "slow" / "dd"
    dd.unlink()
    go = tmp_path / "go"
    dd.write_text(f'#!/bin/sh\nwhile ! [ -e {go} ]; do sleep 0.05; done\nexec {tmp_path}/quick/dd "$@"\n')
    dd.chmod(0o755)
    outcomes: list[object] = []

    def take() -> None:
        try:
            outcomes.append(slow.hold(str(folder), claim_of("slow")))
        except DeviceError as error:
            outcomes.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        wait_until(lambda: (folder / "1").exists())
        assert quick.hold(str(folder), claim_of("quick"))
    finally:
        go.touch()
        thread.join()
    slow.close()
    assert [type(outcome) for outcome in outcomes] == [DeviceBusy]
    assert "suite run quick" in str(outcomes[0])
    quick.close()


@pytest.mark.parametrize("outdated", [None, "token-one"])
def test_a_holder_of_another_user_who_cannot_be_asked_or_ended_keeps_the_device(outdated: str | None) -> None:
    need_root()
    with tempfile.TemporaryDirectory() as place, contextlib.closing(LocalTransport()) as holder:
        Path(place).chmod(0o755)
        tools, folder = Path(place) / "tools", Path(place) / "hold"
        android_link(tools)
        folder.mkdir()
        folder.chmod(0o777)
        assert holder.hold(str(folder), claim_of("one"))
        other = [shutil.which("setpriv") or "", "--reuid", "65534", "--clear-groups", "--", str(tools / "sh")]
        stranger = ShellTransport(ProcessLink(other, tools))
        with pytest.raises(DeviceBusy, match="which our user on the device can't ask or end; wait for it"):
            stranger.hold(str(folder), claim_of("two", outdated))
        assert is_running(shell_of(folder))
        assert len(list(folder.iterdir())) == 1
        stranger.close()


def test_a_program_that_failed_after_the_hold_was_gone_is_a_lost_device(hold: Hold, folder: Path) -> None:
    """Whoever took the device over ended it; that may become known after the end of the program."""
    transport = hold("one")
    with pytest.raises(DeviceLost, match="no longer ours"):
        transport.stream(["sh", "-c", 'rm "$1"/*; exit 3', "sh", str(folder)], lambda _line: None, timeout_s=20)
    again = hold("two")
    assert again.stream(["sh", "-c", "exit 3"], lambda _line: None, timeout_s=20).rc == 3


def test_without_a_workdir_nothing_is_held_and_no_error_hides_the_reason(
    make_transport: MakeTransport, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert not make_transport(0.5).hold(str(tmp_path / "file" / "hold"), claim_of("one"))
    assert not make_transport(0.5).hold("/proc/no such place/hold", claim_of("one"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A workdir with a disk of its own."""
    need_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True, timeout=60)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=60)


def test_nothing_is_held_on_a_disk_that_is_full_or_read_only(make_transport: MakeTransport, small_disk: Path) -> None:
    fill(small_disk)
    assert not make_transport(0.5).hold(str(small_disk / "hold"), claim_of("one"))
    assert list((small_disk / "hold").iterdir()) == []
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=60)
    assert not make_transport(0.5).hold(str(small_disk / "hold"), claim_of("one"))


def test_a_disk_that_filled_up_later_hides_no_holder(make_transport: MakeTransport, small_disk: Path) -> None:
    holder = make_transport(0.5)
    assert holder.hold(str(small_disk / "hold"), claim_of("one"))
    fill(small_disk)
    with pytest.raises(DeviceBusy, match="suite run one"):
        make_transport(0.5).hold(str(small_disk / "hold"), claim_of("two"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=False, timeout=60)
    with pytest.raises(DeviceBusy, match="suite run one"):
        make_transport(0.5).hold(str(small_disk / "hold"), claim_of("two"))
    holder.close()


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)


def test_something_else_in_the_place_of_the_holds_is_an_error(make_transport: MakeTransport, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with pytest.raises(FileError) as caught:
        make_transport(0.5).hold(str(tmp_path / "hold"), claim_of("one"))
    assert caught.value.cause is FileCause.OBSTRUCTED


def test_the_description_of_a_holder_reaches_others_unchanged(make_transport: MakeTransport, folder: Path) -> None:
    odd = replace(claim_of("one").holder, command="it's $HOME `x` \\n \" 日本 %s", host="a\nb")
    first = make_transport(0.5)
    assert first.hold(str(folder), replace(claim_of("one"), holder=odd))
    with pytest.raises(DeviceBusy) as caught:
        make_transport(0.5).hold(str(folder), claim_of("two"))
    assert "(it's $HOME `x` \\n \" 日本 %s) of user-one on a b since" in str(caught.value)
    assert json.loads(first.read_text(str(next(folder.iterdir()))).splitlines()[1])["host"] == "a\nb"


def _is_lost(transport: Transport) -> bool:
    try:
        transport.stream(["true"], lambda _line: None, timeout_s=20)
    except DeviceLost:
        return True
    return False
