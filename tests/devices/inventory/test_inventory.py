"""inventory.yaml: valid content, and the error for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devices.errors import InventoryError, UnknownDevice
from devices.inventory.inventory_file import Inventory, load

FLEET = """\
defaults:
  threads: 4
  user: bench
groups:
  boards:
    devices: [pi, nano]
    vars:
      port: 2222
      threads: 2
  slow: {devices: [nano], vars: {threads: 1}}
devices:
  local: {kind: local}
  pi:
    kind: raspberrypi
    host: 192.168.1.20
    cpus: 0-2,5
    user: me
  nano: {kind: jetson, host: nano.lan, workdir: /mnt/bench, emulated: true}
  phone: {kind: android, serial: R5CT, cpus: [4, 5]}
"""
Load = Callable[[str], Inventory]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    def load_it(text: str) -> Inventory:
        path = tmp_path / "inventory.yaml"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return load(path)

    return load_it


def test_the_inventory_that_ships_has_local_ready_to_use() -> None:
    inventory = load(Path(__file__).parents[3] / "inventory.yaml")
    (entry,) = inventory.select("local")
    assert (entry.kind, entry.transport) == ("local", "local")


def test_what_the_kind_implies_is_filled_in(load_text: Load, tmp_path: Path) -> None:
    devices = load_text(FLEET).devices
    assert [entry.transport for entry in devices.values()] == ["local", "ssh", "ssh", "adb"]
    assert devices["local"].workdir == str(tmp_path / ".suite" / "device" / "local")
    assert devices["pi"].workdir == "edge-training-suite"
    assert devices["nano"].workdir == "/mnt/bench"
    assert devices["phone"].workdir.startswith("/data/local/tmp/")


def test_home_of_the_suite_moves_the_local_workdir(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text("devices: {local: {kind: local}}")
    inventory = load(tmp_path / "inventory.yaml", home=tmp_path / "elsewhere")
    assert inventory.devices["local"].workdir == str(tmp_path / "elsewhere" / "device" / "local")


def test_a_relative_local_workdir_is_below_the_inventory(load_text: Load, tmp_path: Path) -> None:
    entry = load_text("devices: {local: {kind: local, workdir: my work}}").devices["local"]
    assert entry.workdir == str(tmp_path / "my work")


def test_own_values_override_groups_and_those_override_defaults(load_text: Load) -> None:
    devices = load_text(FLEET).devices
    assert [entry.threads for entry in devices.values()] == [4, 2, 1, 4]
    assert [entry.user for entry in devices.values()] == ["bench", "me", "bench", "bench"]
    assert [entry.port for entry in devices.values()] == [None, 2222, 2222, None]


def test_cpus_are_a_list_or_the_kernels_notation(load_text: Load) -> None:
    devices = load_text(FLEET).devices
    assert devices["pi"].cpus == (0, 1, 2, 5)
    assert devices["phone"].cpus == (4, 5)


def test_entries_are_frozen(load_text: Load) -> None:
    entry = load_text(FLEET).devices["local"]
    with pytest.raises(ValueError, match="frozen"):
        entry.threads = 3


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("pi", ["pi"]),
        (" phone , local,phone ", ["phone", "local"]),
        ("all", ["local", "pi", "nano", "phone"]),
        ("kind:jetson", ["nano"]),
        ("group:boards,local", ["pi", "nano", "local"]),
        ("boards,local", ["pi", "nano", "local"]),
        ("p*", ["pi", "phone"]),
    ],
)
def test_selection_keeps_the_order_asked_for(load_text: Load, selection: str, names: list[str]) -> None:
    assert [entry.name for entry in load_text(FLEET).select(selection)] == names


@pytest.mark.parametrize(
    ("selection", "hint"),
    [
        ("phnoe", "did you mean phone"),
        ("PI", "did you mean pi"),
        ("local,zzz", "has no device or group 'zzz' among its 6; known are: local, pi, nano, phone, boards, slow"),
        ("kind:jetsn", "has no device of the kind 'kind:jetsn' among its 4; did you mean kind:jetson"),
        ("kind:linux", "has no device of the kind 'kind:linux' among its 4; known are: local, raspberrypi, jetson"),
        ("board", "did you mean boards"),
        ("group:board", "did you mean group:boards"),
        ("x*", "known are"),
    ],
)
def test_an_unknown_device_is_reported_with_the_nearest_names(load_text: Load, selection: str, hint: str) -> None:
    with pytest.raises(UnknownDevice, match=hint.replace("*", r"\*")):
        load_text(FLEET).select(selection)


def test_a_device_takes_precedence_over_a_group_of_its_name(load_text: Load) -> None:
    inventory = load_text("devices: {a: {kind: local}, b: {kind: local}}\ngroups: {a: {devices: [b]}}")
    assert [entry.name for term in ("a", "group:a") for entry in inventory.select(term)] == ["a", "b"]


@pytest.mark.parametrize("term", ["none", "group:none"])
def test_a_group_without_devices_says_so(load_text: Load, term: str) -> None:
    inventory = load_text("devices: {a: {kind: local}}\ngroups: {none: {devices: []}}")
    with pytest.raises(InventoryError, match="the group 'none' has no device; add some"):
        inventory.select(term)


def test_of_many_names_only_some_are_listed(load_text: Load) -> None:
    names = ", ".join(f"d{number}: {{kind: local}}" for number in range(30))
    with pytest.raises(UnknownDevice, match=r"known are: d0, .*, d11 and 18 more; add it with"):
        load_text(f"devices: {{{names}}}").select("zzz")


@pytest.mark.parametrize("selection", ["", " , "])
def test_an_empty_selection_is_reported_with_the_known_names(load_text: Load, selection: str) -> None:
    with pytest.raises(InventoryError, match=r"no device was named, .* local, pi, nano, phone"):
        load_text(FLEET).select(selection)


MISTAKES = {
    "empty file": ("", 1, "there is no device; add one"),
    "only comments": ("# nothing\n", 1, "there is no device"),
    "no devices": ("devices:\n", 1, "there is no device"),
    "a list": ("- local\n", 1, "the file is .* must be `name: value` lines"),
    "bad syntax": ("devices:\n  a: {kind: local\n  b: 3\n", 3, "not valid YAML"),
    "a tab": ("devices:\n\ta: 3\n", 2, "not valid YAML"),
    "a control character": ("devices: \x01\n", 1, "not valid YAML"),
    "not UTF-8": ("devices:\n  # caf\udce9\n  a: {kind: local}\n", 2, "is not valid UTF-8"),
    "two documents": ("devices: {}\n---\ndevices: {}\n", 2, "not valid YAML"),
    "an object": ("devices:\n  a: !!python/object:os.system {kind: local}\n", 2, "tag .* is not read here"),
    "an alias": ("devices:\n  a: &x {kind: local}\n  b: *x\n", 2, "anchor &x is not read here"),
    "too deep": ("[" * 100_000, 1, "nested too deeply|not valid YAML"),
    "unknown section": (
        "devices: {a: {kind: local}}\ndefault: {}\n",
        2,
        "unknown section 'default'; did you mean `defaults`",
    ),
    "duplicate name": ("devices:\n  a: {kind: local}\n  a: {kind: linux}\n", 3, "'a' is there twice, first on line 2"),
    "duplicate key": ("devices:\n  a:\n    kind: local\n    kind: linux\n", 4, "'kind' is there twice"),
    "unknown key": (
        "devices:\n  a:\n    kind: local\n    thread: 3\n",
        4,
        "unknown key 'thread'; did you mean `threads`",
    ),
    "name as a key": ("devices: {a: {kind: local, name: b}}", 1, "unknown key 'name'"),
    "no kind": ("devices:\n  a: {threads: 2}\n", 2, "device 'a': `kind` is missing; add one of: local, linux"),
    "unknown kind": (
        "devices:\n  a:\n    kind: raspberypi\n",
        3,
        "'raspberypi', which doesn't exist; did you mean `raspberrypi`",
    ),
    "a kind of another type": ("devices:\n  a: {kind: [local]}\n", 2, "`kind` is .*, which doesn't exist"),
    "unknown transport": ("devices: {a: {kind: linux, transport: shs}}", 1, "did you mean `ssh`"),
    "a text for a number": (
        "devices:\n  a:\n    kind: local\n    threads: two\n",
        4,
        "`threads` is 'two', and must be a whole number",
    ),
    "a quoted port": ("devices: {a: {kind: linux, host: h, port: '22'}}", 1, "must be a whole number"),
    "true for a number": ("devices: {a: {kind: local, threads: true}}", 1, "must be a whole number"),
    "a number for a text": ("devices: {a: {kind: linux, host: 3}}", 1, "must be text"),
    "port too large": (
        "devices: {a: {kind: linux, host: h, port: 70000}}",
        1,
        "`port` is 70000, and must be less than or equal to 65535",
    ),
    "no threads": ("devices: {a: {kind: local, threads: 0}}", 1, "must be greater than or equal to 1"),
    "an endless number": (f"devices: {{a: {{kind: local, threads: {'9' * 5000}}}}}", 1, "can't be read as int"),
    "an empty workdir": ("devices: {a: {kind: local, workdir: ' '}}", 1, "is empty or contains a null character"),
    "a null character": ('devices: {a: {kind: local, workdir: "a\\0b"}}', 1, "is empty or contains a null character"),
    "a relative workdir over adb": (
        "devices:\n  a: {kind: linux, transport: adb, serial: S,\n    workdir: bench}",
        3,
        "`workdir` is 'bench', and that can't be used: over adb it must be an absolute path",
    ),
    "no workdir for Linux over adb": (
        "devices: {a: {kind: linux, transport: adb, serial: S}}",
        1,
        "over adb it must be an absolute path",
    ),
    "an unknown home": ("devices: {a: {kind: local, workdir: ~nobody-of-that-name/x}}", 1, "home folder is unknown"),
    "a bad cpu": ("devices:\n  a:\n    kind: local\n    cpus: [0, -1]\n", 4, "`cpus.1` is -1"),
    "a bad range": ("devices: {a: {kind: local, cpus: 3-1}}", 1, "range '3-1' is empty"),
    "a cpu twice": ("devices: {a: {kind: local, cpus: [1, 1]}}", 1, "names a CPU twice"),
    "one cpu as a number": ("devices: {a: {kind: local, cpus: 3}}", 1, "must be a list of CPU numbers"),
    "no host": ("devices:\n  a:\n    kind: jetson\n", 2, "`ssh` needs a `host`; add"),
    "no serial": ("devices:\n  a: {kind: android}\n", 2, "`adb` needs a `serial` or a `host`"),
    "local over ssh": ("devices: {a: {kind: local, transport: ssh, host: h}}", 1, "use kind `linux`"),
    "a reserved name": ("devices: {all: {kind: local}}", 1, "`all` stands for every device"),
    "a name with a blank": ("devices: {a b: {kind: local}}", 1, "a name is 1 to 64 letters"),
    "a name with a quote and a newline": ('devices: {"a\'\\nb": {kind: local}}', 1, "a name is 1 to 64 letters"),
    "a name that leaves the folder": ("devices: {../a: {kind: local}}", 1, "a name is 1 to 64 letters"),
    "a list as a name": ("devices:\n  [pi, nano]: {kind: local}\n", 2, "a list can't be a key; write one name before"),
    "a mapping as a name": ("devices:\n  {pi: nano}: {kind: local}\n", 2, "a mapping can't be a key; write one name"),
    "a number as a name": ("devices:\n  1: {kind: local}\n", 2, "the key '1' is not text; put quotes"),
    "an entry that is no mapping": ("devices:\n  a: local\n", 2, "`a` is 'local', and must be"),
    "a bad default": ("defaults:\n  threads: many\ndevices: {a: {kind: local}}", 2, "`threads` is 'many'"),
    "an unknown default": ("defaults:\n  thread: 3\ndevices: {a: {kind: local}}", 2, "did you mean `threads`"),
    "a group of nobody": (
        "groups:\n  g:\n    devices:\n      - aa\ndevices: {a: {kind: local}}",
        4,
        "no device is named 'aa'; did you mean `a`",
    ),
    "a group of a list": ("groups: {g: {devices: [[a]]}}\ndevices: {a: {kind: local}}", 1, "no device is named"),
    "a group that is no list": ("groups: {g: {devices: a}}\ndevices: {a: {kind: local}}", 1, "must be a list of names"),
    "an unknown key of a group": ("groups: {g: {hosts: [a]}}\ndevices: {a: {kind: local}}", 1, "unknown key 'hosts'"),
    "a bad value of a group": (
        "groups:\n  g:\n    devices: [a]\n    vars:\n      port: x\ndevices: {a: {kind: local}}",
        5,
        "`port` is 'x'",
    ),
}


@pytest.mark.parametrize(("text", "line", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_reported_with_its_line(
    load_text: Load, tmp_path: Path, text: str, line: int, sentence: str
) -> None:
    with pytest.raises(InventoryError, match=sentence) as caught:
        load_text(text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'inventory.yaml'}:{line}: ")
    assert message.endswith((".", "?"))
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"none\.yaml' can't be read because it doesn't exist"):
        load(tmp_path / "none.yaml")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="is a folder, and an inventory must be a file"):
        load(tmp_path)


def test_a_huge_file_is_refused(load_text: Load) -> None:
    with pytest.raises(InventoryError, match="262144 is the limit for an inventory"):
        load_text("#" * (1 << 21))


def test_values_cannot_control_the_terminal(load_text: Load) -> None:
    with pytest.raises(InventoryError) as caught:
        load_text('devices: {a: {"k\\u001b[2Jind": local}}')
    assert "\x1b" not in str(caught.value)


def test_a_date_is_text_here(load_text: Load) -> None:
    assert load_text("devices: {a: {kind: local, notes: 2024-01-01}}").devices["a"].notes == "2024-01-01"


@pytest.mark.parametrize(
    "value",
    ['"\\U00110000"', '"\\UFFFFFFFF"', '"\\ud800"', "0x" + "f" * 5000, "9" * 5000, "123456789012345678901234567890"],
)
def test_what_the_yaml_library_stumbles_over_is_one_sentence(tmp_path: Path, value: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"devices:\n  a:\n    kind: linux\n    host: h\n    notes: {value}\n")
    with pytest.raises(InventoryError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)
