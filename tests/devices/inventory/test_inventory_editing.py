"""Adding and changing entries leaves the rest of the file as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.errors import InventoryError, UnknownDevice
from devices.inventory.inventory_file import add_device, change_device, load, remove_device

TEXT = """\
# Our lab.
devices:
  local:
    kind: local   # this machine
    notes: "it's \\"here\\""

  # The kitchen.
  pi: {kind: raspberrypi, host: 192.168.1.20}
#  nano:
#    kind: jetson

# Shared by all.
defaults:
  threads: 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "inventory.yaml"
    made.write_text(TEXT)
    return made


def test_a_new_device_is_appended_and_every_other_line_stays(path: Path) -> None:
    add_device(path, "jetson", {"kind": "jetson", "host": "10.0.0.7", "user": "bench"})
    entry = load(path).devices["jetson"]
    assert (entry.kind, entry.host, entry.user, entry.transport) == ("jetson", "10.0.0.7", "bench", "ssh")
    lines = path.read_text().splitlines()
    added = ["  jetson:", "    kind: jetson", "    host: 10.0.0.7", "    user: bench"]
    start = lines.index(added[0])
    assert lines[start : start + 4] == added
    assert lines[:start] + lines[start + 4 :] == TEXT.splitlines()
    assert lines[start - 1].startswith("  pi:")


def test_adding_to_the_inventory_that_ships_keeps_its_comments(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "inventory.yaml"
    path = tmp_path / "inventory.yaml"
    path.write_bytes(shipped.read_bytes())
    add_device(path, "phone", {"kind": "android", "serial": "R5CT"})
    remaining = path.read_text().splitlines()
    for line in ("  phone:", "    kind: android", "    serial: R5CT"):
        remaining.remove(line)
    assert remaining == shipped.read_text().splitlines()
    assert list(load(path).devices)[-1] == "phone"


def test_a_changed_value_is_set_in_its_place(path: Path) -> None:
    change_device(path, "pi", {"host": "192.168.1.21", "port": 2222})
    assert "  pi: {kind: raspberrypi, host: 192.168.1.21, port: 2222}" in path.read_text()
    change_device(path, "local", {"threads": 4})
    entries = load(path).devices
    assert (entries["pi"].port, entries["local"].threads) == (2222, 4)
    text = path.read_text()
    assert "kind: local   # this machine" in text
    assert text.index("threads: 4") < text.index("# The kitchen.")


def test_a_name_that_is_taken_is_refused(path: Path) -> None:
    with pytest.raises(InventoryError, match="has a device 'pi' already"):
        add_device(path, "pi", {"kind": "raspberrypi", "host": "h"})
    assert path.read_text() == TEXT


def test_an_unknown_device_is_not_changed(path: Path) -> None:
    with pytest.raises(UnknownDevice):
        change_device(path, "pj", {"port": 22})


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("nano", {"kind": "jetson"}, "needs a `host`"),
        ("a b", {"kind": "local"}, "a name is 1 to 64"),
        ("nano", {"kind": "jetsn", "host": "h"}, "did you mean `jetson`"),
    ],
)
def test_an_entry_that_would_be_refused_leaves_the_file_alone(
    path: Path, name: str, values: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InventoryError, match=sentence) as caught:
        add_device(path, name, values)
    assert str(caught.value).startswith(f"{path} was not changed: device ")
    assert path.read_text() == TEXT
    assert [item.name for item in path.parent.iterdir()] == ["inventory.yaml"]


@pytest.mark.parametrize("value", ["no", "1e3", "2026-11-22", "a: b", "#x", "'", "line\nbreak", "null", "~"])
def test_text_survives_editing_unchanged(path: Path, value: str) -> None:
    add_device(path, "phone", {"kind": "android", "serial": "R5CT", "notes": value})
    assert load(path).devices["phone"].notes == value


def without(text: str, name: str, tmp_path: Path) -> str:
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    remove_device(path, name)
    assert name not in load(path).devices
    return path.read_text()


def test_a_removed_device_leaves_every_other_line(tmp_path: Path) -> None:
    gone = ["  local:", "    kind: local   # this machine", '    notes: "it\'s \\"here\\""']
    assert without(TEXT, "local", tmp_path) == TEXT.replace("".join(f"{line}\n" for line in gone), "")
    kept = TEXT.replace("  pi: {kind: raspberrypi, host: 192.168.1.20}\n", "")
    assert without(TEXT, "pi", tmp_path) == kept


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ("[pi, local, nano]", "[pi, nano]"),
        ("[pi, nano, local]", "[pi, nano]"),
        ("[local, pi, local]", "[pi]"),
        ("[local]", "[]"),
        ("\n    - pi\n    - local   # here\n    # last\n    - nano", "\n    - pi\n    # last\n    - nano"),
        ("\n    - local", ""),
    ],
)
def test_a_removed_device_is_taken_out_of_its_groups(members: str, left: str, tmp_path: Path) -> None:
    text = (
        "groups:\n  lab:\n    devices: {members}\n    vars: {{threads: 2}}\n"
        "devices: {{pi: {{kind: local}}, {own}nano: {{kind: local}}}}\n"
    )
    written = without(text.format(members=members, own="local: {kind: local}, "), "local", tmp_path)
    assert written == text.format(members=left, own="")


def test_a_text_of_several_lines_goes_with_its_device(tmp_path: Path) -> None:
    text = "devices:\n  a:\n    kind: local\n    notes: |\n      one\n      two\n\n  # b is next\n  b: {kind: local}\n"
    assert without(text, "a", tmp_path) == "devices:\n\n  # b is next\n  b: {kind: local}\n"


def test_the_last_device_and_a_selection_stay(path: Path) -> None:
    with pytest.raises(InventoryError, match="'p\\*' is a selection"):
        remove_device(path, "p*")
    remove_device(path, "pi")
    before = path.read_text()
    with pytest.raises(InventoryError, match="was not changed: there is no device"):
        remove_device(path, "local")
    assert path.read_text() == before
